"""Dead letters as they are shown, whatever is in them."""

import json
from datetime import UTC, datetime

import pytest

from outlast.messaging.dead_letter import Origin
from outlast.messaging.ports import Received
from outlast_cli.dead_letter_reader import DeadLetter


def letter(value: bytes | None) -> DeadLetter:
    original = Received("platform.x.events", 1, 7, 0, b"k\xff", value, (("ce_id", b"\xffx"),))
    origin = Origin(
        id="platform.x.events-1-7", service="trigger_matcher", error_class="ContractError", error="no", cause_code="",
        at=datetime(2026, 1, 1, tzinfo=UTC), original=original,
    )  # fmt: skip
    return DeadLetter(datetime(2026, 1, 2, tzinfo=UTC), origin)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, None),
        (b'{"a": 1}', {"a": 1}),
        (b"not json \xff", "not json \\xff"),
        (b'{"a": "\\ud800"}', '{"a": "\\ud800"}'),
        (b"[" * 100_000, "[" * 100_000),
    ],
)
def test_any_value_can_be_shown_and_sent_through_a_script(value: bytes | None, shown: object) -> None:
    body = letter(value).as_json()
    assert body["value"] == shown
    assert json.dumps(body, ensure_ascii=False).encode()
