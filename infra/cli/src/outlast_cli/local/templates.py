"""A template over a payload: the value with its type, or the error with its path."""

from datetime import datetime
from typing import Protocol

from outlast.runbooks.documents import Json
from outlast.runbooks.templates import TemplateFailed, compile_template, compile_value
from outlast_cli.failures import Failure
from outlast_cli.local.inputs import Object, compiled, instant_of, object_of


class Renders(Protocol):
    """A text, or a whole config, with placeholders."""

    def render(self, context: dict[str, Json], now: datetime | None = None) -> Json:
        """The value; TemplateFailed if there is none."""
        ...


def template_of(source: Json) -> Renders:
    """A text as a template; a list or an object as an action's config. Failure with every fault and its path."""
    if isinstance(source, str):
        return compiled(lambda: compile_template(source), "the template")
    return compiled(lambda: compile_value(source), "the template")


def render(template: Renders, payload: object, now: object = None) -> Object:
    """`value`, its `type`, and the frozen `now`."""
    looked = object_of(payload, "the payload")
    instant = instant_of(now, looked)
    try:
        value = template.render(looked, instant)
    except TemplateFailed as failed:
        path = failed.path or failed.at
        raise Failure(
            str(failed), errors=[(path, failed.message)], status=1, code="template_failed"
        ) from failed
    return {"value": value, "type": type_of(value), "now": instant.isoformat()}


def type_of(value: Json) -> str:
    """text, number, boolean, null, list or object."""
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "text"
        case list():
            return "list"
        case dict():
            return "object"
