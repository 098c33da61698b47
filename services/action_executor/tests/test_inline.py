"""Inline runs on the broker and the ledger in memory: from the start message to the end, through deaths and doubles."""

from typing import Any

import msgspec
import pytest
from msgspec import UNSET, Raw

from outlast import ids, limits
from outlast.contracts import codec
from outlast.contracts.messages import (
    ActionError,
    Cancel,
    EventReference,
    Finished,
    InlineOutcome,
    LifecycleMessage,
    RunActivity,
    RunbookReference,
    Start,
    Started,
)
from outlast.contracts.topics import ENGINE_INBOX, INLINE, LIFECYCLE, TopicPartition
from outlast.errors import TransientError
from outlast.messaging.ports import Outgoing
from outlast.runbooks.documents import Json, canonical
from outlast_action_executor.core.caps import Caps
from outlast_action_executor.core.claim import Resolution
from outlast_action_executor.ports import Plan, Ran

from .world import BEGIN, Died, Executor, World, activity, drive

PAYLOAD: dict[str, Json] = {"event": {"id": "e"}, "company": {"id": "acme"}, "finding": {"id": "f-1"}}
TRACEPARENT = "00-" + "ab" * 16 + "-" + "cd" * 8 + "-01"


def tell(name: str, action: str = "tell", **more: Json) -> Json:
    return {"id": name, "type": action, "class": "notify", "config": {"to": "{{ finding.id }}"}, **more}


def sleep(name: str) -> Json:
    return {"id": name, "type": "sleep", "class": "flow", "config": {"duration": "5m"}}


def start(*actions: Json, name: str = "run", definition: bytes | None = None, **changes: Any) -> Start:
    document = canonical(
        {
            "name": "r",
            "rules": [{"event": "finding_created"}],
            "actions": list(actions or [tell("a"), tell("b")]),
        }
    )
    body = document if definition is None else definition
    return Start(
        **{
            "execution_id": ids.execution_id(1_767_614_400_000, 4, "acme", "s", name, "rb"),
            "company_id": "acme",
            "runbook": RunbookReference(id="rb", name="Tell", version=1, sha256=ids_of(body)),
            "event": EventReference(source="s", id=name, type="finding_created", time=BEGIN),
            "mode": "inline",
            "lane": 2,
            "payload": Raw(msgspec.json.encode(PAYLOAD)),
            "definition": Raw(body),
            "traceparent": TRACEPARENT,
            **changes,
        }
    )


def ids_of(body: bytes) -> str:
    return str(hash(body))


def cancel(of: Start, **changes: Any) -> Cancel:
    return Cancel(
        **{
            "execution_id": of.execution_id,
            "company_id": "acme",
            "by": "ana",
            "at": BEGIN,
            "reason": "why",
            **changes,
        }
    )


class Inline(World):
    def begin(self, *messages: Start | Cancel, partition: int = 1) -> None:
        for each in messages:
            self.broker.append(Outgoing(INLINE, codec.encode(each), each.execution_id.encode(), partition))

    def said(self) -> list[LifecycleMessage]:
        return [codec.lifecycle.decode(message.value) for message in self.broker.messages(LIFECYCLE)]

    def ends(self) -> list[Finished]:
        return [each for each in self.said() if isinstance(each, Finished)]

    def outcomes(self) -> list[InlineOutcome]:
        found = [codec.inbox.decode(message.value) for message in self.broker.messages(ENGINE_INBOX)]
        return [each for each in found if isinstance(each, InlineOutcome)]

    def inline_offset(self) -> int:
        return self.tables.fence.rows[TopicPartition(INLINE, 1)].next_offset

    def pass_time(self, executor: Executor, seconds: float, step: float = 0.25) -> None:
        for _ in range(int(seconds / step)):
            self.clock.seconds += step
            executor.settle()


@pytest.fixture
def world() -> Inline:
    return Inline()


