"""The finalizer's settings, from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from outlast.runtime.loop_settings import LoopSettings, read_loop_settings
from outlast.runtime.service import ProcessSettings
from outlast.runtime.settings import Environment
from outlast_finalizer.core.watchdog import PATIENCE, Patience

DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Settings:
    """What the finalizer is told from outside."""

    loop: LoopSettings
    patience: Patience = PATIENCE

    @property
    def process(self) -> ProcessSettings:
        """Who this process is."""
        return self.loop.process


def read_settings(variables: Mapping[str, str] | None = None) -> Settings:
    """Validated settings; ends the process with a sentence when one is wrong."""
    environment = Environment("finalizer", variables)
    loop = read_loop_settings(environment, "finalizer")
    silent = environment.seconds("OUTLAST_FINALIZER_SILENT_SECONDS", 900.0)
    give_up = environment.seconds("OUTLAST_FINALIZER_GIVE_UP_SECONDS", DAY_SECONDS, most=30 * DAY_SECONDS)
    environment.finish()
    return Settings(loop, Patience(timedelta(seconds=silent), timedelta(seconds=give_up)))
