"""What becomes of new runs, by what the engine's instances say of themselves."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from outlast.contracts.messages import EngineStatus

EngineState = Literal["up", "down", "unknown"]
NewRuns = Literal["inline", "durable", "waiting", "degraded"]


@dataclass(frozen=True, slots=True)
class EngineView:
    """The engine as a whole. `since` is when it came to be so, None where nothing was said."""

    state: EngineState
    since: datetime | None
    new_runs: NewRuns


def engine_view(
    mode: str, reports: Sequence[EngineStatus], now: datetime, degrade_after: timedelta
) -> EngineView:
    """One instance that is up means up; no word at all means wait; down long enough means degraded.

    degraded: new runs go inline and are marked so, but those that require durability, which wait. In mode shadow runs
    go inline whatever the engine does: only their doubles wait for it.
    """
    up = [report.at for report in reports if report.state == "up"]
    down = [report.at for report in reports if report.state == "down"]
    state: EngineState = "up" if up else "down" if down else "unknown"
    since = min(up) if up else max(down, default=None)
    if mode in ("inline", "shadow"):
        return EngineView(state, since, "inline")
    if state == "up":
        return EngineView(state, since, "durable")
    is_long = state == "down" and since is not None and now - since >= degrade_after
    return EngineView(state, since, "degraded" if is_long else "waiting")
