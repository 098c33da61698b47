"""The matcher's settings, from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

from outlast.runtime.loop_settings import LoopSettings, read_loop_settings
from outlast.runtime.service import ProcessSettings
from outlast.runtime.settings import Environment
from outlast_trigger_matcher.engines import MODES, Mode

COMPANY_RUNS_MAX = 2_000


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the servers are, where enrichment comes from, and how firings begin."""

    common: LoopSettings
    platform_url: str
    service_token: str
    mode: Mode
    degrade_after: timedelta
    """How long the engine must be away before new executions run inline."""
    company_runs_max: int
    """Runs of one company that are under way at the same time."""

    @property
    def process(self) -> ProcessSettings:
        """Who this process is."""
        return self.common.process


def read_settings(variables: Mapping[str, str] | None = None) -> Settings:
    """Validated settings; ends the process with a sentence when one is wrong."""
    environment = Environment("trigger_matcher", variables)
    settings = Settings(
        common=read_loop_settings(environment, "trigger_matcher"),
        platform_url=environment.text("PLATFORM_URL"),
        service_token=environment.text("OUTLAST_SERVICE_TOKEN"),
        mode=cast("Mode", environment.text("PMAP_RUNBOOK_ENGINE", "inline", choices=MODES)),
        degrade_after=timedelta(seconds=environment.seconds("OUTLAST_TRIGGER_MATCHER_DEGRADE_SECONDS", 30.0)),
        company_runs_max=environment.integer(
            "OUTLAST_TRIGGER_MATCHER_COMPANY_RUNS_MAX", COMPANY_RUNS_MAX, least=1
        ),
    )
    environment.finish()
    return settings
