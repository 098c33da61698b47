"""A template over a payload: the value, or the error with its path."""

from datetime import datetime
from typing import Protocol

from outlast.runbooks.documents import Json
from outlast.runbooks.templates import TemplateFailed, compile_template, compile_value
from outlast_cli.failures import Failure
from outlast_cli.local.inputs import compiled, instant_of, object_of


class Renders(Protocol):
    """A text, or a whole config, with placeholders."""

    def render(self, context: dict[str, Json], now: datetime | None = None) -> Json:
        """The value; TemplateFailed if there is none."""
        ...


def template_of(source: Json) -> Renders:
    """A text as a template; a list or an object as an action's config. Failure with every fault and its path."""
    if isinstance(source, str):
        return compiled(lambda: compile_template(source))
    return compiled(lambda: compile_value(source))


def render(template: Renders, payload: object, now: object = None) -> Json:
    """The value. Failure with the path of what has none."""
    looked = object_of(payload, "the payload")
    instant = instant_of(now, looked)
    try:
        return template.render(looked, instant)
    except TemplateFailed as failed:
        path = failed.path or failed.at
        raise Failure(
            failed.message, errors=[(path, failed.message)], status=2, code="template_failed"
        ) from failed
