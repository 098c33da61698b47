"""An action type: its name and class, its config, and the function that does it."""

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

import msgspec

from outlast.actions.calls import ActionOutcome

ENTRY_POINTS = "outlast.actions"
"""The entry point group: each entry names an ActionType, or a sequence of them."""
ACTION_CLASSES = ("notify", "finding", "itsm", "platform", "flow")
DRAFT = "https://json-schema.org/draft/2020-12/schema"

Run: TypeAlias = Callable[..., Awaitable[ActionOutcome]]
"""(config, call) -> outcome; raises ActionFailed."""
LookUp: TypeAlias = Callable[..., Awaitable[ActionOutcome | None]]
"""(config, call) -> the outcome that an earlier, unrecorded attempt had, or None if it did nothing."""


class ActionType(msgspec.Struct, frozen=True, kw_only=True):
    """A type of action. `config` is a msgspec Struct: it validates the rendered config and gives the JSON Schema."""

    name: str
    action_class: str
    summary: str
    config: type[msgspec.Struct]
    run: Run | None
    """None for the class flow only: the interpreter decides those, no executor runs them."""
    is_idempotent: bool
    """Whether a second call under the same idempotency key does no harm; otherwise `on_unknown` decides."""
    example: Mapping[str, object]
    undo: str = ""
    """The action type that undoes it."""
    look_up: LookUp | None = None
    """Finds out, by our marker, what an attempt of unknown outcome came to."""
    destination: Callable[..., str | None] | None = None
    """(config) -> whom the call loads ("host:port"), for the cap per destination; None has no cap."""

    def __post_init__(self) -> None:
        """Refuse a type that could not work."""
        if not self.name.isidentifier() or self.name != self.name.lower():
            raise ValueError(f"expected a lower-case identifier as the action's name, got {self.name!r}")
        if self.action_class not in ACTION_CLASSES:
            raise ValueError(
                f"{self.name}: expected one of {', '.join(ACTION_CLASSES)}, got {self.action_class!r}"
            )
        if (self.run is None) != (self.action_class == "flow"):
            raise ValueError(f"{self.name}: expected a function to run, for every class but flow")

    def config_schema(self) -> dict[str, object]:
        """The config's JSON Schema, self-contained. A property that has a default is not required."""
        (reference,), definitions = msgspec.json.schema_components(
            [self.config], ref_template="#/$defs/{name}"
        )
        name = str(reference["$ref"]).rpartition("/")[2]
        schema = {"$schema": DRAFT, **definitions.pop(name)}
        properties = schema.get("properties", {})
        required = [key for key in schema.get("required", ()) if "default" not in properties[key]]
        schema.pop("required", None)
        if required:
            schema["required"] = required
        if definitions:
            schema["$defs"] = definitions
        return schema