def calls(executor: Executor) -> list[tuple[str, int]]:
    return [(name, attempt) for name, attempt, _ in executor.runner.calls]


def statuses(end: Finished) -> dict[str, str]:
    return {step.id: step.status for step in end.steps}


# ---- from start to end -------------------------------------------------------------------------------------------


def test_a_run_is_done_in_one_go_and_says_that_it_began_and_ended(world: Inline) -> None:
    executor = world.executor()
    begun = start(tell("a"), sleep("nap"), tell("b"))
    world.begin(begun)
    executor.settle()
    assert calls(executor) == [("a", 1), ("b", 1)]
    first, last = world.said()
    assert isinstance(first, Started)
    assert isinstance(last, Finished)
    assert (first.mode, first.rank, first.seq, first.payload) == ("inline", 1, 1, begun.payload)
    assert (last.mode, last.rank, last.status, last.lane) == ("inline", 1, "success", 2)
    assert last.seq > first.seq
    assert statuses(last) == {"a": "success", "nap": "skipped", "b": "success"}
    assert last.steps[1].reason == "inline"
    assert {message.partition for message in world.broker.messages(LIFECYCLE)} == {2}
    assert all(
        dict(m.headers)["traceparent"] == TRACEPARENT.encode() for m in world.broker.messages(LIFECYCLE)
    )
    assert world.broker.messages(ENGINE_INBOX) == []


def test_the_offset_passes_when_the_end_is_delivered_and_not_before(world: Inline) -> None:
    executor = world.executor()
    flush = executor.sink.flush

    async def fail() -> None:
        raise TransientError("nobody acknowledges")

    executor.sink.flush = fail  # type: ignore[method-assign]
    world.begin(start())
    for _ in range(40):
        executor.turn()
        world.clock.seconds += 0.25
    assert calls(executor) == [("a", 1), ("b", 1)]
    assert (world.ends(), world.inline_offset()) == ([], 0)
    executor.sink.flush = flush  # type: ignore[method-assign]
    executor.settle()
    world.pass_time(executor, 2)
    assert world.inline_offset() == 1


def test_the_end_brings_the_payload_unless_started_is_known_to_have_brought_it(world: Inline) -> None:
    executor = world.executor()
    world.begin(start())
    executor.settle()
    (end,) = world.ends()
    assert end.payload is UNSET
    world.begin(start(sleep("nap"), name="at once"))
    executor.settle()
    at_once = world.ends()[-1]
    assert (at_once.payload, at_once.status) == (Raw(msgspec.json.encode(PAYLOAD)), "success")


def test_outputs_are_read_by_later_steps_and_a_failure_ends_as_configured(world: Inline) -> None:
    executor = world.executor()
    inputs: dict[str, bytes] = {}

    async def look(asked: RunActivity) -> None:
        inputs[asked.activity_id] = bytes(asked.input)

    executor.runner.during = look
    second = tell("b", config={"said": "{{ steps.a.output }}"})
    world.begin(start(tell("a"), second, tell("c", "fail", continue_on_error=False), tell("d")))
    executor.settle()
    assert inputs["b"] == b'{"said":"done"}'
    (end,) = world.ends()
    assert (end.status, statuses(end)) == ("partial", {"a": "success", "b": "success", "c": "failed"})


def test_runs_and_activities_of_the_engine_share_the_ledger_and_the_caps(world: Inline) -> None:
    executor = world.executor(caps=Caps(total_max=2))
    world.begin(*(start(name=str(number)) for number in range(5)))
    world.send(*(activity(f"x{number}") for number in range(5)))
    executor.settle()
    assert len(world.ends()) == 5
    assert len(world.results()) == 5
    assert len(executor.runner.calls) == 15


def test_a_definition_that_cannot_be_read_fails_its_run_only(world: Inline) -> None:
    executor = world.executor()
    world.begin(start(definition=b'{"name":1}'), start(name="other"))
    executor.settle()
    by_id = {end.event.id: end for end in world.ends()}
    assert (by_id["run"].status, by_id["other"].status) == ("failed", "success")
    assert by_id["run"].error is not None
    assert by_id["run"].error.code == "definition_unreadable"


