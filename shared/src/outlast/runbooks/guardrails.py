"""What holds a runbook back, as its author wrote it: windows, slots, the loop guard, the breaker's threshold. Pure."""

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal, TypeAlias, cast

from outlast import limits
from outlast.runbooks.documents import Json, canonical, kind_of
from outlast.runbooks.faults import DefinitionFault, element, member
from outlast.runbooks.fields import FieldReader
from outlast.runbooks.templates import TemplateValue

OnConflict: TypeAlias = Literal["queue", "skip"]
GUARDRAIL_KEYS: Final = (
    "throttle_seconds",
    "throttle_key",
    "throttles",
    "concurrency_key",
    "concurrency_limit",
    "on_conflict",
    "release_while_waiting",
    "queue_limit",
    "queue_age",
    "chain_depth",
    "chain_repeat",
    "breaker_threshold",
)
_SECOND = timedelta(seconds=1)
_LONGEST = timedelta(seconds=limits.WINDOW_SECONDS_MAX)
_DAY = timedelta(days=1)
_CONFLICTS: tuple[OnConflict, ...] = ("queue", "skip")


@dataclass(frozen=True, slots=True, kw_only=True)
class Throttle:
    """At most `limit` firings with the same key in any stretch of `window`; no key: of the runbook."""

    limit: int
    window: timedelta
    key: TemplateValue | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Concurrency:
    """At most `limit` runs with the same key at the same time; no key: of the runbook."""

    limit: int = 1
    key: TemplateValue | None = None
    on_conflict: OnConflict = "queue"
    release_while_waiting: bool = False
    queue_limit: int = limits.QUEUE_LIMIT_DEFAULT
    queue_age: timedelta = _DAY


@dataclass(frozen=True, slots=True, kw_only=True)
class Guardrails:
    """All of a runbook's. The defaults are those of a runbook that says nothing."""

    throttles: tuple[Throttle, ...] = ()
    """`throttle_seconds` first, as a window of one firing."""
    concurrency: Concurrency | None = None
    chain_depth: int = limits.CHAIN_DEPTH_MAX
    """How many executions may cause each other before a firing is held back."""
    chain_repeat: bool = False
    """Whether the runbook may run twice in one chain."""
    breaker_threshold: int = limits.BREAKER_THRESHOLD_DEFAULT
    """Failed executions in a row that trip the breaker."""
    document: dict[str, Json] = field(default_factory=dict[str, Json])
    """As the author wrote it."""

    @property
    def asks(self) -> bool:
        """Whether a firing has to ask before it starts."""
        return bool(self.throttles) or self.concurrency is not None


def read_guardrails(document: Json, at: str, faults: list[DefinitionFault]) -> Guardrails:
    """The guardrails that stand at `at`; what is wrong is added to `faults`."""
    if not isinstance(document, dict):
        faults.append(DefinitionFault(at, f"expected an object, got {kind_of(document)}"))
        return Guardrails()
    fields = FieldReader(document, at, faults)
    fields.refuse_unknown(GUARDRAIL_KEYS)
    throttles = (*_throttle_seconds(document, fields, at, faults), *_throttles(document, at, faults))
    return Guardrails(
        throttles=throttles,
        concurrency=_concurrency(document, fields, at, faults),
        chain_depth=fields.whole_number("chain_depth", limits.CHAIN_DEPTH_MAX, 1, limits.EVENT_CHAIN_MAX),
        chain_repeat=fields.boolean("chain_repeat"),
        breaker_threshold=fields.whole_number(
            "breaker_threshold", limits.BREAKER_THRESHOLD_DEFAULT, 1, limits.BREAKER_THRESHOLD_MAX
        ),
        document=document,
    )


