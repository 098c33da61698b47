"""docs/runbook-language.md says what the language has."""

import re
from pathlib import Path

import pytest
import yaml

from outlast.execution.waits import DEFAULT_RETRY
from outlast.runbooks.calendar_text import DIRECTIVES
from outlast.runbooks.catalogue import DECIDED, ActionKind, Catalogue
from outlast.runbooks.cron import WORDS as CRON_WORDS
from outlast.runbooks.definition import EVENT_TYPES
from outlast.runbooks.durations import format_duration
from outlast.runbooks.filters import FILTERS
from outlast.runbooks.predicates import PREDICATES
from outlast.runbooks.reading import parse_runbook
from outlast.runbooks.schedules import SCHEDULE_KEYS
from outlast.runbooks.severities import SEVERITY_RANK
from outlast.runbooks.trees import OPERATORS

TEXT = (Path(__file__).parents[3] / "docs" / "runbook-language.md").read_text(encoding="utf-8")
WORDS = set(re.findall(r"[a-z_0-9]+", TEXT))
SYMBOLS = {name for name in PREDICATES if not name.isidentifier()}
SYNONYMS = {"equalto", "greaterthan", "lessthan"}


@pytest.mark.parametrize("names", [OPERATORS, EVENT_TYPES, FILTERS, tuple(SEVERITY_RANK)])
def test_every_word_of_the_language_is_in_its_document(names: tuple[str, ...]) -> None:
    assert set(names) <= WORDS


def test_every_test_and_every_date_directive_is_in_the_document() -> None:
    assert set(PREDICATES) - SYMBOLS - SYNONYMS <= WORDS
    assert [name for name in DIRECTIVES if f"%{name}" not in TEXT] == []


def test_the_document_begins_with_a_runbook_that_may_be_saved() -> None:
    example = re.search(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert example is not None
    kind = ActionKind(type="http_request", action_class="notify", config_schema={})
    runbook = parse_runbook(yaml.safe_load(example[1]), Catalogue([kind]))
    assert runbook.name == "critical-finding-page"


def test_the_example_that_waits_may_be_saved() -> None:
    (example,) = [
        each for each in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL) if "await_signal" in each
    ]
    kind = ActionKind(type="append_comment", action_class="finding", config_schema={})
    document = {"name": "waits", "rules": [], "actions": yaml.safe_load(example)}
    assert [step.id for step in parse_runbook(document, Catalogue([kind])).actions] == [
        "approval",
        "action_2",
    ]


@pytest.mark.parametrize("kind", DECIDED, ids=lambda kind: kind.type)
def test_what_the_interpreter_decides_is_in_the_document_with_its_config(kind: ActionKind) -> None:
    properties = kind.config_schema["properties"]
    assert isinstance(properties, dict)
    assert {kind.type, *properties} <= WORDS


def test_the_defaults_of_retry_are_in_the_document() -> None:
    row = f"without `retry` {DEFAULT_RETRY.max_attempts} |"
    assert row in TEXT
    assert f"| {DEFAULT_RETRY.factor:g} |" in TEXT
    for duration in (DEFAULT_RETRY.initial_backoff, DEFAULT_RETRY.max_backoff):
        assert f"| `{format_duration(duration)}` |" in TEXT


def test_the_example_of_a_schedule_may_be_saved_and_has_every_key() -> None:
    (example,) = [each for each in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL) if "cron:" in each]
    document = {"name": "x", **yaml.safe_load(example), "actions": [{"type": "resolve_owner"}]}
    assert parse_runbook(document, Catalogue([])).rules[0].schedule is not None
    assert set(SCHEDULE_KEYS) <= set(document["rules"][0])
    assert set(CRON_WORDS) <= set(re.findall(r"@\w+", TEXT))
