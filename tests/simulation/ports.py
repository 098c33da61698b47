"""What the world puts around the services' ports: what can be away, a message to die of, a referee at commits."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec
from msgspec import Raw

from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move
from outlast.errors import TransientError
from outlast.execution.state import Execution
from outlast.messaging.ports import Received
from outlast.runtime.work import Turn, Work
from outlast.testing.faults import Crash, Faults
from outlast_finalizer.store import Changes
from outlast_timer_scheduler.cron_store import CronChanges
from outlast_trigger_matcher.lookup import Found, Wanted
from outlast_trigger_matcher.ports import Intake, Plan
from tests.simulation import workload
from tests.simulation.poison import KILLER
from tests.stores.memory_engine import MemoryEngineStore
from tests.stores.memory_finalizer import MemoryFinalizerStore
from tests.stores.memory_matcher import MemoryMatcherStore
from tests.stores.memory_signals import MemorySignalStore
from tests.stores.memory_timers import MemoryCronStore, MemoryTimerStore

if TYPE_CHECKING:
    from tests.simulation.system import System


class SimulatedLookup:
    """The platform's batched look-up; away together with the platform."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    async def find(self, wanted: Sequence[Wanted]) -> list[Found]:
        """One answer for each, in order."""
        if self._faults.is_platform_away or self._faults.is_struck("commit"):
            raise TransientError("look-up: the platform is away")
        return [self._found(each) for each in wanted]

    def _found(self, wanted: Wanted) -> Found:
        known = workload.finding(wanted.company_id, wanted.finding_id) if wanted.finding_id else None
        about = wanted.asset_id if wanted.finding_id else ""
        asset = workload.asset(wanted.company_id, about) if about else None
        return Found(_json(known), _json(asset))


def _json(value: object) -> Raw | None:
    return None if value is None else Raw(msgspec.json.encode(value))


class SimulatedRuns:
    """The view of the records that signal delivery reads; away together with the database."""

    def __init__(self, faults: Faults, records: MemoryFinalizerStore) -> None:
        self._faults = faults
        self._records = records

    async def known(self, asked: Collection[tuple[str, str]]) -> Collection[tuple[str, str]]:
        """Those of these (company, execution) pairs that have a record and are not over."""
        if self._faults.is_database_away or self._faults.is_struck("commit"):
            raise TransientError("records: the database is away")
        runs = self._records.runs
        return {
            (company, run)
            for company, run in asked
            if run in runs and runs[run].company_id == company and runs[run].finished_at is None
        }


class Mortal:
    """The engine's work, but there is a message that it dies of."""

    def __init__(self, work: Work) -> None:
        self._work = work

    def __getattr__(self, name: str) -> object:
        return getattr(self._work, name)

    async def decide(self, messages: Sequence[Received]) -> Turn:
        """Decide, or die."""
        if any(message.value == KILLER for message in messages):
            raise Crash("the killer message")
        return await self._work.decide(messages)

    def cached(self) -> Mapping[str, Execution]:
        """The states in memory."""
        return self._work._states  # pyright: ignore[reportAttributeAccessIssue]


class Counting:
    """A store whose commits are counted, and checked by a referee that no mutant touches."""

    def __init__(self, store: object, commits: Sequence[str], system: "System") -> None:
        self._store = store
        self._commits = frozenset(commits)
        self._system = system

    def __getattr__(self, name: str) -> object:
        method = getattr(self._store, name)
        if name not in self._commits:
            return method
        return self._counted(name, method)

    def _counted(self, name: str, method: Callable[..., object]) -> Callable[..., object]:
        async def call(*arguments: object) -> object:
            stale = self._stale(arguments)
            result = await method(*arguments)  # pyright: ignore[reportGeneralTypeIssues]
            self._system.stale_writes += stale
            self._system.count_commit()
            for argument in arguments:
                if isinstance(argument, Plan):
                    self._system.slots.look(argument)
                elif isinstance(argument, Changes):
                    self._system.breakers.look(argument)
                elif isinstance(argument, CronChanges):
                    self._system.schedules.look(argument)
                elif isinstance(argument, Intake):
                    self._system.schedules.take()
            return result

        return call

    def _stale(self, arguments: Sequence[object]) -> list[str]:
        """What a fenced owner is about to write; a correct store refuses it."""
        moves = _moves(arguments)
        if not moves:
            return []
        epochs = _epochs(self._system, self._store, moves)
        return [
            f"{move.at} written at epoch {move.epoch}, owned since {epochs[move.at]}"
            for move in moves
            if epochs.get(move.at, move.epoch) != move.epoch
        ]


def _moves(arguments: Sequence[object]) -> Sequence[Move]:
    for argument in arguments:
        found = getattr(argument, "moves", argument)
        if isinstance(found, list | tuple) and found and all(isinstance(each, Move) for each in found):
            return found
    return ()


def _epochs(system: "System", store: object, moves: Sequence[Move]) -> dict[TopicPartition, int]:
    if isinstance(store, MemoryEngineStore):
        rows = system.engine_fence.rows
    elif isinstance(store, MemoryFinalizerStore):
        rows = system.finalizer_fence.rows
    elif isinstance(store, MemoryMatcherStore):
        rows = {**system.intake_fence.rows, **system.lanes_fence.rows}
    elif isinstance(store, MemoryTimerStore | MemoryCronStore):
        rows = system.timer_fence.rows
    elif isinstance(store, MemorySignalStore):
        rows = system.signal_fence.rows
    else:
        rows = system.ledger.fence.rows
    return {at: row.epoch for at, row in rows.items()}
