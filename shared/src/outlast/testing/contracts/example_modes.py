"""Examples of the history events of cancelled runs, of runs that give their slot back, and of shadow runs."""

from collections.abc import Iterator

import msgspec
from msgspec import Raw

from outlast.contracts.lifecycle import Difference
from outlast.contracts.messages import OutcomeStep
from outlast.history import events
from outlast.testing.contracts.story import at


def modes_history() -> Iterator[tuple[str, events.HistoryEvent]]:
    """Each with the name of its case."""
    yield "by_hand", events.CancelRequested(by="ana", at=at(60), reason="false positive")
    yield "with_its_inline_run", events.CancelRequested(by="", at=at(60))
    yield "minimal", events.WorkflowCancelled()
    yield "after_a_sleep", events.SlotAsked(activity_id="pause")
    yield "minimal", events.SlotTaken()
    yield (
        "bounds_what_is_in_flight",
        events.TimerStarted(timer_id=":cancel", activity_id="", purpose="cancel", fire_at=at(105)),
    )
    yield (
        "waited_at_the_cancellation",
        events.ActivitySkipped(activity_id="pause", action="sleep", action_class="flow", reason="cancelled"),
    )
    recorded = events.InlineRecorded(
        status="success",
        at=at(0.45),
        steps=(
            OutcomeStep(
                activity_id="tag",
                action="add_finding_tags",
                action_class="finding",
                status="success",
                started_at=at(0.412),
                duration_ms=6.25,
                input=Raw(b'{"tags":["paged"]}'),
                output=Raw(b'{"tags":["paged"],"added":["paged"]}'),
            ),
        ),
    )
    yield "one_step", recorded
    yield "cut", msgspec.structs.replace(recorded, steps=(), is_cut=True)
    yield "agrees", events.ShadowCompared(is_agreed=True, steps_compared=3, expected=("pause",))
    difference = Difference(
        activity_id="tag",
        what="input",
        inline='{"tags":["paged"]}',
        shadow='{"tags":["Paged"]}',
        after_wait=True,
    )
    yield "differs", events.ShadowCompared(is_agreed=False, steps_compared=3, differences=(difference,))
