"""The matching index: from (company, event type, payload) to the runbooks that fire.
 An event is asked twice. Before the finding and the asset are looked up, to learn whether the look-up is
needed at all: only the fields of the event itself count. After it, on the enriched payload, to learn what
fires.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol, cast

from outlast.runbooks.conditions import compile_node
from outlast.runbooks.definition import Rule
from outlast.runbooks.documents import Json
from outlast.runbooks.trees import AnyOf, Node
from outlast_trigger_matcher.core.bucket import Bucket
from outlast_trigger_matcher.core.entries import Check, Entry, always
from outlast_trigger_matcher.core.projection import project

_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)
"""Projections do not ask for it."""


class HasRules(Protocol):
    """A runbook, or as much of one as is needed to match."""

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Fires if any of them matches."""
        ...


@dataclass(frozen=True, slots=True)
class _Placed:
    """Where a runbook stands under one event type."""

    event_type: str
    before: Entry
    after: Entry


class _Pair:
    """The runbooks of one company and event type, by what is known before and after the look-up."""

    __slots__ = ("after", "before")

    def __init__(self) -> None:
        self.before = Bucket()
        self.after = Bucket()


class TriggerIndex:
    """Every active runbook of every company. Runbooks come and go one at a time; answers are ordered by id."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[str, str], _Pair] = {}
        self._placed: dict[tuple[str, str], list[_Placed]] = {}

    @classmethod
    def build(cls, entries: Iterable[tuple[str, str, HasRules]]) -> "TriggerIndex":
        """An index over (company id, runbook id, runbook)."""
        index = cls()
        for company_id, runbook_id, runbook in entries:
            index.add(company_id, runbook_id, runbook)
        return index

    def __len__(self) -> int:
        return len(self._placed)

    def add(self, company_id: str, runbook_id: str, runbook: HasRules) -> None:
        """Let the runbook be matched from now on, in place of what was known under its id."""
        self.remove(company_id, runbook_id)
        by_type: dict[str, list[Rule]] = {}
        for rule in runbook.rules:
            by_type.setdefault(rule.event_type, []).append(rule)
        placed: list[_Placed] = []
        for event_type, rules in by_type.items():
            pair = self._pairs.setdefault((company_id, event_type), _Pair())
            tree = _any_of(rules)
            early = None if tree is None else project(tree)
            before = Entry(runbook_id, always if early is None else compile_node(early))
            after = Entry(runbook_id, _check(rules))
            pair.before.add(before, early)
            pair.after.add(after, tree)
            placed.append(_Placed(event_type, before, after))
        self._placed[company_id, runbook_id] = placed

    def remove(self, company_id: str, runbook_id: str) -> None:
        """Forget the runbook; nothing happens if it is not known."""
        for placed in self._placed.pop((company_id, runbook_id), ()):
            pair = self._pairs[company_id, placed.event_type]
            pair.before.remove(placed.before)
            pair.after.remove(placed.after)
            if not pair.after:
                del self._pairs[company_id, placed.event_type]

    def candidates_before_lookup(
        self, company_id: str, event_type: str, payload: Mapping[str, object]
    ) -> tuple[str, ...]:
        """The runbooks that may fire, judged by `event.*` and `company.*` alone; none means: no look-up needed."""
        pair = self._pairs.get((company_id, event_type))
        return () if pair is None else pair.before.match(cast("Json", payload), _NO_TIME)

    def needs_lookup(self, company_id: str, event_type: str, payload: Mapping[str, object]) -> bool:
        """Whether any runbook may fire, judged by `event.*` and `company.*` alone: stops at the first."""
        pair = self._pairs.get((company_id, event_type))
        return pair is not None and pair.before.has_match(cast("Json", payload), _NO_TIME)

    def candidates(self, company_id: str, event_type: str, payload: Mapping[str, object]) -> tuple[str, ...]:
        """The runbooks whose conditions have to be asked about an enriched payload: at least those that fire."""
        pair = self._pairs.get((company_id, event_type))
        if pair is None:
            return ()
        return tuple(entry.runbook_id for entry in pair.after.candidates(cast("Json", payload)))

    def match(
        self, company_id: str, event_type: str, payload: Mapping[str, object], now: datetime
    ) -> tuple[str, ...]:
        """The runbooks that fire, each once, however many of its rules match. `payload` is enriched, a dict."""
        pair = self._pairs.get((company_id, event_type))
        return () if pair is None else pair.after.match(cast("Json", payload), now)

    def always_checked(self, company_id: str, event_type: str) -> tuple[str, ...]:
        """The runbooks that no index helps, for those who wonder why matching is slow."""
        pair = self._pairs.get((company_id, event_type))
        return () if pair is None else pair.after.always_checked


def _any_of(rules: Iterable[Rule]) -> Node | None:
    trees = [None if rule.condition is None else rule.condition.tree for rule in rules]
    whole = tuple(tree for tree in trees if tree is not None)
    if len(whole) < len(trees):
        return None
    return whole[0] if len(whole) == 1 else AnyOf(whole)


def _check(rules: Iterable[Rule]) -> Check:
    conditions = [rule.condition for rule in rules]
    checks = [condition.matches for condition in conditions if condition is not None]
    if len(checks) < len(conditions):
        return always
    if len(checks) == 1:
        return checks[0]
    return lambda payload, now: any(check(payload, now) for check in checks)
