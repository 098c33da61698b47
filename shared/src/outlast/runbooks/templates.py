"""Action configs with `{{ placeholders }}`: checked and compiled when saved, rendered when the action is due.
 A text that is one placeholder and nothing else keeps the value's type; any text beside it makes it text. An
undefined name fails the rendering with its path. Rendering reads JSON and makes JSON: it cannot reach
anything else.
"""

from collections.abc import Callable
from datetime import datetime
from typing import TypeAlias

from outlast.errors import PermanentError
from outlast.limits import TEMPLATE_VALUE_BYTES_MAX
from outlast.runbooks.documents import Json, document_faults
from outlast.runbooks.expressions import Evaluate, Refused, compile_expression, evaluate
from outlast.runbooks.faults import DefinitionFault, DefinitionRefused, element, member
from outlast.runbooks.placeholders import Expression, has_placeholder, split_placeholders
from outlast.runbooks.values import ExpressionFailed, Frame, check_length, check_size, text_of


class TemplateFailed(PermanentError):
    """A template has no value for this payload.

    `path` is the path of the undefined name, or else the place `at` of the template in the definition.
    """

    def __init__(self, message: str, at: str, name: str = "") -> None:
        super().__init__(f"{at}: {message}" if at else message)
        self.message = message
        self.at = at
        self.path = name or at


class Template:
    """One compiled text. Immutable; safe to share."""

    __slots__ = ("_render", "at", "is_constant", "keeps_type")

    def __init__(self, text: str, at: str) -> None:
        """Refused or ValueError if the text is no template."""
        self.at = at
        check_source(text)
        parts = split_placeholders(text)
        compiled = [part if isinstance(part, str) else compile_expression(part.source) for part in parts]
        self.is_constant = all(isinstance(part, str) for part in parts)
        self.keeps_type = len(parts) == 1 and isinstance(parts[0], Expression)
        self._render = _renderer(text, compiled)

    def render(self, context: dict[str, Json], now: datetime | None = None) -> Json:
        """The value for this payload. `now` is the event's time. TemplateFailed if there is no value."""
        return self.evaluate(Frame(context, now))

    def evaluate(self, frame: Frame) -> Json:
        """As `render`, within a frame that several templates share."""
        try:
            return self._render(frame)
        except ExpressionFailed as failure:
            raise TemplateFailed(failure.message, self.at, failure.name) from None


def check_source(text: str) -> None:
    """Refused if a template's own text is above the cap."""
    if len(text.encode("utf-8", "replace")) > TEMPLATE_VALUE_BYTES_MAX:
        raise Refused(f"expected a text of at most {TEMPLATE_VALUE_BYTES_MAX} bytes")


def _renderer(text: str, parts: list[str | Evaluate]) -> Callable[[Frame], Json]:
    match parts:
        case []:
            return lambda _: text
        case [str()]:
            return lambda _: text
        case [only] if not isinstance(only, str):

            def single(frame: Frame) -> Json:
                value = evaluate(only, frame)
                check_size(value)
                return value

            return single
        case _:

            def joined(frame: Frame) -> Json:
                texts: list[str] = []
                size = 0
                for part in parts:
                    piece = part if isinstance(part, str) else text_of(evaluate(part, frame))
                    size += len(piece)
                    check_length(size)
                    texts.append(piece)
                whole = "".join(texts)
                check_size(whole)
                return whole

            return joined


_Compiled: TypeAlias = Callable[[Frame], Json]


class TemplateValue:
    """A compiled JSON value with templates in its texts: an action's config. Immutable; safe to share.

    What holds no placeholder is returned as it is, not copied: do not change what `render` returns.
    """

    __slots__ = ("_render", "is_constant", "source")

    def __init__(self, source: Json, at: str = "", faults: list[DefinitionFault] | None = None) -> None:
        """What is wrong is added to `faults`, or raised as DefinitionRefused without such a list."""
        self.source = source
        own: list[DefinitionFault] = [] if faults is None else faults
        before = len(own)
        render = _compile_json(source, at, own)
        self.is_constant = render is None
        self._render: _Compiled = (lambda _: source) if render is None else render
        if faults is None and len(own) > before:
            raise DefinitionRefused(own)

    def render(self, context: dict[str, Json], now: datetime | None = None) -> Json:
        """The value for this payload. `now` is the event's time. TemplateFailed if there is none."""
        return self._render(Frame(context, now))


def _compile_json(source: Json, at: str, faults: list[DefinitionFault]) -> _Compiled | None:
    """None for what is constant."""
    if isinstance(source, str):
        template = read_template(source, at, faults) if has_placeholder(source) else None
        return None if template is None or template.is_constant else template.evaluate
    if isinstance(source, list):
        return _compile_list(source, at, faults)
    if isinstance(source, dict):
        return _compile_object(source, at, faults)
    return None


def _compile_list(source: list[Json], at: str, faults: list[DefinitionFault]) -> _Compiled | None:
    renders = [_compile_json(item, element(at, i), faults) for i, item in enumerate(source)]
    if all(render is None for render in renders):
        return None
    items = list(zip(source, renders, strict=True))
    return lambda frame: [item if render is None else render(frame) for item, render in items]


def _compile_object(source: dict[str, Json], at: str, faults: list[DefinitionFault]) -> _Compiled | None:
    dynamic: list[tuple[str, _Compiled]] = []
    for key, item in source.items():
        if has_placeholder(key):
            faults.append(
                DefinitionFault(at, f'expected placeholders in values only, got the key "{key[:60]}"')
            )
        render = _compile_json(item, member(at, key), faults)
        if render is not None:
            dynamic.append((key, render))
    if not dynamic:
        return None

    def render_object(frame: Frame) -> Json:
        rendered = source.copy()
        for key, render in dynamic:
            rendered[key] = render(frame)
        return rendered

    return render_object


def read_template(text: str, at: str, faults: list[DefinitionFault]) -> Template | None:
    """As `compile_template`, but adds to `faults`."""
    try:
        return Template(text, at)
    except (Refused, ValueError) as error:
        faults.append(DefinitionFault(at, str(error)))
        return None


def compile_template(text: str, at: str = "") -> Template:
    """Compile one text that stands at `at`. DefinitionRefused says what is wrong with it."""
    faults = document_faults(text, at)
    template = None if faults else read_template(text, at, faults)
    if template is None:
        raise DefinitionRefused(faults)
    return template


def compile_value(source: Json, at: str = "") -> TemplateValue:
    """Compile a whole config that stands at `at`. DefinitionRefused with every fault of it."""
    faults = document_faults(source, at)
    if faults:
        raise DefinitionRefused(faults)
    return TemplateValue(source, at)
