"""The environment as one frozen value, refused by name before anything starts."""

from collections.abc import Mapping
from dataclasses import dataclass

from outlast.runtime.loop_settings import LoopSettings, read_loop_settings
from outlast.runtime.service import ProcessSettings
from outlast.runtime.settings import Environment


@dataclass(frozen=True, slots=True)
class Settings:
    """What signal delivery needs to know of its surroundings."""

    loop: LoopSettings
    http_host: str
    http_port: int
    records_url: str
    """Where the finalizer's view `records_read` is; it is only read."""

    @property
    def process(self) -> ProcessSettings:
        """Who this process is."""
        return self.loop.process


def read_settings(variables: Mapping[str, str] | None = None) -> Settings:
    """Settings from the environment; ends the process with one line where something is wrong."""
    environment = Environment("signal_delivery", variables)
    loop = read_loop_settings(environment, "signal_delivery")
    settings = Settings(
        loop=loop,
        http_host=environment.text("OUTLAST_HTTP_HOST", "127.0.0.1"),
        http_port=environment.integer("OUTLAST_HTTP_PORT", 8082, most=65_535),
        records_url=environment.text("SIGNAL_DELIVERY_RECORDS_URL", loop.database_url),
    )
    environment.finish()
    return settings
