"""What makes a run wait, and what ends the wait: sleep, await_signal, the pause before another attempt. Pure.

Every wait is a timer in the history, so that it ends even if nothing else happens. Instants are the broker's, jitter
is a hash of ids: the same history always waits for the same instants.
"""

import hashlib
from datetime import timedelta
from typing import cast

import msgspec

from outlast import limits
from outlast.contracts.messages import ActionError, DeliverSignal, Wait
from outlast.execution.state import Execution, OpenTimer, Signal, Step, StepStatus
from outlast.execution.turn import Turn
from outlast.history.events import (
    SignalAwaited,
    SignalConsumed,
    SignalReceived,
    TimerCancelled,
    TimerFired,
    TimerStarted,
)
from outlast.runbooks.definition import Action, Retry
from outlast.runbooks.documents import Json
from outlast.runbooks.durations import parse_duration

DEFAULT_RETRY = Retry(max_attempts=3)
"""Of an action that says nothing: a failure that may pass is tried twice more, after about 1 and 2 seconds."""
NO_RETRY = Retry(max_attempts=1)

INLINE = "inline"
"""The mode in which nothing waits: what would is skipped with this reason, and pauses between attempts are few."""
SLEEP, RETRY, TIMEOUT, SLOT = "sleep", "retry", "timeout", "slot"
_LONGEST = timedelta(seconds=limits.WAIT_SECONDS_MAX)


class ConfigInvalid(Exception):
    """A rendered config that says nothing sensible; `path` is the place in the config."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(message)
        self.path = path


# ---- beginning to wait -----------------------------------------------------------------------------------------


def begin_sleep(turn: Turn, action: Action, config: dict[str, Json]) -> None:
    """Wait for as long as the config says."""
    duration = _duration(config, "duration", None)
    turn.record(
        TimerStarted(
            timer_id=action.id,
            activity_id=action.id,
            purpose=SLEEP,
            fire_at=turn.at + duration,
            action=action.type,
            action_class=action.action_class,
        )
    )


def begin_await(turn: Turn, action: Action, config: dict[str, Json]) -> None:
    """Wait for a signal, or take one that came before."""
    signal = _text(config, "signal", limits.SIGNAL_NAME_CHARACTERS_MAX)
    key = _text(config, "key", limits.SIGNAL_KEY_CHARACTERS_MAX) if "key" in config else ""
    timeout = _duration(config, "timeout", timedelta(seconds=limits.SIGNAL_WAIT_SECONDS_DEFAULT))
    on_timeout = config.get("on_timeout", "fail")
    if on_timeout not in ("fail", "continue"):
        raise ConfigInvalid("on_timeout", "expected fail or continue")
    turn.record(
        SignalAwaited(
            activity_id=action.id,
            action=action.type,
            action_class=action.action_class,
            signal=signal,
            key=key,
            on_timeout=str(on_timeout),
        )
    )
    early = next((each for each in turn.state.signals.values() if _suits(each, signal, key)), None)
    if early is not None:
        _consume(turn, turn.state.steps[action.id], early)
        return
    turn.record(
        TimerStarted(
            timer_id=f"{action.id}:timeout",
            activity_id=action.id,
            purpose=TIMEOUT,
            fire_at=turn.at + timeout,
        )
    )


def begin_retry(turn: Turn, step: Step, policy: Retry, error: ActionError) -> None:
    """Wait before the next attempt."""
    turn.record(
        TimerStarted(
            timer_id=f"{step.id}:retry:{step.attempt}",
            activity_id=step.id,
            purpose=RETRY,
            fire_at=turn.at + backoff(turn.state.id, step.id, step.attempt, policy, error),
        )
    )


def backoff(
    execution_id: str, activity_id: str, attempt: int, policy: Retry, error: ActionError
) -> timedelta:
    """The pause after this attempt: exponential, a quarter more or less by a hash of the ids, and at least what the
    other side asked for."""
    exponential = policy.initial_backoff.total_seconds() * policy.factor ** (attempt - 1)
    seconds = min(exponential, policy.max_backoff.total_seconds())
    digest = hashlib.sha256(f"{execution_id}:{activity_id}:{attempt}".encode()).digest()
    seconds *= 0.75 + int.from_bytes(digest[:4], "big") / 2**33
    asked = min(error.retry_after_seconds or 0.0, limits.RETRY_AFTER_SECONDS_MAX)
    return timedelta(seconds=max(seconds, asked))


def is_beyond_budget(state: Execution, step: Step, policy: Retry, error: ActionError) -> bool:
    """Whether the run's process would be kept longer than a run in mode inline may keep it with pauses."""
    if state.started is None or state.started.mode != INLINE:
        return False
    pause = backoff(state.id, step.id, step.attempt, policy, error).total_seconds()
    return state.paused_seconds + pause > limits.INLINE_RETRY_SECONDS_MAX