@pytest.mark.parametrize(
    "changes",
    [
        {"execution_id": "nonsense"},
        {"mode": "workflow"},
        {"lane": 99},
        {"lane": -1},
        {"payload": Raw(b"[1]")},
        {"execution_id": "018bcfe5-6800-8fff-a4b7-f58a9ea932a5", "mode": "shadow"},
    ],
)
def test_a_start_that_nobody_could_run_is_a_dead_letter_and_stops_nothing(
    world: Inline, changes: dict[str, Any]
) -> None:
    executor = world.executor()
    world.begin(start(**changes), start(name="other"))
    world.broker.append(Outgoing(INLINE, b"\xff not json", b"k", 1))
    executor.settle()
    world.pass_time(executor, 2)
    assert [end.event.id for end in world.ends()] == ["other"]
    letters = [
        dict(message.headers)["dlq-id"] for message in world.broker.messages("action_executor.dead_letters")
    ]
    assert sorted(letters) == [f"{INLINE}-1-0".encode(), f"{INLINE}-1-2".encode()]
    assert world.inline_offset() == 3


def test_a_run_that_cannot_be_decided_over_any_more_has_failed(world: Inline) -> None:
    executor = world.executor()

    async def nonsense(*_: object) -> Ran:
        return Ran(output=Raw(b'"\xff"'))

    executor.runner.run = nonsense  # type: ignore[method-assign]
    world.begin(start())
    executor.settle()
    (end,) = world.ends()
    assert (end.status, end.error and end.error.code) == ("failed", "internal_error")


# ---- deaths and doubles ------------------------------------------------------------------------------------------


def test_a_start_that_comes_twice_is_one_run_and_both_are_answered(world: Inline) -> None:
    executor = world.executor()
    world.begin(start(), start())
    executor.settle()
    assert calls(executor) == [("a", 1), ("b", 1)]
    assert len(world.ends()) == 1
    world.pass_time(executor, 2)
    assert world.inline_offset() == 2


def test_a_run_that_has_ended_is_answered_as_it_ended_whoever_asks_and_when(world: Inline) -> None:
    executor = world.executor()
    world.begin(start())
    executor.settle()
    world.clock.seconds += 1000
    world.begin(start(), start(definition=b"{}"))
    executor.settle()
    first, second = world.ends()
    assert msgspec.structs.replace(second, payload=UNSET) == first
    assert second.payload == Raw(msgspec.json.encode(PAYLOAD)), "who asks again may have lost it"
    assert len(executor.runner.calls) == 2
    other = world.executor("1")
    world.broker.end_session("executors", "0")
    world.begin(start())
    other.settle()
    assert world.ends()[-1] == second
    assert other.runner.calls == []


@pytest.mark.parametrize("dies_in", ["a", "b", "c"])
def test_a_run_cut_off_is_taken_up_and_what_is_recorded_is_not_repeated(world: Inline, dies_in: str) -> None:
    first = world.executor()

    async def die(asked: RunActivity) -> None:
        if asked.activity_id == dies_in:
            raise Died

    first.runner.during = die
    world.begin(start(tell("a"), tell("b"), tell("c")))
    with pytest.raises(Died):
        first.settle()
    reborn = world.executor()
    reborn.settle()
    names = ["a", "b", "c"]
    wanted = [
        (name, 1, Resolution.RETRY if name == dies_in else None) for name in names[names.index(dies_in) :]
    ]
    assert reborn.runner.calls == wanted
    (end,) = world.ends()
    assert (end.status, list(statuses(end))) == ("success", names)


