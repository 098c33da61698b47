"""What becomes of new runs, by what the engine's instances say."""

from datetime import UTC, datetime, timedelta

import pytest

from outlast.contracts.messages import EngineStatus
from outlast_control_plane.core.engine import EngineView, engine_view

AT = datetime(2026, 3, 14, tzinfo=UTC)
GRACE = timedelta(seconds=30)


def at(seconds: float) -> datetime:
    return AT + timedelta(seconds=seconds)


def report(instance: str, state: str, seconds: float = 0) -> EngineStatus:
    return EngineStatus(instance=instance, state=state, at=at(seconds))


@pytest.mark.parametrize(
    ("mode", "reports", "after", "expected"),
    [
        ("workflow", [], 3600, EngineView("unknown", None, "waiting")),
        ("workflow", [report("a", "down"), report("b", "up", 5)], 3600, EngineView("up", at(5), "durable")),
        ("workflow", [report("a", "down")], 29, EngineView("down", AT, "waiting")),
        ("workflow", [report("a", "down")], 30, EngineView("down", AT, "degraded")),
        ("workflow", [report("a", "down"), report("b", "down", 20)], 40, EngineView("down", at(20), "waiting")),
        ("shadow", [report("a", "up")], 0, EngineView("up", AT, "inline")),
        ("shadow", [report("a", "down")], 3600, EngineView("down", AT, "inline")),
        ("inline", [report("a", "down")], 3600, EngineView("down", AT, "inline")),
    ],
)  # fmt: skip
def test_down_means_degraded_only_after_the_grace_time_and_silence_means_wait(
    mode: str, reports: list[EngineStatus], after: float, expected: EngineView
) -> None:
    assert engine_view(mode, reports, at(after), GRACE) == expected
