"""The loop on the broker and the ledger in memory, one turn after the other, with a clock that stands."""

from collections.abc import Sequence
from typing import Any

import pytest

from outlast import ids, limits
from outlast.contracts.messages import RunActivity
from outlast.contracts.topics import ENGINE_INBOX
from outlast.errors import TransientError
from outlast.messaging.ports import Outgoing
from outlast_action_executor.core.caps import Caps
from outlast_action_executor.core.claim import Resolution
from outlast_action_executor.ports import Committed, Group, Plan

from .world import DONE, TOPIC, Died, World, activity, drive


@pytest.fixture
def world() -> World:
    return World()


def test_an_activity_is_called_once_and_answered(world: World) -> None:
    executor = world.executor()
    world.send(activity())
    executor.settle()
    (result,) = world.results()
    assert (result.activity_id, result.attempt, result.output, result.error) == ("tell", 1, DONE, None)
    (message,) = world.broker.messages(ENGINE_INBOX)
    assert message.partition == ids.engine_partition(result.execution_id)
    assert message.key == result.execution_id.encode()
    assert dict(message.headers)["traceparent"].startswith(b"00-ab")


def test_a_redelivered_activity_is_answered_from_the_ledger(world: World) -> None:
    executor = world.executor()
    world.send(activity(), activity())
    executor.settle()
    world.send(activity())
    executor.settle()
    assert executor.runner.calls == [("tell", 1, None)]
    assert (
        len(world.results()) == 2
    )  # two in one batch are one call with one answer; the third is answered again
    assert world.results()[0] == world.results()[1]


def test_the_success_of_an_earlier_attempt_answers_a_later_one_under_its_number(world: World) -> None:
    executor = world.executor()
    world.send(activity())
    executor.settle()
    world.send(activity(attempt=2))
    executor.settle()
    assert executor.runner.calls == [("tell", 1, None)]
    assert [result.attempt for result in world.results()] == [1, 2]


def test_after_a_failure_the_next_attempt_is_called(world: World) -> None:
    executor = world.executor()
    world.send(activity(action="fail"))
    executor.settle()
    world.send(activity(action="fail", attempt=2))
    executor.settle()
    assert [attempt for _, attempt, _ in executor.runner.calls] == [1, 2]


def test_a_bug_in_an_action_fails_the_action_only(world: World) -> None:
    executor = world.executor()
    world.send(activity("a", action="break"), activity("b"))
    executor.settle()
    codes = {result.activity_id: result.error and result.error.code for result in world.results()}
    assert codes == {"a": "internal_error", "b": None}


@pytest.mark.parametrize(
    "changes",
    [
        {"execution_id": "nonsense"},
        {"execution_id": "018bcfe5-6800-4002-a4b7-f58a9ea932a5"},
        {"execution_id": "018bcfe5-6800-8fff-a4b7-f58a9ea932a5"},
        {"activity_id": ""},
        {"activity_id": "nul\x00"},
        {"activity_id": "a" * 300},
        {"attempt": 0},
        {"timeout_seconds": -1.0},
    ],
)
def test_what_could_not_be_answered_is_a_dead_letter_and_stops_nothing(
    world: World, changes: dict[str, Any]
) -> None:
    executor = world.executor()
    world.send(activity(**changes), activity("b"))
    world.broker.append(Outgoing(TOPIC, b"\xff not json", b"k", 0))
    world.broker.append(Outgoing(TOPIC, None, b"k", 0))
    executor.settle()
    assert {result.activity_id for result in world.results()} == {"b"}
    letters = {
        dict(message.headers)["dlq-id"] for message in world.broker.messages("action_executor.dead_letters")
    }
    assert letters == {f"{TOPIC}-0-{offset}".encode() for offset in (0, 2, 3)}
    world.clock.seconds += 1
    executor.settle()
    assert world.stored_offset() == 4


def test_a_row_that_the_ledger_never_takes_fails_alone(world: World) -> None:
    executor = world.executor()
    executor.ledger.rejects = "bad"
    world.send(activity("a"), activity("bad"), activity("b"))
    executor.settle()
    codes = {result.activity_id: result.error and result.error.code for result in world.results()}
    assert codes == {"a": None, "bad": "rejected", "b": None}


def test_an_offset_moves_only_past_what_is_acknowledged(world: World) -> None:
    executor = world.executor()
    world.send(activity("a"), activity("b"))
    executor.turn()
    world.broker.is_up = False
    world.clock.seconds += 1
    executor.turn(5)
    assert world.stored_offset() == 0
    world.broker.is_up = True
    executor.settle()
    assert len(world.results()) == 2
    assert world.stored_offset() == 0, "lazily: not a commit of its own while there is other work"
    world.clock.seconds += 1
    executor.settle()
    assert world.stored_offset() == 2