def test_an_unrepeatable_action_cut_off_fails_and_the_run_goes_on(world: Inline) -> None:
    first = world.executor()

    async def die(_: RunActivity) -> None:
        raise Died

    first.runner.during = die
    world.begin(start(tell("a", on_unknown="fail"), tell("b")))
    with pytest.raises(Died):
        first.settle()
    reborn = world.executor()
    reborn.runner.plan_for = Plan(None, False, False, None)
    reborn.settle()
    (end,) = world.ends()
    assert statuses(end) == {"a": "failed", "b": "success"}
    assert end.steps[0].error is not None
    assert end.steps[0].error.code == "outcome_unknown"


@pytest.mark.parametrize("is_after", [False, True])
@pytest.mark.parametrize("commit", range(1, 7))
def test_a_commit_of_unknown_outcome_changes_no_result(world: Inline, commit: int, is_after: bool) -> None:
    executor = world.executor()
    executor.turn()
    world.begin(start())
    stored, count = executor.ledger.commit, 0

    async def fail(group: Any) -> Any:
        nonlocal count
        count += 1
        if count != commit:
            return await stored(group)
        if is_after:
            await stored(group)
        raise TransientError("the connection broke")

    executor.ledger.commit = fail  # type: ignore[method-assign]
    executor.turn(40)
    assert calls(executor) == [("a", 1), ("b", 1)]
    assert {end.status for end in world.ends()} == {"success"}
    world.pass_time(executor, 2)
    assert world.inline_offset() == 1


def test_two_owners_of_one_run_call_each_action_once_and_say_the_same_end(world: Inline) -> None:
    """The first one stands still in the middle of a call while the second owns its partition."""
    first, second = world.executor("0"), world.executor("1")

    async def lose(asked: RunActivity) -> None:
        if asked.activity_id == "b":
            world.broker.end_session("executors", "0")
            for _ in range(12):
                await second.loop.turn()

    first.runner.during = lose
    world.begin(start())
    first.turn(4)
    assert calls(second) == []
    first.turn(4)
    world.clock.seconds += 41
    second.settle()
    first.settle()
    assert calls(first) == [("a", 1), ("b", 1)]
    assert calls(second) == []
    (end,) = world.ends()
    assert end.status == "success"


def test_a_draining_loop_leaves_its_runs_between_two_actions(world: Inline) -> None:
    executor = world.executor()
    world.begin(start())
    executor.turn()
    drive(executor.loop.run(lambda: True, 20.0))
    assert executor.loop.is_drained
    assert world.ends() == []
    assert world.inline_offset() == 0
    reborn = world.executor()
    reborn.settle()
    assert calls(executor) + calls(reborn) == [("a", 1), ("b", 1)]
    assert [end.status for end in world.ends()] == ["success"]


# ---- attempts ----------------------------------------------------------------------------------------------------


def flaky(world: Inline, executor: Executor, failures: int, retry_after: float | None = None) -> None:
    run = executor.runner.run

    async def fail(asked: RunActivity, *more: Any) -> Ran:
        ran = await run(asked, *more)
        if asked.attempt <= failures:
            error = ActionError(
                code="http_503", message="no", retryable=True, retry_after_seconds=retry_after
            )
            return Ran(error=error)
        return ran

    executor.runner.run = fail  # type: ignore[method-assign]


def retry(attempts: int, pause: str) -> Json:
    return {"max_attempts": attempts, "initial_backoff": pause, "max_backoff": pause, "factor": 1.0}


def test_a_failure_that_may_pass_is_tried_again_after_its_pause(world: Inline) -> None:
    executor = world.executor()
    flaky(world, executor, 2)
    world.begin(start(tell("a", retry=retry(3, "4s")), tell("b", retry=retry(3, "4s"))))
    executor.settle()
    assert calls(executor) == [("a", 1)]
    world.pass_time(executor, 2)
    assert calls(executor) == [("a", 1)], "its pause is three seconds at least"
    world.pass_time(executor, 4)
    assert calls(executor)[:2] == [("a", 1), ("a", 2)]
    world.pass_time(executor, 20)
    (end,) = world.ends()
    assert end.status == "success"
    assert [step.attempts for step in end.steps] == [3, 3]


