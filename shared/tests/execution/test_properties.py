"""What holds of every run, whatever comes in whatever order: cancelled, waiting, asking for its slot."""

from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw

from outlast.contracts.messages import (
    ActivityResult,
    Cancel,
    DeliverSignal,
    Finished,
    RunActivity,
    SlotGranted,
    TimerDue,
)
from outlast.contracts.parts import NO_ORIGIN, ActionError, Origin
from outlast.execution.decide import Rejection, RunMessage
from outlast.execution.evolve import evolve, fold
from outlast.execution.outstanding import outstanding
from outlast.history.events import (
    ActivityScheduled,
    CancelRequested,
    End,
    Event,
    SlotAsked,
    SlotTaken,
    TimerStarted,
)
from outlast.runbooks.documents import Json
from outlast.testing.spec import EXECUTION, Spec, notify, plain, runbook

NAP: Json = {"type": "sleep", "class": "flow", "config": {"duration": "5m"}}
GATE: Json = {"type": "await_signal", "class": "flow", "config": {"signal": "approved", "key": "k"}}
BUSY = ActionError(code="busy", message="later", retryable=True)


@st.composite
def action(draw: st.DrawFn, name: str) -> Json:
    kind = draw(st.sampled_from(["notify", "nap", "gate"]))
    if kind == "notify":
        return notify(name, continue_on_error=draw(st.booleans()))
    made = NAP if kind == "nap" else GATE
    assert isinstance(made, dict)
    return {**made, "id": name}


def likely(spec: Spec) -> list[RunMessage]:
    """What may come next, and a little of what may not."""
    state = spec.state
    found: list[RunMessage] = [
        Cancel(execution_id=EXECUTION, company_id="acme", by="ana", at=spec.now),
        SlotGranted(execution_id=EXECUTION, seq=state.slot_asked or 2),
        DeliverSignal(execution_id=EXECUTION, company_id="acme", signal_id=f"s-{len(spec.history)}", name="approved",
                      payload=Raw(b"null"), sent_by="ana", sent_at=spec.now, key="k"),
    ]  # fmt: skip
    found += [
        TimerDue(execution_id=EXECUTION, timer_id=name, fire_at=spec.now + timedelta(hours=1))
        for name in [*state.timers, "s0:retry:1"]
    ]
    found += [
        ActivityResult(execution_id=EXECUTION, activity_id=step.id, attempt=step.attempt, started_at=spec.now,
                       duration_ms=1.0, error=error)
        for step in state.steps.values()
        for error in (None, BUSY)
    ]  # fmt: skip
    return found


@settings(max_examples=100)
@given(st.data())
def test_of_every_run(data: st.DataObject) -> None:
    """Replay equals live (in `when`), twice is once, it ends once and last, a cancelled run begins nothing more."""
    names = [f"s{number}" for number in range(data.draw(st.integers(1, 4)))]
    spec = Spec(runbook(*(data.draw(action(name)) for name in names)))
    spec.start(origin=data.draw(st.sampled_from([NO_ORIGIN, Origin(is_slotted=True, releases_slot=True)])))
    for _ in range(data.draw(st.integers(0, 15))):
        message = data.draw(st.sampled_from(likely(spec)))
        before = spec.state.sequence
        decision = spec.when(message)
        if isinstance(decision, Rejection):
            assert spec.state.sequence == before
        elif not isinstance(message, DeliverSignal) or spec.state.is_ended:
            assert isinstance(spec.when(message), Rejection)
        else:
            assert spec.when(message) in (Rejection("signal_known"), Rejection("execution_ended"))
    events = spec.events()
    assert [each.sequence for each in spec.history] == list(range(1, len(events) + 1))
    _check_order(events)
    split = data.draw(st.integers(0, len(spec.history)))
    state = fold(EXECUTION, spec.history[:split])
    for recorded in spec.history[split:]:
        evolve(state, recorded)
    assert plain(state) == plain(spec.state)
    said = outstanding(spec.state)
    assert said == outstanding(spec.state)
    assert spec.state.is_ended == any(isinstance(each, Finished) for each in said)
    if spec.state.cancel is not None or spec.state.slot_asked:
        assert not any(isinstance(each, RunActivity) for each in said)


def _check_order(events: list[Event]) -> None:
    ends = [n for n, each in enumerate(events) if isinstance(each, End)]
    assert ends in ([], [len(events) - 1])
    cancelled = next((n for n, each in enumerate(events) if isinstance(each, CancelRequested)), len(events))
    for each in events[cancelled + 1 :]:
        assert not isinstance(each, ActivityScheduled | SlotAsked | SlotTaken | CancelRequested)
        assert not isinstance(each, TimerStarted) or each.purpose == "cancel"
    asks = [each for each in events if isinstance(each, SlotAsked | SlotTaken)]
    assert all(isinstance(each, SlotAsked) == (n % 2 == 0) for n, each in enumerate(asks))
