"""Every action type that this executor has: found by entry point, the built-in ones like anybody's."""

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import NamedTuple

import msgspec

from outlast.actions import ENTRY_POINTS, ActionType
from outlast.contracts import codec
from outlast.contracts.messages import CatalogueAction


class Registered(NamedTuple):
    """An action type, the decoder of its config, and the distribution that it came with."""

    type: ActionType
    decoder: "msgspec.json.Decoder[object]"
    distribution: str


class Registry:
    """Action types by name. A name that two distributions claim is refused: runbooks would mean two things."""

    def __init__(self) -> None:
        self._types: dict[str, Registered] = {}

    def add(self, action_type: ActionType, distribution: str) -> None:
        """Register it."""
        known = self._types.get(action_type.name)
        if known is not None:
            raise ValueError(
                f"expected one action type {action_type.name!r}, found it in {known.distribution} and {distribution}"
            )
        self._types[action_type.name] = Registered(
            action_type, msgspec.json.Decoder(action_type.config), distribution
        )

    def get(self, name: str) -> Registered | None:
        """The action type of that name."""
        return self._types.get(name)

    @property
    def names(self) -> frozenset[str]:
        """Every name."""
        return frozenset(self._types)

    def catalogue(self) -> Mapping[str, bytes]:
        """The catalogue's messages by key, in the order of names."""
        return {name: codec.encode(_entry(self._types[name])) for name in sorted(self._types)}


def load_registry(found: Iterable[EntryPoint] | None = None) -> Registry:
    """The types of every installed distribution. An entry point that is broken stops the start: it says which."""
    registry = Registry()
    for entry in entry_points(group=ENTRY_POINTS) if found is None else found:
        distribution = entry.dist.name if entry.dist is not None else "unknown"
        loaded = entry.load()
        for action_type in [loaded] if isinstance(loaded, ActionType) else loaded:
            if not isinstance(action_type, ActionType):
                raise ValueError(f"{distribution}: expected {entry.value} to be an ActionType, or several")
            registry.add(action_type, distribution)
    return registry


def _entry(registered: Registered) -> CatalogueAction:
    action_type = registered.type
    return CatalogueAction(
        name=action_type.name,
        action_class=action_type.action_class,
        summary=action_type.summary,
        config_schema=msgspec.Raw(msgspec.json.encode(action_type.config_schema())),
        example=msgspec.Raw(msgspec.json.encode(action_type.example)),
        is_idempotent=action_type.is_idempotent,
        undo=action_type.undo,
        distribution=registered.distribution,
    )
