"""What the local tools are given: values inline or from files, payloads, and the instant that is now."""

import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

import yaml

from outlast.runbooks.documents import document_faults, kind_of
from outlast.runbooks.faults import DefinitionRefused
from outlast.runbooks.instants import parse_datetime
from outlast_cli.batch import decode_json
from outlast_cli.failures import Failure, refuse

Object = dict[str, Any]


def read_text(given: str, what: str) -> str:
    """The text itself, that of @FILE, or of standard input for -."""
    try:
        if given == "-":
            return sys.stdin.buffer.read().decode()
        if given.startswith("@"):
            return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as fault:
        refuse(
            f"cannot read {what}: {fault}",
            next_step="expected a file, the JSON or YAML itself, or - for standard input",
        )
    return given


def read_value(given: str, what: str) -> Any:
    """The value in a file (FILE or @FILE), in standard input for -, or of the JSON or YAML text itself: what begins
    with a bracket is no file's name.
    """
    is_text = given.lstrip().startswith(("{", "[")) or given.startswith("@")
    text = read_text(given if is_text or given == "-" else f"@{given}", what)
    try:
        return decode_json(text)
    except Failure as no_json:
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError, RecursionError) as fault:
            is_json = text.lstrip().startswith(("{", "["))
            said = no_json.message if is_json else f"expected JSON or YAML: {str(fault).splitlines()[0]}"
            refuse(f"cannot read {what}: {said}")
        faults = document_faults(value)
        if faults:
            refused(DefinitionRefused(faults))
        return value


def read_object(given: str, what: str) -> Object:
    """As `read_value`, for what has to be an object."""
    return object_of(read_value(given, what), what)


def object_of(value: object, what: str) -> Object:
    """The value, which has to be an object."""
    if not isinstance(value, dict):
        refuse(f"expected {what} to be an object, got {kind_of(value)}")
    return value


def instant_of(now: object, payload: Object) -> datetime:
    """The frozen now: what is given, else the time of the payload's event, else the present."""
    event = payload.get("event")
    given = now if now is not None else event.get("time") if isinstance(event, dict) else None
    instant = parse_datetime(given) if isinstance(given, str) else None
    if instant is None and now is not None:
        refuse(
            f"expected an instant with a zone as now, got {now!r}", next_step="such as 2026-03-14T09:26:53Z"
        )
    return instant or datetime.now(UTC)


def refused(fault: DefinitionRefused) -> NoReturn:
    """The first fault, and every one with its path."""
    errors = [(each.path, each.message) for each in fault.faults]
    raise Failure(errors[0][1], errors=errors, status=2, code="refused")


def compiled(make: Callable[[], Any]) -> Any:
    """What `make` gives; a definition that is refused as a Failure with every fault and its path."""
    try:
        return make()
    except DefinitionRefused as fault:
        refused(fault)