def test_a_loop_with_nothing_but_a_pause_sleeps_until_it_is_over(world: Inline) -> None:
    executor = world.executor()
    flaky(world, executor, 1)
    world.begin(start(tell("a", retry=retry(2, "40s"))))
    executor.settle()
    world.clock.seconds += 1
    executor.settle()
    due = executor.turn()
    assert due is not None
    assert 25 < due < 55


def test_pauses_beyond_the_budget_fail_the_action(world: Inline) -> None:
    executor = world.executor()
    flaky(world, executor, 1, retry_after=limits.INLINE_RETRY_SECONDS_MAX + 1)
    world.begin(start(tell("a"), tell("b", "tell")))
    executor.settle()
    (end,) = world.ends()
    assert [step.error and step.error.code for step in end.steps] == ["inline_retry_budget"] * 2
    assert [step.attempts for step in end.steps] == [1, 1]


def test_a_pause_before_an_attempt_that_is_recorded_is_not_waited_for_again(world: Inline) -> None:
    first = world.executor()
    flaky(world, first, 1)

    async def die(asked: RunActivity) -> None:
        if asked.activity_id == "b":
            raise Died

    first.runner.during = die
    world.begin(start(tell("a", retry=retry(2, "30s")), tell("b", retry=retry(2, "30s"))))
    first.settle()
    with pytest.raises(Died):
        world.pass_time(first, 60)
    # started anew a moment after: by the clock, the pause before the second attempt would not be over
    again = Inline(world.clock)
    again.tables, again.broker = world.tables, world.broker
    world.clock.seconds = 1
    reborn = again.executor()
    reborn.settle()
    assert calls(reborn) == [("b", 1)]
    (end,) = world.ends()
    assert [step.attempts for step in end.steps] == [2, 1]


def test_a_pause_that_is_cut_off_is_taken_up_where_it_was(world: Inline) -> None:
    first = world.executor()
    flaky(world, first, 1)

    async def take_long(_: RunActivity) -> None:
        world.clock.seconds += 100

    first.runner.during = take_long
    world.begin(start(tell("a", retry=retry(2, "40s"))))
    first.settle()
    world.clock.seconds += 20
    reborn = world.executor()
    reborn.settle()
    assert calls(reborn) == [], "a pause of 30 s at least, counted from the failure and not from the start"
    world.pass_time(reborn, 31)
    assert calls(reborn) == [("a", 2)], (
        "and of 50 s at most, counted from the failure and not from the new life"
    )


# ---- cancellation ------------------------------------------------------------------------------------------------


def test_a_cancellation_takes_effect_between_two_actions(world: Inline) -> None:
    executor = world.executor()
    begun = start()
    world.begin(begun)

    async def order(asked: RunActivity) -> None:
        if asked.activity_id == "a":
            world.begin(cancel(begun))

    executor.runner.during = order
    executor.settle()
    assert calls(executor) == [("a", 1)]
    (end,) = world.ends()
    assert (end.status, end.by, end.reason, statuses(end)) == ("cancelled", "ana", "why", {"a": "success"})
    world.pass_time(executor, 2)
    assert world.inline_offset() == 2


@pytest.mark.parametrize("is_ordered_before_the_death", [True, False])
def test_a_run_cut_off_and_cancelled_is_recorded_with_all_that_it_did(
    world: Inline, is_ordered_before_the_death: bool
) -> None:
    first = world.executor()
    begun = start(tell("a"), tell("b"), tell("c"), tell("d"))
    world.begin(begun)

    async def die(asked: RunActivity) -> None:
        if asked.activity_id == "c":
            if is_ordered_before_the_death:
                world.begin(cancel(begun))
            raise Died

    first.runner.during = die
    with pytest.raises(Died):
        first.settle()
    if not is_ordered_before_the_death:
        world.begin(cancel(begun))
    reborn = world.executor()
    reborn.settle()
    assert reborn.runner.calls == [("c", 1, Resolution.RETRY)]
    (end,) = world.ends()
    assert (end.status, list(statuses(end))) == ("cancelled", ["a", "b", "c"])


