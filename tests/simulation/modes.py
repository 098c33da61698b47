"""What must hold of each accepted firing at rest, by what became of it: withheld, run durably, inline, or both."""

from collections.abc import Iterator

import msgspec

from outlast.contracts.messages import Finished, StepSummary
from outlast.testing.invariants import RunView, Violation, check_double, check_history, check_record
from outlast_action_executor.local import Recorded as Claimed
from outlast_trigger_matcher.core.rows import WITHHELD, Dispatch
from tests.simulation.system import System
from tests.stores.memory_finalizer import RunRecord

_steps = msgspec.json.Decoder(tuple[StepSummary, ...])
_finished = msgspec.json.Decoder(Finished)


def check_runs(system: System) -> Iterator[Violation]:
    """Every dispatch has what its mode promises, and the record that goes with it."""
    for execution, row in system.dispatch.dispatches.items():
        if row.status in WITHHELD:
            yield from _withheld(system, row)
        elif row.start.mode == "workflow":
            yield from _durable(system, execution, row)
        else:
            yield from _inline(system, execution, row)
            if row.start.mode == "shadow":
                yield from _double(system, execution, row)
    known = system.dispatch.dispatches.keys()
    for execution in system.histories.histories.keys() - known:
        yield Violation("fires", f"{execution} has a history, but no dispatch")
    for execution in system.records.runs.keys() - known:
        yield Violation("fires", f"{execution} has a record, but no dispatch")
    for execution in system.ledger.ends.keys() - known:
        yield Violation("fires", f"{execution} ran inline, but has no dispatch")


def _withheld(system: System, row: Dispatch) -> Iterator[Violation]:
    """On record with its reason, and nothing of it was ever done."""
    run = system.records.runs.get(row.id)
    if run is None or run.finished_at is None:
        yield Violation("stuck", f"{row.id}, {row.status} for {row.reason}, is not on record")
        return
    status = "cancelled" if row.status == "cancelled" else "skipped"
    said = (run.status, run.reason, run.detail, run.ended_by, run.rank)
    if said != (status, row.reason, row.detail, row.ended_by, 0) or not row.reason:
        yield Violation("record", f"{row.id} is {said}, its dispatch {row.status} for {row.reason}")
    if run.payload != bytes(row.start.payload):
        yield Violation("record", f"{row.id} is on record without its payload")
    called = {each.execution_id for each in system.receiver.calls} | {
        each.execution_id for each in system.ledger.claims
    }
    if row.id in system.histories.histories or row.id in system.ledger.ends or row.id in called:
        yield Violation("withheld", f"{row.id} ran, but is {row.status} for {row.reason}")


def _durable(system: System, execution: str, row: Dispatch) -> Iterator[Violation]:
    history = system.histories.histories.get(execution)
    if history is None:
        yield Violation("stuck", f"{execution} of {row.start.event.id} was never begun")
        return
    faults = list(check_history(execution, history))
    yield from faults
    if any(each.rule in ("gapless", "begun once") for each in faults):
        return  # nobody can fold it
    run = _recorded(system, execution)
    if run is None:
        yield Violation("stuck", f"{execution} is not recorded as finished; last {history[-1]}")
        return
    steps = _steps.decode(run.steps or b"[]")
    yield from check_record(execution, history, RunView(run.status, run.seq, steps, run.payload))
    if execution in system.ledger.ends:
        yield Violation("mode", f"{execution} ran inline, too")


def _recorded(system: System, execution: str) -> RunRecord | None:
    run = system.records.runs.get(execution)
    return None if run is None or run.finished_at is None else run


def _inline(system: System, execution: str, row: Dispatch) -> Iterator[Violation]:
    """It ended once, the record says how, and the ledger has every step as the end has it."""
    end, run = system.ledger.ends.get(execution), _recorded(system, execution)
    if end is None or run is None:
        yield Violation("stuck", f"{execution} ({row.start.mode}) has the end {end}, the record {run}")
        return
    finished = _finished.decode(end.finished)
    said = (run.status, run.rank, run.seq, _steps.decode(run.steps or b"[]"))
    if said != (finished.status, 1, finished.seq, finished.steps):
        yield Violation("record", f"{execution} is recorded as {said}, and ended as {finished}")
    if run.payload != bytes(row.start.payload):
        yield Violation("record", f"{execution} has no payload in its record")
    if row.start.mode == "inline" and (
        execution in system.histories.histories or execution in system.ordered
    ):
        yield Violation("mode", f"{execution} runs inline, but an engine knows it")
    named = {step.id for step in finished.steps}
    for operation in system.receiver.calls:
        if operation.execution_id == execution and operation.activity_id not in named:
            yield Violation(
                "unmentioned", f"{execution} did {operation.activity_id}, and ended as {finished}"
            )
    if finished.status != "cancelled":
        for step in finished.steps:
            yield from _of_step(system, execution, step)


def _of_step(system: System, execution: str, step: StepSummary) -> Iterator[Violation]:
    claims: dict[int, Claimed] = {}
    for operation, attempts in system.ledger.claims.items():
        if (operation.execution_id, operation.activity_id) == (execution, step.id):
            claims |= attempts
    if claims and any(each.is_success for each in claims.values()) != (step.status == "success"):
        yield Violation("outcome", f"{step.id} of {execution} ended as {step}, the ledger has {claims}")


def _double(system: System, execution: str, row: Dispatch) -> Iterator[Violation]:
    """It did nothing, and came to the same. An outcome that was lost with the broker is not told again."""
    if execution in system.ordered:
        yield Violation("shadow", f"the double {execution} ordered an action")
    history = system.histories.histories.get(execution, [])
    faults = (
        list(check_double(execution, history)) if history else [Violation("stuck", f"no double {execution}")]
    )
    if system.world.losses:  # of what its inline run did: it ends as incomparable then
        faults = [each for each in faults if each.rule != "shadow"]
    yield from faults
    if execution not in system.records.comparisons:
        yield Violation("stuck", f"the comparison of {execution} is not on record")
