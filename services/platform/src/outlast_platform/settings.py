"""The environment as one frozen value, refused by name before anything starts."""

from collections.abc import Mapping
from dataclasses import dataclass

from outlast.runtime.service import ProcessSettings
from outlast.runtime.settings import Environment


@dataclass(frozen=True, slots=True)
class Settings:
    """What the platform needs to know of its surroundings."""

    process: ProcessSettings
    http_host: str
    http_port: int
    kafka_bootstrap: str
    database_url: str
    service_token: str
    """What services show each other; "" leaves the internal endpoints closed to everybody."""


def read_settings(variables: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment; ends the process with one line where something is wrong."""
    environment = Environment("platform", variables)
    settings = Settings(
        process=ProcessSettings(
            service="platform",
            instance=environment.text("OUTLAST_INSTANCE", "0"),
            log_level=environment.text(
                "OUTLAST_LOG_LEVEL", "info", choices=("debug", "info", "warning", "error")
            ),
            health_host=environment.text("OUTLAST_HEALTH_HOST", "127.0.0.1"),
            health_port=environment.integer("OUTLAST_HEALTH_PORT", 0, most=65_535),
        ),
        http_host=environment.text("OUTLAST_HTTP_HOST", "127.0.0.1"),
        http_port=environment.integer("OUTLAST_HTTP_PORT", 8081, most=65_535),
        kafka_bootstrap=environment.text("KAFKA_BOOTSTRAP_SERVERS"),
        database_url=environment.text("PLATFORM_DATABASE_URL"),
        service_token=environment.text("OUTLAST_SERVICE_TOKEN", ""),
    )
    environment.finish()
    return settings
