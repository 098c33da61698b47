"""The gate's settings, from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass

from outlast.runtime.loop_settings import read_process_settings
from outlast.runtime.service import ProcessSettings
from outlast.runtime.settings import Environment


@dataclass(frozen=True, slots=True)
class GateSettings:
    """Where the broker is, and who this process is. There is no database."""

    process: ProcessSettings
    kafka: str


def read_settings(variables: Mapping[str, str] | None = None) -> GateSettings:
    """Validated settings; ends the process with a sentence when one is wrong."""
    environment = Environment("gate", variables)
    settings = GateSettings(
        process=read_process_settings(environment, "gate"),
        kafka=environment.text("KAFKA_BOOTSTRAP_SERVERS"),
    )
    environment.finish()
    return settings
