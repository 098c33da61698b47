"""Which mode a new firing is stamped with, and whether the engine is away for so long that it runs without it."""

from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from outlast.contracts import codec
from outlast.contracts.messages import EngineStatus
from outlast.errors import ContractError
from outlast.messaging.ports import Received
from outlast.runtime.logging import get_logger

Mode: TypeAlias = Literal["inline", "workflow", "shadow"]
MODES: tuple[Mode, ...] = ("inline", "workflow", "shadow")

log = get_logger(__name__)


class Engines:
    """What `engine.status` says. One instance that is up means up; no message at all means wait, not degrade."""

    def __init__(self, mode: Mode, grace: timedelta = timedelta(seconds=30)) -> None:
        self.mode: Mode = mode
        self._grace = grace
        self._said: dict[str, EngineStatus] = {}
        self._down_since: datetime | None = None

    def apply(self, received: Received) -> None:
        """Take in one record of `engine.status`."""
        try:
            message = codec.compacted.decode(received.value)
        except ContractError as fault:
            log.error("engine_status_unreadable", offset=received.offset, error=str(fault))
            return
        if not isinstance(message, EngineStatus):
            return
        before = self._said.get(message.instance)
        if before is None or before.state != message.state:  # repeated, it is down since the first time
            self._said[message.instance] = message
            is_up = any(each.state == "up" for each in self._said.values())
            self._down_since = None if is_up else max(each.at for each in self._said.values())

    def is_degraded(self, now: datetime) -> bool:
        """Whether durable work finds nobody: every instance that spoke is down, the last of them since the grace time.

        Only an installation that runs durable workflows can be degraded; a shadow is missed by nobody.
        """
        if self.mode != "workflow" or self._down_since is None:
            return False
        return now - self._down_since >= self._grace