def _throttle_seconds(
    document: dict[str, Json], fields: FieldReader, at: str, faults: list[DefinitionFault]
) -> tuple[Throttle, ...]:
    if "throttle_seconds" not in document:
        if "throttle_key" in document:
            fields.fault("throttle_key", "expected throttle_seconds beside it")
        return ()
    seconds = fields.whole_number("throttle_seconds", None, 1, limits.WINDOW_SECONDS_MAX)
    key = _key(document, "throttle_key", at, faults)
    return (Throttle(limit=1, window=seconds * _SECOND, key=key),)


def _throttles(document: dict[str, Json], at: str, faults: list[DefinitionFault]) -> tuple[Throttle, ...]:
    windows = document.get("throttles", [])
    place = member(at, "throttles")
    if not isinstance(windows, list):
        faults.append(DefinitionFault(place, f"expected a list, got {kind_of(windows)}"))
        return ()
    if len(windows) > limits.THROTTLES_MAX:
        faults.append(DefinitionFault(place, f"expected at most {limits.THROTTLES_MAX} windows"))
        return ()
    return tuple(_window(window, element(place, index), faults) for index, window in enumerate(windows))


def _window(document: Json, at: str, faults: list[DefinitionFault]) -> Throttle:
    if not isinstance(document, dict):
        message = f"expected a window such as {{limit: 3, per: 1h}}, got {kind_of(document)}"
        faults.append(DefinitionFault(at, message))
        return Throttle(limit=1, window=_SECOND)
    fields = FieldReader(document, at, faults)
    fields.refuse_unknown(("limit", "per", "key"))
    fields.required("per")
    return Throttle(
        limit=fields.whole_number("limit", None, 1, limits.WINDOW_LIMIT_MAX),
        window=fields.duration("per", _SECOND, _SECOND, _LONGEST),
        key=_key(document, "key", at, faults),
    )


def _concurrency(
    document: dict[str, Json], fields: FieldReader, at: str, faults: list[DefinitionFault]
) -> Concurrency | None:
    limit = fields.whole_number("concurrency_limit", 1, 1, limits.CONCURRENCY_LIMIT_MAX)
    conflict = fields.one_of("on_conflict", _CONFLICTS, None) or "queue"
    release = fields.boolean("release_while_waiting")
    queue_limit = fields.whole_number("queue_limit", limits.QUEUE_LIMIT_DEFAULT, 1, limits.QUEUE_LIMIT_MAX)
    queue_age = fields.duration("queue_age", _DAY, _SECOND, timedelta(seconds=limits.WAIT_SECONDS_MAX))
    if "concurrency_key" not in document and "concurrency_limit" not in document:
        for key in ("on_conflict", "release_while_waiting", "queue_limit", "queue_age"):
            if key in document:
                fields.fault(key, "expected concurrency_key or concurrency_limit beside it")
        return None
    return Concurrency(
        limit=limit,
        key=_key(document, "concurrency_key", at, faults),
        on_conflict=conflict,
        release_while_waiting=release,
        queue_limit=queue_limit,
        queue_age=queue_age,
    )


def _key(
    document: dict[str, Json], name: str, at: str, faults: list[DefinitionFault]
) -> TemplateValue | None:
    if name not in document:
        return None
    value = document[name]
    if not isinstance(value, str) or not value:
        message = f'expected text such as "{{{{ asset.id }}}}", got {kind_of(value)}'
        faults.append(DefinitionFault(member(at, name), message))
        return None
    return TemplateValue(value, member(at, name), faults)


def rendered_key(key: TemplateValue | None, context: dict[str, Json], now: datetime) -> str:
    """The key of this firing; "" without a template. TemplateFailed if it has no value.

    Text as it is, anything else as JSON; what is long or holds NUL becomes its digest, so that any key can be stored.
    """
    if key is None:
        return ""
    value = key.render(context, now)
    text = value if isinstance(value, str) else canonical(cast("Json", value)).decode()
    if len(text) <= limits.GUARD_KEY_CHARACTERS_MAX and "\x00" not in text:
        return text
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
