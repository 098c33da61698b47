"""A rule's schedule, as its author wrote it: when it comes, in which zone, what becomes of what was missed. Pure."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

from outlast.limits import CATCH_UP_SECONDS_MAX, CRON_CHARACTERS_MAX, JITTER_SECONDS_MAX
from outlast.runbooks.calendar_text import zone_fault, zone_named
from outlast.runbooks.cron import Cron, parse_cron
from outlast.runbooks.documents import Json, kind_of
from outlast.runbooks.durations import format_duration
from outlast.runbooks.faults import DefinitionFault, member
from outlast.runbooks.fields import FieldReader

CatchUpPolicy: TypeAlias = Literal["last", "all", "none"]
Overlap: TypeAlias = Literal["skip", "allow"]

SCHEDULE_KEYS: Final = ("cron", "timezone", "catch_up", "overlap", "jitter")
"""Of a rule, beside event and condition."""
_POLICIES: tuple[CatchUpPolicy, ...] = ("last", "all", "none")
_OVERLAPS: tuple[Overlap, ...] = ("skip", "allow")
_ZONE_CHARACTERS_MAX = 60
_OF_THE_MACHINE = ("localtime", "posixrules", "Factory")
"""Zones that each machine has its own idea of."""
_SECOND = timedelta(seconds=1)
_HOUR = timedelta(hours=1)
_NONE = timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """When a rule fires. The defaults are those of a rule that says nothing."""

    cron: Cron
    timezone: str = "UTC"
    catch_up_window: timedelta = _HOUR
    """How far back what was missed counts."""
    catch_up_policy: CatchUpPolicy = "last"
    overlap: Overlap = "skip"
    """Whether it fires while the rule's last run has not ended."""
    jitter: timedelta = _NONE
    """It fires up to so much later than the clock says; each rule by its own share, always the same."""

    @property
    def zone(self) -> ZoneInfo:
        """The time zone."""
        zone = zone_named(self.timezone)
        assert zone is not None, "a schedule is read with its zone"
        return zone

    @property
    def members(self) -> dict[str, Json]:
        """The members of the rule's document, defaults left out."""
        document: dict[str, Json] = {"cron": self.cron.text}
        if self.timezone != "UTC":
            document["timezone"] = self.timezone
        catch_up: dict[str, Json] = {}
        if self.catch_up_window != _HOUR:
            catch_up["window"] = format_duration(self.catch_up_window)
        if self.catch_up_policy != "last":
            catch_up["policy"] = self.catch_up_policy
        if catch_up:
            document["catch_up"] = catch_up
        if self.overlap != _default_overlap(self.catch_up_policy):
            document["overlap"] = self.overlap
        if self.jitter:
            document["jitter"] = format_duration(self.jitter)
        return document


def read_schedule(rule: dict[str, Json], at: str, faults: list[DefinitionFault]) -> Schedule | None:
    """The schedule of the rule that stands at `at`; None after adding what is wrong to `faults`."""
    before = len(faults)
    fields = FieldReader(rule, at, faults)
    cron = _cron(fields)
    timezone = fields.text("timezone", "UTC", _ZONE_CHARACTERS_MAX)
    if timezone in _OF_THE_MACHINE:
        fields.fault(
            "timezone", f'expected a time zone such as "Europe/Berlin", not {timezone}: name the place'
        )
    elif isinstance(rule.get("timezone", "UTC"), str) and (fault := zone_fault(timezone)) is not None:
        fields.fault("timezone", fault)
    window, policy = _catch_up(rule.get("catch_up", {}), member(at, "catch_up"), faults)
    overlap: Overlap | None = fields.one_of("overlap", _OVERLAPS, None)
    jitter = fields.duration("jitter", _NONE, _NONE, timedelta(seconds=JITTER_SECONDS_MAX))
    if cron is None or len(faults) > before:
        return None
    return Schedule(
        cron=cron,
        timezone=timezone,
        catch_up_window=window,
        catch_up_policy=policy,
        overlap=overlap or _default_overlap(policy),
        jitter=jitter,
    )


def _default_overlap(policy: CatchUpPolicy) -> Overlap:
    """What is made up for comes all at once: to skip all but the first of it would be no making up."""
    return "allow" if policy == "all" else "skip"


def _cron(fields: FieldReader) -> Cron | None:
    text = fields.text("cron", None, CRON_CHARACTERS_MAX)
    if not text or len(text) > CRON_CHARACTERS_MAX:
        return None
    try:
        return parse_cron(text)
    except ValueError as refused:
        fields.fault("cron", str(refused))
        return None


def _catch_up(document: Json, at: str, faults: list[DefinitionFault]) -> tuple[timedelta, CatchUpPolicy]:
    if not isinstance(document, dict):
        message = f"expected an object such as {{policy: none}}, got {kind_of(document)}"
        faults.append(DefinitionFault(at, message))
        return _HOUR, "last"
    fields = FieldReader(document, at, faults)
    fields.refuse_unknown(("window", "policy"))
    window = fields.duration("window", _HOUR, _SECOND, timedelta(seconds=CATCH_UP_SECONDS_MAX))
    policy: CatchUpPolicy | None = fields.one_of("policy", _POLICIES, None)
    return window, policy or "last"
