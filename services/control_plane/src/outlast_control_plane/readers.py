"""What the executors, the engine and the finalizer say on their compacted topics, kept in memory."""

from collections.abc import Callable, Mapping, Sequence

from outlast.contracts import codec
from outlast.contracts.messages import Breaker, CatalogueAction, EngineStatus
from outlast.contracts.topics import BREAKERS, CATALOGUE, ENGINE_STATUS
from outlast.errors import ContractError
from outlast.messaging.compacted import CompactedReader
from outlast.messaging.ports import Received
from outlast.runtime.logging import get_logger

log = get_logger(__name__)


class CompactedTopics:
    """The catalogue of actions, the engine's reports and the breakers. Absence never deletes."""

    def __init__(self, bootstrap: str, client_id: str, tell: Callable[[str, object], None]) -> None:
        self._tell = tell
        self._reader = CompactedReader(
            bootstrap, (CATALOGUE, ENGINE_STATUS, BREAKERS), self.apply, client_id=f"{client_id}-readers"
        )
        self._actions: dict[str, CatalogueAction] = {}
        self._engines: dict[str, EngineStatus] = {}
        self._breakers: dict[tuple[str, str], Breaker] = {}

    async def run(self) -> None:
        """Read until `close`."""
        await self._reader.run()

    async def close(self) -> None:
        """Stop reading; `run` returns."""
        await self._reader.close()

    def apply(self, received: Received) -> None:
        """Take in one record; one that cannot be read hides no other."""
        if received.value is None:
            return
        try:
            message = codec.compacted.decode(received.value)
        except ContractError as fault:
            log.error("record_unreadable", topic=received.topic, offset=received.offset, error=str(fault))
            return
        if isinstance(message, CatalogueAction):
            self._actions[message.name] = message
        elif isinstance(message, EngineStatus):
            self._engines[message.instance] = message
            is_up = any(engine.state == "up" for engine in self._engines.values())
            self._tell("engine", "up" if is_up else "down")
        elif isinstance(message, Breaker):
            self._take_breaker(message)

    def _take_breaker(self, breaker: Breaker) -> None:
        """A topic that was lost is read again: what is older than what we hold says nothing."""
        key = breaker.company_id, breaker.runbook_id
        known = self._breakers.get(key)
        if known is None or known.revision <= breaker.revision:
            self._breakers[key] = breaker

    def actions(self) -> Mapping[str, CatalogueAction] | None:
        """By name; None until the topic was read to its end and some executor has published."""
        return self._actions if self._reader.is_ready and self._actions else None

    def engines(self) -> Sequence[EngineStatus]:
        """The last word of every instance."""
        return [self._engines[instance] for instance in sorted(self._engines)]

    def breaker(self, company_id: str, runbook_id: str) -> Breaker | None:
        """The runbook's; None while nothing was ever said of it, which means closed."""
        return self._breakers.get((company_id, runbook_id))
