"""The timer scheduler's settings, from the environment."""

from collections.abc import Mapping

from outlast.runtime.loop_settings import LoopSettings, read_loop_settings
from outlast.runtime.settings import Environment


def read_settings(variables: Mapping[str, str] | None = None) -> LoopSettings:
    """Validated settings; ends the process with a sentence when one is wrong."""
    environment = Environment("timer_scheduler", variables)
    settings = read_loop_settings(environment, "timer_scheduler")
    environment.finish()
    return settings
