"""What a definition may name: the kinds of actions, as the executor that runs them describes them."""

from collections.abc import Iterable
from typing import Final, Literal, TypeAlias, get_args

import msgspec

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
BRANCH_TYPE: Final = "when"


class Catalogue:
    """The action types that a definition may use; those that the interpreter decides are always in it."""

    def __init__(self, kinds: Iterable[ActionKind] = ()) -> None:
        self._kinds = {kind.type: kind for kind in (RESOLVE_OWNER, *kinds)}

    def get(self, action_type: str) -> ActionKind | None:
        """The kind of this name, None if there is none. `when` is a part of the language and has no kind."""
        return self._kinds.get(action_type)

    @property
    def types(self) -> tuple[str, ...]:
        """Every name that may stand as an action's type."""
        return (*self._kinds, BRANCH_TYPE)
