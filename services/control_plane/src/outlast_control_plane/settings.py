"""The environment as one frozen value, refused by name before anything starts."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from outlast.runtime.service import ProcessSettings
from outlast.runtime.settings import Environment


@dataclass(frozen=True, slots=True)
class Settings:
    """What the control plane needs to know of its surroundings."""

    process: ProcessSettings
    http_host: str
    http_port: int
    kafka_bootstrap: str
    database_url: str
    records_url: str
    """Where the finalizer's view `records_read` is; the control plane only reads there."""
    engine_url: str
    """Where the engine's view `engine_read` is; the control plane only reads there."""
    platform_url: str
    admin_key: str
    """API key of a platform administrator that exists from the first start; "" for none."""
    service_token: str
    """What services show each other; "" turns forwarding to the platform off."""
    engine_mode: str
    degrade_after: timedelta
    """How long the engine is down before the matcher sends new runs inline: the matcher's own variable."""


def read_settings(variables: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment; ends the process with one line where something is wrong."""
    environment = Environment("control_plane", variables)
    database_url = environment.text("CONTROL_PLANE_DATABASE_URL")
    settings = Settings(
        process=ProcessSettings(
            service="control_plane",
            instance=environment.text("OUTLAST_INSTANCE", "0"),
            log_level=environment.text(
                "OUTLAST_LOG_LEVEL", "info", choices=("debug", "info", "warning", "error")
            ),
            health_host=environment.text("OUTLAST_HEALTH_HOST", "127.0.0.1"),
            health_port=environment.integer("OUTLAST_HEALTH_PORT", 0, most=65_535),
        ),
        http_host=environment.text("OUTLAST_HTTP_HOST", "127.0.0.1"),
        http_port=environment.integer("OUTLAST_HTTP_PORT", 8080, most=65_535),
        kafka_bootstrap=environment.text("KAFKA_BOOTSTRAP_SERVERS"),
        database_url=database_url,
        records_url=environment.text("CONTROL_PLANE_RECORDS_URL", database_url),
        engine_url=environment.text("CONTROL_PLANE_ENGINE_URL", database_url),
        platform_url=environment.text("PLATFORM_URL", "http://127.0.0.1:8081").rstrip("/"),
        admin_key=environment.text("OUTLAST_ADMIN_KEY", ""),
        service_token=environment.text("OUTLAST_SERVICE_TOKEN", ""),
        engine_mode=environment.text(
            "PMAP_RUNBOOK_ENGINE", "inline", choices=("inline", "workflow", "shadow")
        ),
        degrade_after=timedelta(
            seconds=environment.seconds("OUTLAST_TRIGGER_MATCHER_DEGRADE_SECONDS", 30.0, most=86_400.0)
        ),
    )
    environment.finish()
    return settings
