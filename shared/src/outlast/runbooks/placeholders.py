"""Where the `{{ expressions }}` of a text are. Jinja's syntax for them, and nothing else of Jinja's."""

import re

import msgspec

_OPENING = re.compile(r"\{\{|\{%|\{#")
_INSIDE = re.compile(
    r"""'(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" | [][(){}] """,
    re.VERBOSE | re.DOTALL,
)
_REFUSED = {
    "{%": "no statements: expected text and {{ expressions }}, got {%",
    "{#": "no comments: expected text and {{ expressions }}, got {#",
}


class Expression(msgspec.Struct, frozen=True):
    """The source between {{ and }}."""

    source: str


def split_placeholders(text: str) -> list[str | Expression]:
    """The text's parts in order, none empty. ValueError says what is malformed."""
    parts: list[str | Expression] = []
    at = 0
    while (opening := _OPENING.search(text, at)) is not None:
        if opening.group() in _REFUSED:
            raise ValueError(_REFUSED[opening.group()])
        if opening.start() > at:
            parts.append(text[at : opening.start()])
        end = _closing(text, opening.end())
        source = text[opening.end() : end]
        if source[:1] in ("-", "+") or source[-1:] in ("-", "+"):
            raise ValueError("expected no white space control: write {{ x }} with a space after the braces")
        if not source.strip():
            raise ValueError("expected an expression between {{ and }}, got nothing")
        parts.append(Expression(source))
        at = end + 2
    if at < len(text):
        parts.append(text[at:])
    return parts


def _closing(text: str, start: int) -> int:
    """Where the }} stands that ends the placeholder: outside quotes and brackets, as in Jinja."""
    nesting = 0
    for match in _INSIDE.finditer(text, start):
        token = match.group()
        if token in ("(", "[", "{"):
            nesting += 1
        elif token == "}" and nesting == 0:
            if text.startswith("}}", match.start()):
                return match.start()
            break
        elif token in (")", "]", "}"):
            nesting -= 1
    raise ValueError(f'expected }}}} at the end of "{{{{{text[start : start + 40]}"')


def has_placeholder(text: str) -> bool:
    """Whether the text is more than a constant (or tries to be)."""
    return _OPENING.search(text) is not None
