"""Guardrails: what is read, what is refused and where, what a version keeps of them, the keys that they render."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from outlast.runbooks.catalogue import Catalogue
from outlast.runbooks.faults import DefinitionRefused
from outlast.runbooks.guardrails import Guardrails, rendered_key
from outlast.runbooks.pinned import load_pinned, load_rules, pin, to_document
from outlast.runbooks.reading import parse_runbook
from outlast.runbooks.templates import TemplateFailed, compile_value

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
CATALOGUE = Catalogue([])
EVERYTHING: dict[str, Any] = {
    "throttle_seconds": 300,
    "throttle_key": "{{ finding.id }}",
    "throttles": [{"limit": 3, "per": "1h", "key": "{{ asset.id }}"}, {"limit": 7, "per": "1d"}],
    "concurrency_key": "{{ asset.id }}",
    "concurrency_limit": 2,
    "on_conflict": "skip",
    "release_while_waiting": True,
    "queue_limit": 50,
    "queue_age": "2h",
    "chain_depth": 5,
    "chain_repeat": True,
    "breaker_threshold": 4,
}


def document(**guardrails: Any) -> dict[str, Any]:
    actions = [{"type": "resolve_owner"}]
    return {"name": "guarded", "rules": [], "actions": actions, "guardrails": guardrails}


def read(**guardrails: Any) -> Guardrails:
    return parse_runbook(document(**guardrails), CATALOGUE).guardrails


def test_a_runbook_that_says_nothing_asks_nobody_and_still_has_a_loop_guard_and_a_breaker() -> None:
    found = read()
    assert not found.asks
    assert (found.chain_depth, found.chain_repeat, found.breaker_threshold) == (3, False, 10)


def test_everything_that_can_be_said_is_read() -> None:
    found = read(**EVERYTHING)
    assert found.asks
    assert [(each.limit, each.window) for each in found.throttles] == [
        (1, timedelta(seconds=300)),
        (3, timedelta(hours=1)),
        (7, timedelta(days=1)),
    ]
    concurrency = found.concurrency
    assert concurrency is not None
    assert (concurrency.limit, concurrency.on_conflict, concurrency.release_while_waiting) == (
        2,
        "skip",
        True,
    )
    assert (concurrency.queue_limit, concurrency.queue_age) == (50, timedelta(hours=2))
    assert (found.chain_depth, found.chain_repeat, found.breaker_threshold) == (5, True, 4)


def test_a_limit_without_a_key_is_of_the_runbook_as_a_whole() -> None:
    concurrency = read(concurrency_limit=4).concurrency
    assert concurrency is not None
    assert (concurrency.key, concurrency.limit, concurrency.on_conflict) == (None, 4, "queue")


def test_a_version_keeps_its_guardrails_and_is_another_one_without_them() -> None:
    runbook = parse_runbook(document(**EVERYTHING), CATALOGUE)
    pinned = pin(runbook)
    assert load_pinned(pinned).guardrails.document == EVERYTHING
    assert load_rules(pinned).guardrails.throttles[1].limit == 3
    assert parse_runbook(to_document(runbook), CATALOGUE).guardrails.document == EVERYTHING
    assert pin(parse_runbook(document(), CATALOGUE)) != pinned


@pytest.mark.parametrize(
    ("guardrails", "path"),
    [
        ({"throttle_seconds": 0}, "guardrails.throttle_seconds"),
        ({"throttle_seconds": "60"}, "guardrails.throttle_seconds"),
        ({"throttle_key": "{{ finding.id }}"}, "guardrails.throttle_key"),
        ({"throttle_seconds": 5, "throttle_key": "{{ finding. }}"}, "guardrails.throttle_key"),
        ({"throttle_seconds": 5, "throttle_key": 7}, "guardrails.throttle_key"),
        ({"throttles": {}}, "guardrails.throttles"),
        ({"throttles": ["3/h"]}, "guardrails.throttles[0]"),
        ({"throttles": [{"limit": 3}]}, "guardrails.throttles[0].per"),
        ({"throttles": [{"limit": 3, "per": "1w"}]}, "guardrails.throttles[0].per"),
        ({"throttles": [{"limit": 0, "per": "1h"}]}, "guardrails.throttles[0].limit"),
        ({"throttles": [{"limit": 1, "per": "1h", "every": 3}]}, "guardrails.throttles[0].every"),
        ({"throttles": [{"limit": 1, "per": "1h"}] * 11}, "guardrails.throttles"),
        ({"concurrency_key": ""}, "guardrails.concurrency_key"),
        ({"concurrency_limit": 0}, "guardrails.concurrency_limit"),
        ({"concurrency_limit": 1, "on_conflict": "wait"}, "guardrails.on_conflict"),
        ({"on_conflict": "skip"}, "guardrails.on_conflict"),
        ({"release_while_waiting": True}, "guardrails.release_while_waiting"),
        ({"concurrency_limit": 1, "queue_age": "0s"}, "guardrails.queue_age"),
        ({"chain_depth": 0}, "guardrails.chain_depth"),
        ({"breaker_threshold": 0}, "guardrails.breaker_threshold"),
    ],
)
def test_a_fault_is_refused_with_its_place(guardrails: dict[str, Any], path: str) -> None:
    with pytest.raises(DefinitionRefused) as refused:
        read(**guardrails)
    assert [fault.path for fault in refused.value.faults] == [path]


def test_a_key_is_text_whatever_the_template_gives_and_never_too_long_to_store() -> None:
    def key(template: str, **context: Any) -> str:
        return rendered_key(compile_value(template, "guardrails.throttle_key"), context, NOW)

    assert rendered_key(None, {}, NOW) == ""
    assert key("{{ n }}", n=7) == "7"
    assert key("{{ o }}", o={"b": 1, "a": [True]}) == '{"a":[true],"b":1}'
    assert key("host {{ h }}", h="a") == "host a"
    long = key("{{ t }}", t="x" * 5_000)
    assert len(long) < 100
    assert long != key("{{ t }}", t="x" * 5_001)
    assert "\x00" not in key("{{ t }}", t="a\x00b")
    with pytest.raises(TemplateFailed):
        key("{{ nobody.id }}")
