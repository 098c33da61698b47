"""The settings that every loop service has."""

from dataclasses import dataclass

from outlast.runtime.service import ProcessSettings
from outlast.runtime.settings import Environment


@dataclass(frozen=True, slots=True)
class LoopSettings:
    """Where the servers are, and who this process is."""

    process: ProcessSettings
    kafka: str
    database_url: str


def read_loop_settings(environment: Environment, service: str) -> LoopSettings:
    """The common part of a loop service's settings; the caller reads its own and then calls `finish`."""
    return LoopSettings(
        process=read_process_settings(environment, service),
        kafka=environment.text("KAFKA_BOOTSTRAP_SERVERS"),
        database_url=environment.text(f"{service.upper()}_DATABASE_URL"),
    )


def read_process_settings(environment: Environment, service: str) -> ProcessSettings:
    """Who this process is and where it says how it does."""
    return ProcessSettings(
        service=service,
        instance=environment.text("OUTLAST_INSTANCE", "0"),
        log_level=environment.text(
            "OUTLAST_LOG_LEVEL", "info", choices=("debug", "info", "warning", "error")
        ),
        health_host=environment.text("OUTLAST_HEALTH_HOST", "127.0.0.1"),
        health_port=environment.integer("OUTLAST_HEALTH_PORT", 0, most=65535),
    )