def test_an_idle_loop_has_nothing_to_do(world: World) -> None:
    executor = world.executor()
    world.send(activity())
    executor.settle()
    world.clock.seconds += 1
    executor.settle()
    commits = executor.ledger.commits
    assert executor.turn(20) is None
    assert executor.ledger.commits == commits


@pytest.mark.parametrize("is_after", [False, True])
def test_a_claim_of_unknown_outcome_is_called_once(world: World, is_after: bool) -> None:
    executor = world.executor()
    executor.turn()
    world.send(activity())
    fault = TransientError("the connection broke")
    executor.ledger.after, executor.ledger.before = (fault, None) if is_after else (None, fault)
    executor.turn()
    assert executor.runner.calls == []
    executor.turn(10)
    assert executor.runner.calls == [("tell", 1, None)]
    assert len(world.results()) == 1


@pytest.mark.parametrize("is_after", [False, True])
def test_a_result_of_unknown_outcome_is_recorded_once_and_answered(world: World, is_after: bool) -> None:
    executor = world.executor()
    world.send(activity())

    async def break_next(_: RunActivity) -> None:
        fault = TransientError("the connection broke")
        executor.ledger.after, executor.ledger.before = (fault, None) if is_after else (None, fault)

    executor.runner.during = break_next
    executor.turn(20)
    assert executor.runner.calls == [("tell", 1, None)]
    assert {result.activity_id for result in world.results()} == {"tell"}
    world.clock.seconds += 1
    executor.turn(5)
    assert world.stored_offset() == 1


@pytest.mark.parametrize(
    ("is_idempotent", "on_unknown", "resolution"),
    [(True, "fail", Resolution.RETRY), (False, "retry", Resolution.RETRY), (False, "fail", Resolution.FAIL)],
)
def test_a_call_cut_off_by_a_crash_is_unknown_and_resolved(
    world: World, is_idempotent: bool, on_unknown: str, resolution: Resolution
) -> None:
    first = world.executor("0")
    world.send(activity(on_unknown=on_unknown))

    async def die(_: RunActivity) -> None:
        raise Died

    first.runner.during = die
    with pytest.raises(Died):
        first.turn(2)
    reborn = world.executor("0")
    reborn.runner.plan_for = Plan(None, is_idempotent, False, None)
    reborn.settle()
    assert reborn.runner.calls == [("tell", 1, resolution)]
    assert [result.resolved for result in world.results()] == [str(resolution)]


def test_a_result_recorded_before_a_crash_is_answered_after_it(world: World) -> None:
    first = world.executor("0")
    world.send(activity())
    first.turn()
    first.ledger.after = Died()
    with pytest.raises(Died):
        first.turn()
    assert world.results() == []
    reborn = world.executor("0")
    reborn.settle()
    assert reborn.runner.calls == []
    assert len(world.results()) == 1


def test_anothers_live_claim_is_deferred_to_its_deadline(world: World) -> None:
    first, second = world.executor("0"), world.executor("1")
    world.send(activity())

    async def vanish(_: RunActivity) -> None:
        raise Died

    first.runner.during = vanish
    with pytest.raises(Died):
        first.turn(3)
    world.broker.end_session("executors", "0")
    due = second.turn(3)
    assert second.runner.calls == []
    assert due == pytest.approx(30 + limits.CLAIM_MARGIN_SECONDS, abs=1)
    world.clock.seconds += 41
    second.settle()
    assert second.runner.calls == [("tell", 1, Resolution.RETRY)]
    assert [result.resolved for result in world.results()] == ["retried"]


def test_a_late_result_changes_nothing(world: World) -> None:
    """The first one's call outlives its claim; the second resolves it; the first one's result is dropped."""
    first, second = world.executor("0"), world.executor("1")
    world.send(activity())

    async def resolved_elsewhere(_: RunActivity) -> None:
        world.broker.end_session("executors", "0")
        world.clock.seconds += 100
        second.runner.during = None
        for _turn in range(6):
            await second.loop.turn()

    first.runner.during = resolved_elsewhere
    first.turn(2)
    (told,) = world.results()
    assert told.resolved == "retried"
    ((row,),) = drive(second.ledger.look_up([next(iter(world.tables.claims))]))
    assert row.claimant.ordinal == "1"


def test_a_process_that_stood_still_after_its_claim_does_not_call_on_it(world: World) -> None:
    """Frozen between the claim's commit and its call, past the deadline: somebody else called and recorded."""
    first, second = world.executor("0"), world.executor("1")
    world.send(activity())
    commit = first.ledger.commit

    async def freeze(group: Group) -> Committed:
        committed = await commit(group)
        if group.claims:
            first.ledger.commit = commit  # type: ignore[method-assign]
            world.broker.end_session("executors", "0")
            world.clock.seconds += 100
            for _ in range(6):
                await second.loop.turn()
        return committed

    first.ledger.commit = freeze  # type: ignore[method-assign]
    first.settle()
    assert second.runner.calls == [("tell", 1, Resolution.RETRY)]
    assert first.runner.calls == []
    assert {result.resolved for result in world.results()} == {"retried"}


