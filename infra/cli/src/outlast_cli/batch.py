"""JSON lines in, JSON lines out: one result a line, in their order, so that other programs can hold us to it."""

import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TypeAlias

import click
import msgspec

from outlast_cli.failures import Failure, refuse

LINE_BYTES_MAX = 8 * 1024 * 1024
Question: TypeAlias = dict[str, Any]
Answer: TypeAlias = dict[str, Any]


def run_batch(judge: Callable[[Question], Answer], source: BinaryIO | None = None) -> None:
    """Answer every line of the source, standard input unless told otherwise; exit status 1 if any line failed.

    `judge` gets the line's object and raises Failure where it has no answer, which becomes `{"error": …}` on that line.
    A member `id` of the line is given back with its answer.
    """
    has_failed = False
    for value in _lines(source or sys.stdin.buffer):
        question: object = None
        try:
            question = _decoded(value)
            answer = judge(question)
        except RecursionError:
            has_failed = True
            answer = Failure("expected a line that is nested less deep", code="refused").as_json()
        except Failure as failure:
            has_failed = True
            answer = failure.as_json()
        named = {"id": question["id"]} if isinstance(question, dict) and "id" in question else {}
        sys.stdout.buffer.write(msgspec.json.encode(named | answer) + b"\n")
        sys.stdout.buffer.flush()  # whoever talks to us line by line waits for it
    if has_failed:
        raise click.exceptions.Exit(1)


def decode_json(value: bytes | str) -> Any:
    """Strict JSON: no NaN, no half of a surrogate pair, no numbers beyond what a float holds. Failure otherwise."""
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as fault:
        raise Failure(f"expected JSON: {fault}", status=2, code="invalid_json") from fault


def members_of(question: Question, known: tuple[str, ...]) -> None:
    """Refuse members that nobody reads: a name that is spelled wrong would change the answer in silence."""
    unknown = sorted(set(question) - set(known) - {"id"})
    if unknown:
        refuse(
            f"unknown member {', '.join(unknown)}", next_step=f"expected {', '.join(known)}, and perhaps id"
        )


def _decoded(value: bytes | None) -> Question:
    if value is None:
        raise Failure(f"expected lines of at most {LINE_BYTES_MAX} bytes", status=2, code="too_large")
    question = decode_json(value)
    if not isinstance(question, dict):
        raise Failure("expected a JSON object on every line", status=2, code="refused")
    return question


def _lines(source: BinaryIO) -> Iterator[bytes | None]:
    """The lines; None for one that is too long, which is read to its end and not kept."""
    while line := source.readline(LINE_BYTES_MAX + 1):
        if len(line) <= LINE_BYTES_MAX or line.endswith(b"\n"):
            yield line
            continue
        while (rest := source.readline(LINE_BYTES_MAX)) and not rest.endswith(b"\n"):
            pass
        yield None