def test_a_cancelled_run_is_answered_so_and_never_goes_on(world: Inline) -> None:
    executor = world.executor()
    begun = start()
    world.begin(begun)

    async def order(_: RunActivity) -> None:
        world.begin(cancel(begun))

    executor.runner.during = order
    executor.settle()
    executor.runner.during = None
    world.begin(begun)
    executor.settle()
    assert [end.status for end in world.ends()] == ["cancelled", "cancelled"]
    assert calls(executor) == [("a", 1)]


def test_a_cancellation_ends_a_pause_at_once(world: Inline) -> None:
    executor = world.executor()
    flaky(world, executor, 1)
    begun = start(tell("a", retry=retry(2, "40s")))
    world.begin(begun)
    executor.settle()
    world.begin(cancel(begun))
    executor.settle()
    assert [end.status for end in world.ends()] == ["cancelled"]
    world.pass_time(executor, 60, 5)
    assert calls(executor) == [("a", 1)]


def test_a_cancellation_beside_its_start_lets_nothing_begin(world: Inline) -> None:
    executor = world.executor()
    begun = start()
    world.begin(begun, cancel(begun))
    executor.settle()
    (end,) = world.ends()
    assert (end.status, calls(executor)) == ("cancelled", [])


def test_what_waits_for_a_cap_when_its_run_is_cancelled_is_not_begun(world: Inline) -> None:
    executor = world.executor(caps=Caps(company_max=1))
    first, second = start(tell("a")), start(tell("b"), name="other", mode="shadow")
    world.begin(first, second)

    async def order(_: RunActivity) -> None:
        world.begin(cancel(second))
        drive(executor.loop.turn())

    executor.runner.during = order
    executor.settle()
    assert calls(executor) == [("a", 1)]
    cancelled, done = sorted(world.ends(), key=lambda end: end.status)
    assert (cancelled.execution_id, cancelled.status, done.status) == (
        second.execution_id,
        "cancelled",
        "success",
    )
    (step,) = cancelled.steps
    assert (step.status, step.error and step.error.code) == ("failed", "cancelled")
    (outcome,) = world.outcomes()
    assert (outcome.status, outcome.steps[0].status) == ("cancelled", "failed")


def test_a_cancellation_of_a_run_that_is_not_here_or_not_theirs_is_ignored(world: Inline) -> None:
    executor = world.executor()
    begun = start()
    world.begin(cancel(start(name="unknown")), begun, cancel(begun, company_id="globex"))
    executor.settle()
    world.begin(cancel(begun))
    executor.settle()
    assert [end.status for end in world.ends()] == ["success"]
    world.pass_time(executor, 2)
    assert world.inline_offset() == 4


# ---- shadow ------------------------------------------------------------------------------------------------------


def test_a_shadowed_run_says_what_each_step_did(world: Inline) -> None:
    executor = world.executor()
    flaky(world, executor, 1)
    owner: Json = {"id": "owner", "type": "resolve_owner", "class": "flow", "config": {}}
    begun = start(tell("a", retry=retry(2, "1s")), sleep("nap"), owner, tell("c", "fail", when="{{ false }}"),
                  tell("d", "fail"), mode="shadow")  # fmt: skip
    world.begin(begun)
    executor.settle()
    world.pass_time(executor, 10)
    (end,), (outcome,) = world.ends(), world.outcomes()
    assert (end.mode, end.status, outcome.status, outcome.is_cut) == ("shadow", "partial", "partial", False)
    assert outcome.at == end.at
    steps = {step.activity_id: step for step in outcome.steps}
    assert (steps["a"].attempts, steps["a"].input, steps["a"].output) == (
        2,
        Raw(b'{"to":"f-1"}'),
        Raw(b'"done"'),
    )
    assert (steps["nap"].status, steps["nap"].reason, steps["nap"].input) == ("skipped", "inline", UNSET)
    assert steps["owner"].error is not None
    assert (steps["c"].status, steps["c"].reason) == ("skipped", "when_false")
    assert (steps["d"].status, steps["d"].error and steps["d"].error.code) == ("failed", "no")
    (message,) = world.broker.messages(ENGINE_INBOX)
    assert message.partition == ids.engine_partition(begun.execution_id)
    first = world.said()[0]
    assert isinstance(first, Started)
    assert first.mode == "shadow"


