"""Does a config fit its action's JSON Schema, as far as that can be said before its templates are rendered?
 A text that is one placeholder may become anything, so it fits anywhere. A text with a placeholder beside
other text becomes some text, so it fits wherever text does.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias, cast

from jsonschema import Draft202012Validator, validators
from jsonschema.exceptions import ValidationError
from jsonschema.protocols import Validator
from referencing import Registry

from outlast.runbooks.documents import Json
from outlast.runbooks.faults import DefinitionFault, element, member
from outlast.runbooks.placeholders import Expression, has_placeholder, split_placeholders

_Keyword: TypeAlias = Callable[[Validator, Json, Json, Json], Iterable[ValidationError] | None]

_FOR_ANY_TEXT = ("type", "$ref", "$dynamicRef", "allOf", "anyOf")
_MESSAGE_CHARACTERS_MAX = 300
_NO_REGISTRY: Registry[Json] = Registry()
_KEYWORDS = cast("dict[str, _Keyword]", Draft202012Validator.VALIDATORS)


def _becomes_anything(text: str) -> bool:
    try:
        parts = split_placeholders(text)
    except ValueError:
        return True  # its own fault, reported where templates are read
    return len(parts) == 1 and isinstance(parts[0], Expression)


def _aware_of_templates(name: str, keyword: _Keyword) -> _Keyword:
    def check(validator: Validator, value: Json, instance: Json, schema: Json) -> Iterator[ValidationError]:
        used = keyword
        if isinstance(instance, str) and has_placeholder(instance):
            if _becomes_anything(instance):
                return
            if name == "oneOf":
                used = _KEYWORDS["anyOf"]
            elif name not in _FOR_ANY_TEXT:
                return
        yield from used(validator, value, instance, schema) or ()

    return check


_TemplateValidator = cast(
    "Callable[..., Validator]",
    validators.extend(  # pyright: ignore[reportUnknownMemberType] - jsonschema leaves its parameters untyped
        Draft202012Validator,
        {name: _aware_of_templates(name, keyword) for name, keyword in _KEYWORDS.items()},
    ),
)


def schema_faults(config: Json, schema: dict[str, Json], at: str) -> list[DefinitionFault]:
    """Why the config that stands at `at` cannot fit the schema; empty if it can. Fetches nothing."""
    validator = _TemplateValidator(schema, registry=_NO_REGISTRY)
    errors = cast("Iterable[ValidationError]", validator.iter_errors(config))
    return [
        _fault(error, at) for error in sorted(errors, key=lambda error: [str(p) for p in error.absolute_path])
    ]


def with_placeholder_defaults(config: dict[str, Json], schema: dict[str, Json]) -> dict[str, Json]:
    """The config with those properties laid in that it leaves out and whose default in the schema has a placeholder:
    only here can they be rendered. Constant defaults are the executor's.
    """
    properties = schema.get("properties")
    if not isinstance(properties, dict):
        return config
    laid_in: dict[str, Json] = {}
    for name, described in properties.items():
        default = described.get("default") if isinstance(described, dict) else None
        if name not in config and isinstance(default, str) and has_placeholder(default):
            laid_in[name] = default
    return {**config, **laid_in} if laid_in else config


def _fault(error: ValidationError, at: str) -> DefinitionFault:
    path = at
    for step in error.absolute_path:
        path = element(path, step) if isinstance(step, int) else member(path, str(step))
    return DefinitionFault(path, error.message[:_MESSAGE_CHARACTERS_MAX])
