"""Schedules: what the calendars of this process's partitions have, and what is said when a time has come.

A runbook's schedules belong to the partition of `timers.commands` that its id hashes to. When a definition comes, or
a partition is acquired, the definition is compared with its rows, which say how far each schedule has come. A firing
is said in this order: produce it, wait until the broker has it, move the row on under the fence. Whoever dies in
between leaves a row that fires the same event again, and the matcher takes an event in once.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from outlast import ids, limits
from outlast.clock import Clock
from outlast.contracts.topics import TopicPartition
from outlast.db.fence import Move
from outlast.messaging.ports import Outgoing
from outlast.runtime.work import Turn
from outlast_timer_scheduler import metrics
from outlast_timer_scheduler.core.entries import (
    Calendar,
    Entry,
    Row,
    RunbookKey,
    Settlement,
    Wanted,
    moved,
    settle,
    share,
)
from outlast_timer_scheduler.core.firings import Fired, message, read_name
from outlast_timer_scheduler.core.missed import due
from outlast_timer_scheduler.cron_store import CronChanges, CronStore

REPEATED = timedelta(seconds=limits.CRON_REPEATED_SECONDS)
FIRST = ("", "", 0, datetime.min.replace(tzinfo=UTC))
"""Before every firing."""


@dataclass(slots=True)
class CronTurn:
    """Rows to write, and what the calendars have when they are written."""

    changes: CronChanges
    settled: Collection[RunbookKey] = ()
    """Runbooks whose entries are replaced by those of `entries`."""
    entries: list[Entry] = field(default_factory=list[Entry])
    skipped: int = 0


class CronWork:
    """The part of the timer scheduler's work that schedules are."""

    def __init__(
        self,
        store: CronStore,
        clock: Clock,
        count: Callable[[], Awaitable[int]],
        is_ready: Callable[[], bool],
    ) -> None:
        """`count`: the partitions of `timers.commands`. `is_ready`: all definitions are known; before, nothing is."""
        self._store = store
        self._clock = clock
        self._count = count
        self._is_ready = is_ready
        self._partitions = 0
        """Counted when it is needed first."""
        self._arrived: list[Wanted] = []
        """Not assigned to their partition yet."""
        self._wanted: dict[int, dict[RunbookKey, Wanted]] = {}
        """What every runbook wants, by the partition that it belongs to."""
        self._unsettled: dict[int, dict[RunbookKey, None]] = {}
        """Runbooks to be compared with their rows."""
        self._calendars: dict[int, Calendar] = {}

    def want(self, wanted: Wanted) -> None:
        """A runbook's record has come."""
        self._arrived.append(wanted)

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """The rows of these are read again before anything fires."""
        for at in partitions:
            self._calendars.pop(at.partition, None)
            self._unsettled[at.partition] = dict.fromkeys(self._wanted.get(at.partition, ()))
        self._count_live()

    # ---- what is due -----------------------------------------------------------------------------------------

    def due_seconds(self, owned: Collection[TopicPartition]) -> float | None:
        """In how many seconds a schedule fires; 0 when a definition waits to be compared with its rows."""
        if not self._is_ready():
            return None
        if self._arrived or any(self._unsettled.get(at.partition) for at in owned):
            return 0.0
        calendars = [self._calendars[at.partition] for at in owned if at.partition in self._calendars]
        instants = [instant for each in calendars if (instant := each.next_at()) is not None]
        return max(0.0, (min(instants) - self._clock.now()).total_seconds()) if instants else None

    async def act(self, owned: Collection[TopicPartition]) -> Turn | None:
        """Compare definitions that have come with their rows; else say a bounded part of what is due."""
        if not self._is_ready():
            return None
        await self._assign()
        return await self._settle(owned) or self._fire(owned)

    async def _assign(self) -> None:
        self._partitions = self._partitions or await self._count()
        for wanted in self._arrived:
            partition = ids.lane(*wanted.key, self._partitions)
            self._wanted.setdefault(partition, {})[wanted.key] = wanted
            self._unsettled.setdefault(partition, {})[wanted.key] = None
        self._arrived.clear()

    async def _settle(self, owned: Collection[TopicPartition]) -> Turn | None:
        taken: dict[RunbookKey, Wanted] = {}
        touched: set[TopicPartition] = set()
        for at in owned:
            unsettled = self._unsettled.get(at.partition, {})
            while unsettled and len(taken) < limits.CRON_SETTLED_MAX:
                key, _ = unsettled.popitem()
                taken[key] = self._wanted[at.partition][key]
                touched.add(at)
        if not taken:
            return None
        rows: dict[RunbookKey, list[Row]] = {}
        for row in await self._store.entries(sorted(taken)):
            rows.setdefault((row.company_id, row.runbook_id), []).append(row)
        settlement, now = Settlement(), self._clock.now()
        for key, wanted in taken.items():
            settle(wanted, rows.get(key, ()), now, settlement)
        changes = CronChanges(gone=settlement.gone, put=settlement.changed)
        turn = CronTurn(changes, taken, settlement.entries)
        if changes.gone or changes.put:
            return Turn(turn, touched=touched)
        self._enter(turn)
        return None

    def _fire(self, owned: Collection[TopicPartition]) -> Turn | None:
        now = self._clock.now()
        fired = CronTurn(CronChanges())
        turn = Turn(fired)
        for at in owned:
            calendar = self._calendars.get(at.partition)
            while calendar is not None and len(turn.answers) < limits.CRON_FIRED_MAX:
                entry = calendar.take(now)
                if entry is None:
                    break
                room = min(limits.CRON_FIRED_OF_ONE_MAX, limits.CRON_FIRED_MAX - len(turn.answers))
                upto = now - share(entry.row.key, entry.schedule.jitter)
                ripe = due(entry.schedule, entry.row.last_at, upto, room)
                firings = [
                    Fired(
                        *entry.row.key,
                        each.scheduled_at,
                        entry.row.cron,
                        entry.row.timezone,
                        each.is_catch_up,
                        now,
                    )
                    for each in ripe.firings
                ]
                fired.changes.fired += firings
                fired.entries.append(moved(entry, ripe.last_at))
                fired.skipped += ripe.skipped
                turn.answers += [message(each) for each in firings]
                turn.touched.add(at)
        if not fired.entries:
            return None
        fired.changes.put = [entry.row for entry in fired.entries]
        return turn

    async def commit(self, turn: CronTurn, moves: Sequence[Move]) -> None:
        """Store the rows; then the calendars follow."""
        await self._store.commit_cron(turn.changes, moves)
        self._enter(turn)
        metrics.CRON_SKIPPED.inc(turn.skipped)
        now = self._clock.now()
        for fired in turn.changes.fired:
            if not fired.is_catch_up:
                metrics.CRON_LATENESS_SECONDS.observe(max(0.0, (now - fired.scheduled_at).total_seconds()))
            metrics.CRON_FIRED.labels("yes" if fired.is_catch_up else "no").inc()

    def _enter(self, turn: CronTurn) -> None:
        for key in turn.settled:
            self._calendar(key).remove(key)
        for entry in turn.entries:
            self._calendar((entry.row.company_id, entry.row.runbook_id)).put(entry)
        self._count_live()

    def _calendar(self, key: RunbookKey) -> Calendar:
        return self._calendars.setdefault(ids.lane(*key, self._partitions), Calendar())

    def _count_live(self) -> None:
        metrics.CRON_LIVE.set(sum(len(each) for each in self._calendars.values()))

    # ---- saying again ----------------------------------------------------------------------------------------

    async def outstanding_page(self, at: TopicPartition, after: str, page_max: int) -> Sequence[str]:
        """The last day's firings of this partition, by their names."""
        await self._assign()
        since = self._clock.now() - REPEATED
        position = read_name(after).position if after else FIRST
        names: list[str] = []
        while len(names) < page_max:
            page = await self._store.firings_page(since, position, page_max)
            names += [each.name for each in page if self._is_of(each, at)][: page_max - len(names)]
            if len(page) < page_max:
                break
            position = page[-1].position
        return names

    async def derive(self, at: TopicPartition, names: Sequence[str]) -> list[Outgoing]:
        """These firings, once more."""
        metrics.CRON_REPEATED.inc(len(names))
        return [message(read_name(name)) for name in names]

    def _is_of(self, fired: Fired, at: TopicPartition) -> bool:
        return ids.lane(fired.company_id, fired.runbook_id, self._partitions) == at.partition