def test_the_outcome_is_told_again_with_the_end(world: Inline) -> None:
    executor = world.executor()
    world.begin(start(mode="shadow"))
    executor.settle()
    world.begin(start(mode="shadow"))
    executor.settle()
    first, second = world.outcomes()
    assert first == second
    assert len(world.ends()) == 2
    assert len(executor.runner.calls) == 2


def test_an_outcome_too_large_for_one_message_is_cut_and_says_so(
    world: Inline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MESSAGE_BYTES_MAX", 4600)
    executor = world.executor()
    world.begin(start(tell("a", config={"text": "x" * 600}), mode="shadow"))
    executor.settle()
    (outcome,) = world.outcomes()
    assert outcome.is_cut
    assert [(step.activity_id, step.status, step.input, step.output) for step in outcome.steps] == [
        ("a", "success", UNSET, UNSET)
    ]


def test_an_inline_run_has_no_outcome_for_the_engine(world: Inline) -> None:
    executor = world.executor()
    world.begin(start())
    executor.settle()
    assert world.outcomes() == []


# ---- bounds ------------------------------------------------------------------------------------------------------


def pauses(executor: Executor) -> list[str]:
    seen: list[str] = []
    source = executor.loop.source
    pause, resume = source.pause, source.resume

    async def paused(partitions: Any) -> None:
        seen.extend(f"pause {at.topic}" for at in partitions)
        await pause(partitions)

    async def resumed(partitions: Any) -> None:
        seen.extend(f"resume {at.topic}" for at in partitions)
        await resume(partitions)

    source.pause, source.resume = paused, resumed  # type: ignore[method-assign]
    return seen


@pytest.mark.parametrize(
    ("limit", "value"), [("INLINE_RUNS_MAX", 4), ("INLINE_BYTES_MAX", 4000), ("INLINE_UNFINISHED_MAX", 4)]
)
def test_too_many_runs_in_hand_pause_their_partition_and_no_other(
    world: Inline, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(limits, limit, value)
    executor = world.executor(caps=Caps(total_max=1))
    seen = pauses(executor)
    world.begin(*(start(name=str(number)) for number in range(12)))
    world.send(*(activity(f"x{number}") for number in range(12)))
    executor.settle()
    world.pass_time(executor, 2)
    assert seen == [f"pause {INLINE}", f"resume {INLINE}"]
    assert len(world.ends()) == 12


def test_a_turn_begins_a_bounded_number_of_runs(world: Inline, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "INLINE_BEGUN_MAX", 3)
    executor = world.executor()
    world.begin(*(start(name=str(number)) for number in range(10)))
    executor.turn()
    assert len(world.said()) == 3
    executor.settle()
    assert len(world.ends()) == 10


def test_a_long_run_holds_back_the_offset_and_no_run_behind_it(world: Inline) -> None:
    executor = world.executor()
    flaky(world, executor, 1)
    short = tell("x", retry=retry(2, "1s"))
    world.begin(start(tell("a", retry=retry(2, "40s"))), *(start(short, name=str(n)) for n in range(5)))
    executor.settle()
    world.pass_time(executor, 5)
    assert len(world.ends()) == 5
    assert world.inline_offset() == 0
    world.pass_time(executor, 60)
    assert len(world.ends()) == 6
    assert world.inline_offset() == 6
