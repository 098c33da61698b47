"""What must hold when the world is at rest, over every service's rows together."""

from collections.abc import Iterator, Sequence
from random import Random

import msgspec
from msgspec import UNSET

from outlast import limits
from outlast.contracts.messages import ActivityResult
from outlast.execution.evolve import fold
from outlast.history.events import ActivityCompleted, ActivityFailed, CancelRequested
from outlast.runtime.loop import FencedLoop
from outlast.testing.invariants import Violation
from outlast.testing.world import Loop, Process
from outlast_action_executor.ports import Operation
from tests.simulation.held import MANUAL, check_guards, check_orders
from tests.simulation.modes import check_runs
from tests.simulation.receiver import Call
from tests.simulation.scheduled import SCHEDULER, check_schedules
from tests.simulation.signalled import check_signals
from tests.simulation.silence import check_silence
from tests.simulation.system import System
from tests.simulation.waited import check_attempts, check_timers
from tests.simulation.workload import expected

VIOLATIONS_MAX = 30
_results = msgspec.json.Decoder(ActivityResult)


def check_invariants(system: System, is_at_rest: bool) -> list[Violation]:
    """Everything that is wrong, the first few of it."""
    found: list[Violation] = []
    if not is_at_rest:
        found.append(Violation("stuck", "the world is never at rest"))
    for check in (
        _alive, _one_writer, _replay, _accepted, check_orders, check_runs, _actions, _settled, _dead_letters,
        check_timers, check_attempts, check_signals, check_guards, check_schedules,
        check_silence,
    ):  # fmt: skip
        found += check(system)
        if len(found) > VIOLATIONS_MAX:
            break
    return found[:VIOLATIONS_MAX]


class ReplayCheck:
    """After a turn of an engine: some state that it keeps is what its stored history folds to."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._random = Random(system.world.seed)

    def __call__(self, process: Process, loop: Loop) -> None:
        """Looks at one state of a partition that this engine owns in truth."""
        work = self._system.engine_works.get(id(loop))
        if work is None or not isinstance(loop, FencedLoop):
            return
        states = work.cached()
        if not states:
            return
        execution, state = self._random.choice(list(states.items()))
        if not self._system.is_owner(loop, execution):
            return
        stored = fold(execution, self._system.histories.histories.get(execution, ()))
        if stored != state:
            self._system.replay_faults.append(
                f"{process.name} keeps {execution} at {state.sequence}, its history folds to {stored.sequence}"
            )


def _alive(system: System) -> Iterator[Violation]:
    for incident in system.world.incidents:
        yield Violation("process ended by itself", f"{incident.process}: {incident.error!r}")


def _one_writer(system: System) -> Iterator[Violation]:
    for each in system.stale_writes:
        yield Violation("one writer", each)


def _replay(system: System) -> Iterator[Violation]:
    for each in system.replay_faults:
        yield Violation("replay", each)


def _accepted(system: System) -> Iterator[Violation]:
    """Every event has exactly the executions that it should have, whatever came twice."""
    fired: dict[str, list[str]] = {}
    for row in system.dispatch.dispatches.values():
        if row.start.origin.instead_of or row.start.event.source in (MANUAL, SCHEDULER):
            continue
        fired.setdefault(row.start.event.id, []).append(row.start.runbook.id)
    for event in system.events.values():
        should = expected(event, system.planned)
        did = fired.pop(event.id, [])
        if sorted(did) != sorted(should):
            yield Violation("fires", f"{event.id} fired {sorted(did)}, expected {sorted(should)}")
    for event_id in fired:
        yield Violation("fires", f"nobody sent {event_id}")


def _actions(system: System) -> Iterator[Violation]:
    """No call after its result was recorded; repeats only across a death or a deadline; outcomes as recorded."""
    for operation, calls in system.receiver.calls.items():
        for earlier, call in zip([None, *calls], calls, strict=False):
            if call.was_recorded:
                yield Violation("repeated after its record", f"{operation} by {call.by}")
            if call.is_after_end:
                yield Violation("after its end", f"{operation} by {call.by}: its inline run had ended")
            if (
                earlier is not None
                and call.attempt == earlier.attempt
                and not _is_excused(system, earlier, call)
            ):
                yield Violation(
                    "repeated", f"{operation} by {earlier.by} and {call.by}, with no death between"
                )
    for operation, rows in system.ledger.claims.items():
        for attempt, row in rows.items():
            if row.result is None and not _is_cancelled(system, operation):
                yield Violation("stuck", f"the claim of {operation} attempt {attempt} has no result")
            elif row.result is not None:
                yield from _told(system, operation, attempt, _results.decode(row.result))


def _is_cancelled(system: System, operation: Operation) -> bool:
    """A durable run that was cancelled asks no more about what it had in flight."""
    history = system.histories.histories.get(operation.execution_id, ())
    return any(isinstance(each.event, CancelRequested) for each in history)


def _is_excused(system: System, earlier: Call, call: Call) -> bool:
    deadline = earlier.at_seconds + limits.ACTIVITY_TIMEOUT_SECONDS_DEFAULT + limits.CLAIM_MARGIN_SECONDS
    died = any(
        earlier.at_seconds <= seconds <= call.at_seconds for seconds in system.deaths.get(earlier.by, ())
    )
    return (
        died if earlier.by == call.by and earlier.life != call.life else died or call.at_seconds >= deadline
    )


def _told(system: System, operation: Operation, attempt: int, result: ActivityResult) -> Iterator[Violation]:
    """What the history has is what the ledger has."""
    for recorded in system.histories.histories.get(operation.execution_id, ()):
        event = recorded.event
        if not isinstance(event, ActivityCompleted | ActivityFailed) or (
            event.activity_id,
            event.attempt,
        ) != (operation.activity_id, attempt):
            continue
        if isinstance(event, ActivityFailed) and event.error.code == "cancel_timeout":
            continue  # nobody waited for it any longer
        error = event.error if isinstance(event, ActivityFailed) else None
        output = event.output if isinstance(event, ActivityCompleted) else UNSET
        if (error, output) != (result.error, result.output):
            yield Violation("outcome", f"{operation} is {event} in the history, {result} in the ledger")


def _settled(system: System) -> Iterator[Violation]:
    """Nothing is owed: no open run, no open dispatch, no pending id, no walk under way (executors never walk)."""
    for partition, executions in system.histories.open.items():
        for execution in executions:
            yield Violation("stuck", f"{execution} is open in partition {partition}")
    for execution, row in system.dispatch.dispatches.items():
        if row.closed_at is None:
            yield Violation("stuck", f"the dispatch of {execution} is not closed")
    for fence in system.fences():
        for at, row in fence.rows.items():
            if row.pending:
                yield Violation("stuck", f"{at} has pending {row.pending}")
            if row.rederive_after is not None and fence is not system.ledger.fence:
                yield Violation("stuck", f"{at} is walking at {row.rederive_after!r}")


def _dead_letters(system: System) -> Iterator[Violation]:
    """All poison, where the broker kept it, and nothing but poison."""
    buried = {each.value for each in system.world.broker.dead_letters}
    for each in system.world.broker.dead_letters:
        if each.value not in system.poison | system.people.patient_for_a_while:
            yield Violation("dead letters", f"a good message in {each.topic}: {each.value!r:.300}")
    if not system.world.losses:
        for value in system.poison - buried:
            yield Violation("dead letters", f"{value!r:.200} is in no dead-letter topic")


def outcome_counts(system: System) -> Sequence[int]:
    """Executions, calls and losses of this world, for a summary line."""
    return len(system.dispatch.dispatches), sum(map(len, system.receiver.calls.values())), system.world.losses
