"""The matcher's settings, from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass

from outlast.runtime.loop_settings import LoopSettings, read_loop_settings
from outlast.runtime.service import ProcessSettings
from outlast.runtime.settings import Environment, SettingsError


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the servers are, where enrichment comes from."""

    common: LoopSettings
    platform_url: str
    service_token: str

    @property
    def process(self) -> ProcessSettings:
        """Who this process is."""
        return self.common.process


def read_settings(variables: Mapping[str, str] | None = None) -> Settings:
    """Validated settings; ends the process with a sentence when one is wrong."""
    environment = Environment("trigger_matcher", variables)
    mode = environment.text("PMAP_RUNBOOK_ENGINE", "inline", choices=("inline", "workflow", "shadow"))
    if mode != "workflow":
        raise SettingsError(
            f"trigger_matcher: setting PMAP_RUNBOOK_ENGINE: this release runs durable workflows only; set it to "
            f"'workflow' ('{mode}' comes with the next release)"
        )
    settings = Settings(
        common=read_loop_settings(environment, "trigger_matcher"),
        platform_url=environment.text("PLATFORM_URL"),
        service_token=environment.text("OUTLAST_SERVICE_TOKEN"),
    )
    environment.finish()
    return settings