def test_a_process_that_stood_still_and_lost_nothing_claims_anew_and_calls_once(world: World) -> None:
    executor = world.executor()
    world.send(activity())
    commit = executor.ledger.commit

    async def freeze(group: Group) -> Committed:
        executor.ledger.commit = commit  # type: ignore[method-assign]
        committed = await commit(group)
        world.clock.seconds += 100
        return committed

    executor.ledger.commit = freeze  # type: ignore[method-assign]
    executor.settle()
    assert executor.runner.calls == [("tell", 1, None)]
    (row,) = world.tables.claims[next(iter(world.tables.claims))].values()
    assert row.takeovers == 1


def test_a_lost_partition_is_forgotten_but_its_call_is_settled_and_told(world: World) -> None:
    first = world.executor("0", Caps(total_max=1))
    world.send(activity("a"), activity("b"))

    async def lose(_: RunActivity) -> None:
        await first.loop.release(list(first.loop.owned))
        world.broker.end_session("executors", "0")

    first.runner.during = lose
    first.turn()
    second = world.executor("1")
    second.turn(2)
    first.loop.source.poll = nothing  # type: ignore[method-assign]
    first.turn(3)
    assert [name for name, _, _ in first.runner.calls] == ["a"]
    assert {result.activity_id for result in world.results()} >= {"a"}
    assert ("b", 1, None) in second.runner.calls


async def nothing(messages_max: int, timeout_seconds: float) -> Sequence[Any]:
    return []


def test_a_zombie_is_fenced_and_moves_no_offset(world: World) -> None:
    first = world.executor("0")
    world.send(activity("a"))
    first.settle()
    second = world.executor("1")
    world.broker.end_session("executors", "0")
    second.settle()
    epochs = {at: row.epoch for at, row in world.tables.fence.rows.items()}
    first.loop.source.poll = nothing  # type: ignore[method-assign]
    world.clock.seconds += 1
    first.turn()
    assert {at: row.epoch for at, row in world.tables.fence.rows.items()} == epochs
    assert list(first.loop.owned) == []


def test_caps_bound_what_is_claimed(world: World) -> None:
    executor = world.executor(caps=Caps(total_max=3, company_max=3, destination_max=3))
    world.send(*(activity(f"a{number}") for number in range(10)))
    seen: list[int] = []

    async def count(_: RunActivity) -> None:
        rows = [row for attempts in world.tables.claims.values() for row in attempts.values()]
        seen.append(sum(row.result is None for row in rows))

    executor.runner.during = count
    executor.settle()
    assert len(world.results()) == 10
    assert max(seen) == 3


def test_a_partition_with_too_much_in_hand_is_paused_and_resumed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "UNFINISHED_MAX", 4)
    monkeypatch.setattr(limits, "BATCH_MAX", 5)
    executor = world.executor(caps=Caps(total_max=1))
    world.send(*(activity(f"a{number}") for number in range(12)))
    taken: list[int] = []
    source = executor.loop.source
    polled = source.poll

    async def watched(messages_max: int, timeout_seconds: float) -> Sequence[Any]:
        messages = await polled(messages_max, timeout_seconds)
        taken.append(len(messages))
        return messages

    source.poll = watched  # type: ignore[method-assign]
    executor.turn(3)
    assert taken == [5, 0, 0]
    executor.turn(60)
    assert len(world.results()) == 12
    assert sum(taken) == 12


def test_a_claim_that_kills_its_process_again_and_again_is_given_up(world: World) -> None:
    world.send(activity("killer"), *(activity(f"a{number}") for number in range(5)))

    async def kill(asked: RunActivity) -> None:
        if asked.activity_id == "killer":
            raise Died

    deaths = 0
    for _ in range(limits.TAKEOVERS_MAX + 5):
        executor = world.executor("0")
        executor.runner.during = kill
        try:
            executor.settle()
        except Died:
            deaths += 1
    assert 0 < deaths <= limits.TAKEOVERS_MAX + 1
    by_name = {result.activity_id: result for result in world.results()}
    assert len(by_name) == 6
    assert by_name["killer"].error is not None
    assert all(by_name[f"a{number}"].error is None for number in range(5))


def test_a_draining_loop_claims_nothing_and_sends_what_it_has(world: World) -> None:
    executor = world.executor()
    world.send(activity("a"))
    executor.turn()
    world.send(activity("b"))
    assert not executor.loop.is_drained
    drive(executor.loop.run(lambda: True, 20.0))
    assert executor.loop.is_drained
    assert [result.activity_id for result in world.results()] == ["a"]
    assert world.stored_offset() == 1
    assert [name for name, _, _ in executor.runner.calls] == ["a"]
