"""What a definition may name: the kinds of actions, as the executor that runs them describes them."""

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias, get_args

import msgspec

from outlast.limits import SIGNAL_KEY_CHARACTERS_MAX, SIGNAL_NAME_CHARACTERS_MAX
from outlast.runbooks.documents import Json

ActionClass: TypeAlias = Literal["notify", "finding", "itsm", "platform", "flow"]
ACTION_CLASSES: Final[tuple[ActionClass, ...]] = get_args(ActionClass)


class ActionKind(msgspec.Struct, frozen=True, kw_only=True):
    """One action type: its class, the JSON Schema of its config, whether doing it twice is as once."""

    type: str
    action_class: ActionClass
    config_schema: dict[str, Json]
    is_idempotent: bool = False


_NOTHING: dict[str, Json] = {"type": "object", "properties": {}, "additionalProperties": False}

RESOLVE_OWNER: Final = ActionKind(
    type="resolve_owner", action_class="flow", config_schema=_NOTHING, is_idempotent=True
)
_DURATION: dict[str, Json] = {"type": "string", "pattern": "^[0-9]{1,15}[smhd]$"}
SLEEP: Final = ActionKind(
    type="sleep",
    action_class="flow",
    config_schema={
        "type": "object",
        "properties": {"duration": {**_DURATION, "description": 'How long: "30s", "5m", "2h", "7d"'}},
        "required": ["duration"],
        "additionalProperties": False,
    },
    is_idempotent=True,
)
AWAIT_SIGNAL: Final = ActionKind(
    type="await_signal",
    action_class="flow",
    config_schema={
        "type": "object",
        "properties": {
            "signal": {
                "type": "string",
                "minLength": 1,
                "maxLength": SIGNAL_NAME_CHARACTERS_MAX,
                "description": "The name of the signal",
            },
            "key": {
                "type": "string",
                "minLength": 1,
                "maxLength": SIGNAL_KEY_CHARACTERS_MAX,
                "description": "A correlation key: signals sent with it reach every run that waits with it",
            },
            "timeout": {**_DURATION, "description": "How long to wait: 72h if not given"},
            "on_timeout": {
                "enum": ["fail", "continue"],
                "description": "fail the step (if not given), or go on",
            },
        },
        "required": ["signal"],
        "additionalProperties": False,
    },
    is_idempotent=True,
)
DECIDED: Final = (RESOLVE_OWNER, SLEEP, AWAIT_SIGNAL)
"""What the interpreter decides: in every catalogue."""
WAITING_TYPES: Final = (SLEEP.type, AWAIT_SIGNAL.type)
BRANCH_TYPE: Final = "when"


class Catalogue:
    """The action types that a definition may use; those that the interpreter decides are always in it."""

    def __init__(self, kinds: Iterable[ActionKind] = ()) -> None:
        self._kinds = {kind.type: kind for kind in (*DECIDED, *kinds)}

    def get(self, action_type: str) -> ActionKind | None:
        """The kind of this name, None if there is none. `when` is a part of the language and has no kind."""
        return self._kinds.get(action_type)

    @property
    def types(self) -> tuple[str, ...]:
        """Every name that may stand as an action's type."""
        return (*self._kinds, BRANCH_TYPE)