def budget_spent(error: ActionError) -> ActionError:
    """What the last attempt's failure becomes where there is no time for another one."""
    message = (
        f"expected at most {limits.INLINE_RETRY_SECONDS_MAX} s of pauses between attempts in a run in mode inline;"
        f" the last attempt failed with {error.code}: {error.message}"
    )
    return ActionError(code="inline_retry_budget", message=message, path=error.path)


# ---- ending a wait ---------------------------------------------------------------------------------------------


def fire(turn: Turn, timer: OpenTimer) -> Step | None:
    """A timer's time has come. Returns the step whose next attempt is due, None if the wait simply ended."""
    event = timer.event
    turn.record(TimerFired(timer_id=event.timer_id))
    step = turn.state.steps[event.activity_id]
    if event.purpose == RETRY:
        return step
    if event.purpose == SLEEP:
        turn.end_wait(step, {"until": event.fire_at.isoformat()})
    elif step.awaited is not None and step.awaited.on_timeout == "continue":
        turn.end_wait(step, {"received": False, "signal": step.awaited.signal})
    else:
        name = "" if step.awaited is None else step.awaited.signal
        message = f"expected the signal {name} before {event.fire_at.isoformat()}, but none came"
        turn.end_wait(step, ActionError(code="signal_timeout", message=message))
    return None


def receive(turn: Turn, message: DeliverSignal) -> Step | None:
    """Keep a signal, and let the step that waits for it have it. Returns that step, None if no step did."""
    turn.record(
        SignalReceived(
            signal_id=message.signal_id,
            name=message.name,
            payload=message.payload,
            sent_by=message.sent_by,
            sent_at=message.sent_at,
            key=message.key,
        )
    )
    signal = turn.state.signals[message.signal_id]
    for step in turn.state.steps.values():
        awaited = step.awaited
        if step.status is StepStatus.WAITING and awaited and _suits(signal, awaited.signal, awaited.key):
            _consume(turn, step, signal)
            return step
    return None


def _consume(turn: Turn, step: Step, signal: Signal) -> None:
    turn.record(SignalConsumed(signal_id=signal.event.signal_id, activity_id=step.id))
    if step.timer_id in turn.state.timers:
        turn.record(TimerCancelled(timer_id=step.timer_id))
    sent = signal.event
    output: dict[str, Json] = {
        "received": True,
        "signal": sent.name,
        "id": sent.signal_id,
        "by": sent.sent_by,
        "at": sent.sent_at.isoformat(),
        "payload": cast("Json", msgspec.json.decode(sent.payload)),
    }
    turn.end_wait(step, output)


def _suits(signal: Signal, name: str, key: str) -> bool:
    """Whether a wait for this name with this key may have it; what was sent with a key is for that key alone."""
    event = signal.event
    return not signal.consumed_by and event.name == name and event.key in ("", key)


# ---- what a run waits for --------------------------------------------------------------------------------------


def waits(state: Execution) -> tuple[Wait, ...]:
    """What the run waits for now: none while something of it runs outside."""
    if state.slot_asked:
        return (Wait(activity_id=state.slot_step, kind=SLOT),)
    found: list[Wait] = []
    for step in state.steps.values():
        if step.status is not StepStatus.WAITING:
            continue
        timer = state.timers.get(step.timer_id)
        until = None if timer is None else timer.event.fire_at
        if step.awaited is not None:
            awaited = step.awaited
            found.append(
                Wait(activity_id=step.id, kind="signal", until=until, signal=awaited.signal, key=awaited.key)
            )
        elif timer is not None and timer.event.purpose == RETRY:
            found.append(Wait(activity_id=step.id, kind=RETRY, until=until, attempt=step.attempt + 1))
        else:
            found.append(Wait(activity_id=step.id, kind=SLEEP, until=until))
    return tuple(found)


def verdict(state: Execution, signal_id: str) -> str:
    """What became of a signal in this run, for its sender: see SignalVerdict."""
    signal = state.signals.get(signal_id)
    if signal is not None and signal.consumed_by:
        return "consumed"
    if state.is_ended:
        return "late"
    return "early" if signal is not None else "rejected"


# ---- rendered configs ------------------------------------------------------------------------------------------


def _duration(config: dict[str, Json], name: str, default: timedelta | None) -> timedelta:
    value = config.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise ConfigInvalid(name, f'expected a duration such as "5m", got {value!r:.60}')
    try:
        duration = parse_duration(value)
    except ValueError as fault:
        raise ConfigInvalid(name, str(fault)) from None
    if duration > _LONGEST:
        raise ConfigInvalid(name, f"expected at most {_LONGEST.days}d, got {value:.40}")
    return duration


def _text(config: dict[str, Json], name: str, characters_max: int) -> str:
    value = config.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= characters_max or "\x00" in value:
        raise ConfigInvalid(name, f"expected 1 to {characters_max} characters, got {value!r:.60}")
    return value
