"""The durable double of an inline run: it decides by itself, does nothing outside, and is compared with that run. Pure.

Where the double would order an action it takes the inline run's recorded result of the same action; what it waits for
it really waits for. When both have ended, what each rendered, skipped, concluded and did in which order is compared.
Waits that inline skips are expected to differ. What follows such a wait is marked, since the world may have changed.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta

import msgspec
from msgspec import Raw, UnsetType

from outlast import limits
from outlast.contracts.lifecycle import Difference
from outlast.contracts.messages import ActionError, InlineOutcome, OutcomeStep
from outlast.execution import cancelling
from outlast.execution.outstanding import end_status
from outlast.execution.state import Execution, Step, StepStatus
from outlast.execution.status import final_status
from outlast.execution.turn import Turn
from outlast.execution.waits import INLINE
from outlast.history.events import (
    ActivityCompleted,
    ActivityFailed,
    CancelRequested,
    InlineRecorded,
    ShadowCompared,
    TimerCancelled,
    TimerStarted,
    WorkflowCancelled,
    WorkflowFailed,
)

OUTCOME = "outcome"
"""The purpose of the timer that bounds how long a double waits for the outcome of its inline run."""
TIMER_ID = ":outcome"
_SETTLED = ("success", "failed", "skipped")
_encode = msgspec.json.Encoder(order="deterministic").encode


# ---- taking the double on --------------------------------------------------------------------------------------


def await_outcome(turn: Turn) -> None:
    """The inline run will say what it did; if it never does, the double ends all the same."""
    fire_at = turn.at + timedelta(seconds=limits.SHADOW_OUTCOME_SECONDS_MAX)
    turn.record(TimerStarted(timer_id=TIMER_ID, activity_id="", purpose=OUTCOME, fire_at=fire_at))


def take_outcome(turn: Turn, message: InlineOutcome) -> None:
    """Keep what the inline run did, also if it comes before the double begins."""
    turn.record(
        InlineRecorded(status=message.status, at=message.at, steps=message.steps, is_cut=message.is_cut)
    )
    if TIMER_ID in turn.state.timers:
        turn.record(TimerCancelled(timer_id=TIMER_ID))


def settle(turn: Turn, inline: InlineRecorded, step: Step) -> None:
    """The double's action gets the result that the inline run's had; it is not run."""
    theirs = next((each for each in inline.steps if each.activity_id == step.id), None)
    began = turn.at if theirs is None or theirs.started_at is None else theirs.started_at
    if theirs is not None and theirs.status == "success":
        turn.record(
            ActivityCompleted(
                activity_id=step.id,
                attempt=theirs.attempts,
                started_at=began,
                duration_ms=theirs.duration_ms,
                output=theirs.output,
                fold=theirs.fold,
            )
        )
        return
    error = theirs.error if theirs is not None and theirs.error is not None else _NO_RESULT
    turn.record(
        ActivityFailed(
            activity_id=step.id,
            attempt=1 if theirs is None else theirs.attempts,
            started_at=began,
            duration_ms=0.0 if theirs is None else theirs.duration_ms,
            error=error,
        )
    )


_NO_RESULT = ActionError(
    code="shadow_no_result", message="the inline run has no result of this action for its double to take"
)


def is_beyond(inline: InlineRecorded, activity_id: str) -> bool:
    """Whether the inline run was ended from outside before it came to this action, or while it was at it."""
    is_whole = inline.status != "cancelled" and all(each.status in _SETTLED for each in inline.steps)
    return not is_whole and not any(
        each.activity_id == activity_id and each.status in _SETTLED for each in inline.steps
    )


def follow(turn: Turn, inline: InlineRecorded) -> None:
    """The inline run was ended from outside: so is the double, at the same place."""
    if inline.status == "cancelled":
        turn.record(CancelRequested(by="", at=inline.at, reason="the inline run was cancelled"))
        cancelling.leave_waits(turn)
        turn.record(WorkflowCancelled())
    else:
        _give_up(turn, "the inline run was given up")


def abandon(turn: Turn, why: str) -> None:
    """There is nothing to compare with."""
    if not turn.state.is_ended:
        _give_up(turn, why)
    turn.record(_incomparable(why))


def _give_up(turn: Turn, why: str) -> None:
    cancelling.leave_waits(turn)
    turn.record(WorkflowFailed(error=ActionError(code="shadow_given_up", message=why)))


# ---- comparing -------------------------------------------------------------------------------------------------


def compare(state: Execution, inline: InlineRecorded) -> ShadowCompared:
    """What the ended double and the inline run have in common, and where they part."""
    if inline.is_cut:
        return _incomparable("what the inline run did was too large for one message")
    comparison = _Comparison(state, inline)
    differences = comparison.differences()
    return ShadowCompared(
        is_agreed=not differences,
        steps_compared=comparison.compared,
        differences=tuple(differences[: limits.SHADOW_DIFFERENCES_MAX]),
        expected=tuple(comparison.expected),
    )


def _incomparable(why: str) -> ShadowCompared:
    difference = Difference(activity_id="", what="incomparable", inline=why, shadow="")
    return ShadowCompared(is_agreed=False, steps_compared=0, differences=(difference,))


class _Comparison:
    def __init__(self, state: Execution, inline: InlineRecorded) -> None:
        self._state = state
        self._inline = inline
        self._theirs = {each.activity_id: each for each in inline.steps if each.status in _SETTLED}
        self._ours = _begun(state.steps, self._theirs)
        self.expected = [name for name, step in self._ours.items() if _is_wait(step, self._theirs.get(name))]
        self._late = _after(self._ours, self.expected) | _after(self._theirs, self.expected)
        self.compared = 0

    def differences(self) -> list[Difference]:
        """In the order of the double, then what only the inline run has, then the run as a whole."""
        found: list[Difference] = []
        for name, step in self._ours.items():
            theirs = self._theirs.get(name)
            if theirs is None:
                found.append(self._difference(name, "extra", "", step.status.value))
            elif name not in self.expected:
                self.compared += 1
                found += self._of_step(step, theirs)
        for name, theirs in self._theirs.items():
            if name not in self._ours:
                found.append(self._difference(name, "missing", theirs.status, ""))
        return [*found, *self._of_order(), *self._of_conclusion()]

    def _of_step(self, step: Step, theirs: OutcomeStep) -> Iterable[Difference]:
        scheduled = step.scheduled
        if difference := self._of_text(
            step.id, "input", _text(theirs.input), _text(scheduled and scheduled.input)
        ):
            yield difference
        if step.status.value != theirs.status:
            yield self._difference(step.id, "status", _outcome(theirs), _outcome(step))
        elif step.status is StepStatus.SKIPPED and step.reason != theirs.reason:
            yield self._difference(step.id, "reason", theirs.reason, step.reason)
        elif step.status is StepStatus.SUCCESS:
            output = None if isinstance(theirs.output, UnsetType) else msgspec.json.decode(theirs.output)
            if difference := self._of_text(step.id, "output", _json(output), _json(step.output)):
                yield difference
        elif difference := self._of_text(step.id, "output", _json(theirs.error), _json(step.error)):
            yield difference

    def _of_order(self) -> Iterable[Difference]:
        theirs = [name for name in self._theirs if name in self._ours]
        ours = [name for name in self._ours if name in self._theirs]
        for place, (their, our) in enumerate(zip(theirs, ours, strict=True), start=1):
            if their != our:
                yield self._difference(our, "order", f"{place}: {their}", f"{place}: {our}")
                return

    def _of_conclusion(self) -> Iterable[Difference]:
        """A wait that differs as expected makes no other conclusion: inline, it counts neither way."""
        ended = self._state.ended
        assert ended is not None
        ours = end_status(ended)
        is_by_steps = ours != "cancelled" and getattr(ended, "error", None) is None
        if is_by_steps:
            ours = final_status(step for name, step in self._ours.items() if name not in self.expected)
        if ours != self._inline.status:
            yield Difference(
                activity_id="",
                what="conclusion",
                inline=self._inline.status,
                shadow=ours,
                after_wait=bool(self.expected),
            )

    def _of_text(self, name: str, what: str, theirs: str, ours: str) -> Difference | None:
        if theirs == ours:
            return None
        first = next((n for n, (a, b) in enumerate(zip(theirs, ours, strict=False)) if a != b), 0)
        first = first or min(len(theirs), len(ours))
        return self._difference(name, what, _excerpt(theirs, first), _excerpt(ours, first))

    def _difference(self, name: str, what: str, inline: str, shadow: str) -> Difference:
        return Difference(
            activity_id=name, what=what, inline=inline, shadow=shadow, after_wait=name in self._late
        )


def _begun(steps: Mapping[str, Step], theirs: Mapping[str, OutcomeStep]) -> dict[str, Step]:
    """Without what only stood ready when the inline run was ended from outside."""
    return {
        name: step
        for name, step in steps.items()
        if name in theirs or not (step.status is StepStatus.SCHEDULED or step.reason == cancelling.REASON)
    }


def _is_wait(step: Step, theirs: OutcomeStep | None) -> bool:
    """Inline skipped it because it would wait, and the double did not skip it by its `when`."""
    is_skipped_inline = theirs is not None and theirs.status == "skipped" and theirs.reason == INLINE
    return is_skipped_inline and not (step.status is StepStatus.SKIPPED and step.reason != cancelling.REASON)


def _after(order: Iterable[str], waits: Sequence[str]) -> set[str]:
    """What comes after the first wait."""
    names = list(order)
    first = min((names.index(each) for each in waits if each in names), default=len(names))
    return set(names[first + 1 :])


def _outcome(step: Step | OutcomeStep) -> str:
    """With its reason or error, which says more than the status alone."""
    error = "" if step.error is None else step.error.code
    return ": ".join(each for each in (str(step.status), step.reason or error) if each)


def _text(raw: Raw | UnsetType | None) -> str:
    """JSON in one form whatever the order of its members; "" for what was never rendered."""
    return "" if raw is None or isinstance(raw, UnsetType) else _json(msgspec.json.decode(raw))


def _json(value: object) -> str:
    return _encode(value).decode()


def _excerpt(text: str, first: int) -> str:
    """From a little before the first place where the two differ."""
    begin = max(0, first - limits.DIFFERENCE_EXCERPT_CHARACTERS_MAX // 4)
    cut = text[begin : begin + limits.DIFFERENCE_EXCERPT_CHARACTERS_MAX]
    return f"…{cut}" if begin else cut
