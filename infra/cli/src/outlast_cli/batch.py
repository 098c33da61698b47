"""JSON lines in, JSON lines out: one result a line, in their order, so that other programs can hold us to it."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, ParamSpec, TypeAlias, TypeVar

import click
import msgspec

from outlast_cli.failures import Failure, refuse

LINE_BYTES_MAX = 8 * 1024 * 1024
Question: TypeAlias = dict[str, Any]
Answer: TypeAlias = dict[str, Any]


P = ParamSpec("P")
T = TypeVar("T")


def takes_batch(command: Callable[P, T]) -> Callable[P, T]:
    """Adds `--batch`: the command gets the file's name, `-` for standard input."""
    return click.option(
        "--batch", metavar="FILE.jsonl", is_flag=False, flag_value="-",
        help="Answer the JSON lines of a file, or of standard input for -, one result a line.",
    )(command)  # fmt: skip


def run_batch(judge: Callable[[Question], Answer], name: str) -> None:
    """Answer every line of the file, or of standard input for `-`; Failure if it cannot be read.

    `judge` gets the line's object and raises Failure where it refuses it: `{"error": …}` is that line's answer.
    A member `id` of the line is given back with its answer.
    """
    if name == "-":
        return _answer(judge, sys.stdin.buffer)
    try:
        with Path(name).open("rb") as source:
            return _answer(judge, source)
    except OSError as fault:
        refuse(f"cannot read {name}: {fault.strerror}", next_step="expected a file of JSON lines, or -")


def _answer(judge: Callable[[Question], Answer], source: BinaryIO) -> None:
    for value in _lines(source):
        question: object = None
        try:
            question = _decoded(value)
            answer = judge(question)
        except RecursionError:
            answer = Failure("expected a line that is nested less deep", code="refused").as_json()
        except Failure as failure:
            answer = failure.as_json()
        named = {"id": question["id"]} if isinstance(question, dict) and "id" in question else {}
        sys.stdout.buffer.write(msgspec.json.encode(named | answer) + b"\n")
        sys.stdout.buffer.flush()  # whoever talks to us line by line waits for it


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
