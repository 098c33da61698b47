"""Class flow: decided by the interpreter, never run here; the catalogue tells the builder of them."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from outlast.actions import ActionType


class ResolveOwner(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Nothing to configure: the asset's owning team becomes `owner`."""


class When(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Branch on a condition."""

    expression: Annotated[
        Any, Meta(description="A condition tree, or one {{ expression }} that is a boolean")
    ]
    then: Annotated[tuple[dict[str, Any], ...], Meta(description="Actions, if it is true")] = ()
    otherwise: Annotated[tuple[dict[str, Any], ...], Meta(description="Actions, if it is false")] = (
        msgspec.field(default=(), name="else")
    )


ACTIONS = (
    ActionType(
        name="resolve_owner",
        action_class="flow",
        summary="Write the asset's owning team into the payload",
        config=ResolveOwner,
        run=None,
        is_idempotent=True,
        example={},
    ),
    ActionType(
        name="when",
        action_class="flow",
        summary="Branch on a condition",
        config=When,
        run=None,
        is_idempotent=True,
        example={
            "expression": {"field": "finding.severity", "op": "eq", "value": "critical"},
            "then": [{"type": "add_finding_tags", "config": {"tags": ["urgent"]}}],
        },
    ),
)
