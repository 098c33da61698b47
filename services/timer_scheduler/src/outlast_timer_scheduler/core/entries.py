"""The entries of the calendar: which a runbook wants, how far each has come, and which of them are next."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from heapq import heapify, heappop, heappush
from typing import NamedTuple

from outlast.runbooks.cron_times import next_after
from outlast.runbooks.schedules import Schedule

RunbookKey = tuple[str, str]
"""Company and runbook."""
EntryKey = tuple[str, str, int]
"""Company, runbook and rule."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a runbook's record asks for. An inactive or deleted one asks for nothing."""

    key: RunbookKey
    version: int
    since: datetime
    """When the record was published: a schedule that is new or changed begins there."""
    schedules: Mapping[int, Schedule]
    """By rule."""


class Row(NamedTuple):
    """An entry as it is stored."""

    company_id: str
    runbook_id: str
    rule: int
    version: int
    cron: str
    timezone: str
    last_at: datetime
    """The last time in the schedule that was dealt with; at first, the beginning."""
    next_at: datetime | None

    @property
    def key(self) -> EntryKey:
        """There is one row of a key."""
        return (self.company_id, self.runbook_id, self.rule)


class Entry(NamedTuple):
    """An entry that is live: its row, and what the row does not say."""

    row: Row
    schedule: Schedule
    fire_at: datetime | None
    """When it fires next: what the schedule says, and the rule's share of the jitter."""


@dataclass(slots=True)
class Settlement:
    """What it takes for the rows to be as the runbooks want them."""

    entries: list[Entry] = field(default_factory=list[Entry])
    gone: list[EntryKey] = field(default_factory=list[EntryKey])
    changed: list[Row] = field(default_factory=list[Row])


def settle(wanted: Wanted, rows: Sequence[Row], now: datetime, settlement: Settlement) -> None:
    """Add what one runbook's rows have to become.

    A schedule that is the same text in the same zone goes on where it was, whichever rule it has become; so no edit
    of anything else fires it twice or not at all.
    """
    present = {row.rule: row for row in rows}
    since = min(wanted.since, now)
    for rule, schedule in wanted.schedules.items():
        before = present.get(rule)
        candidates = rows if before is None else (before, *rows)
        last_at = next((row.last_at for row in candidates if is_same(row, schedule)), since)
        entry = advanced(wanted, rule, schedule, last_at)
        settlement.entries.append(entry)
        if entry.row != before:
            settlement.changed.append(entry.row)
    settlement.gone += [row.key for row in rows if row.rule not in wanted.schedules]


def is_same(row: Row, schedule: Schedule) -> bool:
    """Whether a row has come along this very schedule."""
    return (row.cron, row.timezone) == (schedule.cron.text, schedule.timezone)


def advanced(wanted: Wanted, rule: int, schedule: Schedule, last_at: datetime) -> Entry:
    """The entry when everything up to `last_at` is dealt with. Its next time follows from that, never from now."""
    next_at = next_after(schedule.cron, schedule.zone, last_at)
    row = Row(*wanted.key, rule, wanted.version, schedule.cron.text, schedule.timezone, last_at, next_at)
    return entered(row, schedule)


def moved(entry: Entry, last_at: datetime) -> Entry:
    """The entry when everything up to `last_at` is dealt with."""
    next_at = next_after(entry.schedule.cron, entry.schedule.zone, last_at)
    return entered(entry.row._replace(last_at=last_at, next_at=next_at), entry.schedule)


def entered(row: Row, schedule: Schedule) -> Entry:
    """A row with its schedule."""
    return Entry(
        row, schedule, None if row.next_at is None else row.next_at + share(row.key, schedule.jitter)
    )


def share(key: EntryKey, jitter: timedelta) -> timedelta:
    """The rule's own part of the jitter: always the same, spread evenly over rules, less than all of it."""
    digest = hashlib.sha256("\x00".join(map(str, key)).encode()).digest()
    return jitter * (int.from_bytes(digest[:4], "big") / 2**32)


class Calendar:
    """The live entries of one partition, by when they fire."""

    def __init__(self) -> None:
        self._entries: dict[RunbookKey, dict[int, Entry]] = {}
        self._order: list[tuple[datetime, EntryKey]] = []
        """A heap. What it has of an entry that has changed since is passed over."""
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def put(self, entry: Entry) -> None:
        """Enter it, in place of what was there under its key."""
        *key, rule = entry.row.key
        rules = self._entries.setdefault((key[0], key[1]), {})
        self._count += rule not in rules
        rules[rule] = entry
        if entry.fire_at is not None:
            heappush(self._order, (entry.fire_at, entry.row.key))
        if len(self._order) > 2 * self._count + 1_000:
            self._order = [
                (each.fire_at, each.row.key)
                for rules in self._entries.values()
                for each in rules.values()
                if each.fire_at is not None
            ]
            heapify(self._order)

    def remove(self, key: RunbookKey) -> None:
        """Take out a runbook's entries, if there are any."""
        self._count -= len(self._entries.pop(key, ()))

    def next_at(self) -> datetime | None:
        """When the next one fires."""
        while self._order:
            fire_at, key = self._order[0]
            entry = self._entries.get(key[:2], {}).get(key[2])
            if entry is not None and entry.fire_at == fire_at:
                return fire_at
            heappop(self._order)
        return None

    def take(self, now: datetime) -> Entry | None:
        """The next one whose time has come. It stays, and is not named again until it is put anew."""
        fire_at = self.next_at()
        if fire_at is None or fire_at > now:
            return None
        _, key = heappop(self._order)
        return self._entries[key[:2]][key[2]]
