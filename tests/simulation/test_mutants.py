"""Each mechanism removed in turn: the simulation must find that something is wrong within a few seeds.

A mutant that lives means that the simulation is too weak, or that the mechanism is not needed. docs/mechanisms.md
lists them. Each test says which rule is broken, so that a mutant is caught for what it does and not by an accident.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import pytest

from outlast.contracts import topics
from outlast.contracts.topics import Claim, TopicPartition
from outlast.db.fence import Move, Owned
from outlast.db.local import LocalFence
from outlast.messaging.ports import Outgoing, Received
from outlast.runtime.loop import FencedLoop, Turn
from outlast.testing.faults import Rates
from outlast.testing.world import DISTURBANCES
from outlast_action_executor import loop as executor_loop
from outlast_action_executor.core.claim import Row
from outlast_action_executor.delivery import Delivery
from outlast_action_executor.inbound import Item
from outlast_action_executor.local import LocalLedger
from outlast_action_executor.ports import Committed, Group, Operation
from outlast_engine.work import EngineWork
from outlast_finalizer.outbound import Ended
from outlast_finalizer.work import FinalizerWork
from outlast_trigger_matcher.core.rows import Dispatch
from tests.simulation.caught import LOSSY, assert_caught
from tests.simulation.poison import KILLER
from tests.simulation.receiver import Beside
from tests.simulation.run import simulate
from tests.simulation.scenario import Scenario
from tests.simulation.setting import INLINE
from tests.simulation.system import Parts, System
from tests.stores.memory_matcher import MemoryMatcherStore

ZOMBIES = Rates(weights={"zombie": 30})
"""Members go on with what they have lost."""


def only(service: str, disturbance: int, **weights: int) -> Rates:
    """These disturbances and no others, of processes of this service, so many steps apart."""
    named = {kind: weights.get(kind.replace(" ", "_"), 0) for kind in DISTURBANCES}
    return Rates(disturbance=disturbance, weights=named, services=frozenset({service}))


LATE = only("action_executor", 15, freeze=1)
"""Executors stand still until their claims are past their deadlines, and then go on."""
CROWDED = only("action_executor", 10, zombie=2, rebalance=1)
"""Executors are given what others are still calling."""
FLAKY = only("trigger_matcher", 4, platform_outage=1, rebalance=5)
"""Partitions change hands while what they need is away."""


# ---- rule 6: one owner a partition, fenced in the database -----------------------------------------------------


class NoFence(LocalFence):
    """Offsets move for whoever asks."""

    def check(self, moves: Sequence[Move]) -> None:
        """Never fenced."""

    def apply(self, moves: Sequence[Move]) -> None:
        super().apply([move for move in moves if move.at in self.rows])


def test_no_fence_a_zombie_writes_beside_the_new_owner():
    assert_caught(Parts(fence=NoFence), "one writer")


def test_no_fence_and_no_unique_sequence_histories_have_two_writers():
    def let_anybody_write(system: System) -> None:
        system.stale_writes = _Forgetful()  # the referee is blind: only the consequences count
        system.histories.has_unique_sequences = False

    assert_caught(Parts(fence=NoFence, system=let_anybody_write), "gapless", "one outcome", rates=ZOMBIES)


class _Forgetful(list[str]):
    def __iadd__(self, other: object) -> "_Forgetful":  # type: ignore[override,misc]
        return self


class OneTopicForEver(LocalFence):
    """The topic's id is not looked at: an offset of a lost topic is taken for one of the new."""

    async def acquire(self, claims: Sequence[Claim]) -> list[Owned]:
        return await super().acquire([Claim(claim.at, "same") for claim in claims])


def test_topic_id_ignored_offsets_of_a_lost_topic_count_in_the_new_one():
    assert_caught(Parts(fence=OneTopicForEver), "stuck", "fires", rates=LOSSY)


class NoForgetting(EngineWork):
    """States are kept over a change of owner and over a failed commit."""

    def forget(self, partitions: Collection[TopicPartition]) -> None:
        """Nothing."""


def test_states_not_evicted_on_failure_what_is_kept_is_not_what_is_stored():
    assert_caught(Parts(engine=NoForgetting), "replay")


class NoSuspicion(LocalFence):
    """Nobody counts how often a partition was acquired at one offset."""

    async def acquire(self, claims: Sequence[Claim]) -> list[Owned]:
        return [each._replace(acquisitions=1) for each in await super().acquire(claims)]


def test_acquisitions_not_counted_a_message_that_kills_its_reader_stops_the_partition():
    def send_killer(system: System) -> None:
        system.send_poison(Outgoing(topics.ENGINE_INBOX, KILLER, b"k", 2))

    assert_caught(Parts(fence=NoSuspicion, system=send_killer), "stuck")


# ---- rule 3: what is outstanding is derived ----------------------------------------------------------------------


class PendingNotStored(LocalFence):
    """The last batch's ids are not in the partition row."""

    def apply(self, moves: Sequence[Move]) -> None:
        super().apply([move._replace(pending=()) for move in moves])


def test_pending_not_stored_a_death_between_commit_and_emit_loses_messages():
    assert_caught(Parts(fence=PendingNotStored), "stuck")


class PendingNotDerived(FencedLoop):
    """A new owner does not look at what the old one may not have said."""

    async def _derive_inherited(self) -> None:
        self._inherited.clear()


def test_pending_not_derived_a_new_owner_keeps_silent_about_the_old_ones_batch():
    assert_caught(Parts(loop=PendingNotDerived), "stuck")


class PendingOverwritten(FencedLoop):
    """The next batch commits, and overwrites `pending`, before the last one's messages are delivered."""

    async def _settle(self) -> None:
        self._unflushed = []


def test_offset_before_ack_in_the_loop_pending_is_overwritten_while_messages_are_under_way():
    assert_caught(Parts(loop=PendingOverwritten), "stuck")


class NoWalk(FencedLoop):
    """Nothing is said again after the broker's data was lost."""

    async def _rederive_page(self) -> None:
        for owned in self._owned.values():
            owned.rederive_after = None


def test_no_walk_after_the_loss_of_the_broker_runs_wait_for_ever():
    assert_caught(Parts(loop=NoWalk), "stuck")


class UnknownAfterCommit(FencedLoop):
    """Answers that no row implies are said with the rest, after the commit."""

    async def _say_first(self, turn: Turn) -> None:
        turn.outgoing += turn.answers
        turn.answers = []
        if turn.dead:
            await super()._say_first(turn)


def unknowns_lost_until_engines_are_killed(parts: Parts) -> set[str]:
    """Starts are lost with the broker; the answers to the probes for them are on their way when the engines die."""
    scenario = Scenario(parts)
    scenario.run(50)
    scenario.stop("engine")
    scenario.system.send_events(20)
    scenario.run()
    scenario.lose_broker()
    scenario.lose("unknown.v1")
    scenario.go_on("engine")
    scenario.run()
    scenario.kill("engine")
    return scenario.broken_rules()


def test_unknown_said_after_the_commit_a_start_that_was_lost_is_never_sent_again():
    assert not unknowns_lost_until_engines_are_killed(Parts())
    assert "stuck" in unknowns_lost_until_engines_are_killed(Parts(loop=UnknownAfterCommit))


# ---- rule 2: answer it again -------------------------------------------------------------------------------------


class SilentFinalizer(FinalizerWork):
    """A run that was recorded before is not answered again."""

    async def decide(self, messages: Sequence[Received]) -> Turn:
        turn = await super().decide(messages)
        known = await self._store.finished(list(turn.changes.ended))  # type: ignore[attr-defined]
        for execution_id in known:
            del turn.changes.ended[execution_id]  # type: ignore[attr-defined]
        return turn


def test_silence_of_the_finalizer_a_lost_answer_leaves_rows_open():
    assert_caught(Parts(finalizer=SilentFinalizer), "stuck", rates=LOSSY)


class SilentEngine(EngineWork):
    """A start that came again and a probe for a known run are not answered."""

    def _say(self, changes, turn, before, answered) -> None:  # type: ignore[no-untyped-def]
        super()._say(changes, turn, before, {})


def test_silence_of_the_engine_a_probe_for_a_known_run_leaves_its_dispatch_open():
    assert_caught(Parts(engine=SilentEngine), "stuck", rates=LOSSY)


def test_silence_of_the_executor_a_run_waits_for_a_result_that_is_in_the_ledger(
    monkeypatch: pytest.MonkeyPatch,
):
    def nothing(activity: object, row: Row) -> Outgoing:
        return Outgoing("nowhere", b"", None, 0)

    monkeypatch.setattr(executor_loop.outbound, "answer", nothing)
    assert_caught(Parts(), "stuck")


class NeverBare(FinalizerWork):
    """A record without its payload is answered like a whole one."""

    async def commit(self, turn: Turn, moves: Sequence[Move]) -> None:
        store, self._store = self._store, _Whole(self._store)
        try:
            await super().commit(turn, moves)
        finally:
            self._store = store

    async def derive(self, at: TopicPartition, pending: Sequence[str]) -> list[Outgoing]:
        store, self._store = self._store, _Whole(self._store)
        try:
            return await super().derive(at, pending)
        finally:
            self._store = store


class _Whole:
    def __init__(self, store: object) -> None:
        self._store = store

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    async def commit(self, changes: object, moves: object) -> object:
        return replace(await self._store.commit(changes, moves), bare=())  # type: ignore[attr-defined]

    async def finished(self, execution_ids: Collection[str]) -> Mapping[str, Ended]:
        found = await self._store.finished(execution_ids)  # type: ignore[attr-defined]
        return {each: ended._replace(has_payload=True) for each, ended in found.items()}


def payloads_are_lost_before_they_are_read(parts: Parts) -> set[str]:
    """First messages of inline runs, which bring the payloads, go with their topic; runs in hand end after it."""
    scenario = Scenario(parts, INLINE)
    scenario.run(50)
    scenario.stop("finalizer")
    scenario.system.send_events(60)
    scenario.run()
    scenario.lose_topic(topics.LIFECYCLE)
    return scenario.broken_rules()


def test_payload_not_asked_for_a_record_stays_without_what_was_lost_with_the_broker():
    assert not payloads_are_lost_before_they_are_read(Parts())
    assert "record" in payloads_are_lost_before_they_are_read(Parts(finalizer=NeverBare))


# ---- rule 1: a run is born in one place --------------------------------------------------------------------------


class NoDeduplication(MemoryMatcherStore):
    """Every event is new, and nothing is unique."""

    def __init__(self, intake: LocalFence, lanes: LocalFence) -> None:
        super().__init__(intake, lanes)
        self._firings = _Never()

    def is_new(self, key: tuple[str, str, str]) -> bool:
        return True


class _Never(set[tuple[str, str, str, str, str]]):
    def __contains__(self, _: object) -> bool:
        return False


def test_events_not_deduplicated_an_event_that_comes_twice_fires_twice():
    assert_caught(Parts(matcher_store=NoDeduplication), "fires")


class BirthLost(MemoryMatcherStore):
    """The start is not in the row: it can not be sent again."""

    async def rows(self, execution_ids: Collection[str]) -> Sequence[Dispatch]:
        return []


def test_start_not_kept_in_its_row_a_start_that_was_not_delivered_is_lost():
    assert_caught(Parts(matcher_store=BirthLost), "stuck")


# ---- rule 4: claim before you call -------------------------------------------------------------------------------


class NoClaim(LocalLedger):
    """Nobody looks up and nobody is refused: actions are called without asking the ledger."""

    async def look_up(self, operations: Sequence[Operation]) -> Sequence[Sequence[Row]]:
        return [() for _ in operations]

    async def commit(self, group: Group) -> Committed:
        committed = await super().commit(group)
        return Committed([True] * len(committed.settled), [True] * len(committed.claimed))


def test_no_claim_an_action_whose_result_is_recorded_is_called_again():
    assert_caught(Parts(ledger=NoClaim), "repeated after its record", "repeated")


class NobodyLives(LocalLedger):
    """A claim of a living instance is taken for a dead one."""

    async def look_up(self, operations: Sequence[Operation]) -> Sequence[Sequence[Row]]:
        found = await super().look_up(operations)
        return [[row._replace(is_dead=True) for row in rows] for rows in found]


def test_live_claims_not_respected_two_executors_call_one_action():
    assert_caught(Parts(ledger=NobodyLives), "repeated", rates=CROWDED)


class LastWordWins(LocalLedger):
    """A result is recorded whoever holds the claim and whatever is recorded already."""

    def _is_settleable(self, settlement: object) -> bool:
        return True


def test_results_not_compared_and_set_the_history_has_another_outcome_than_the_ledger():
    assert_caught(Parts(ledger=LastWordWins), "outcome", "one outcome", rates=LATE)


def results_lost_until_executors_are_killed() -> set[str]:
    """The results are on their way for longer than it takes to store an offset, and then their senders die."""
    scenario = Scenario(Parts(concurrency=lambda world: Beside(world.faults, world.random)))
    scenario.lose("activity_result.v1")
    scenario.system.send_events(20)
    scenario.run()
    scenario.kill("action_executor")
    return scenario.broken_rules()


def test_offset_before_ack_in_the_executor_a_result_on_its_way_is_lost(monkeypatch: pytest.MonkeyPatch):
    assert not results_lost_until_executors_are_killed()
    send: Callable[[Delivery, Sequence[Item], Outgoing], None] = Delivery.send

    def pass_at_once(self: Delivery, items: Sequence[Item], outgoing: Outgoing) -> None:
        send(self, items, outgoing)
        for item in items:
            item.is_done = True

    monkeypatch.setattr(Delivery, "send", pass_at_once)
    assert "stuck" in results_lost_until_executors_are_killed()


# ---- the loop: bad messages --------------------------------------------------------------------------------------


class NoBisection(FencedLoop):
    """A batch with one bad message goes to the dead letters as a whole."""

    async def _split(self, messages: Sequence[Received], fault: Exception) -> None:
        self._work.forget(list(self._owned))
        empty = await self._work.decide(())
        empty.dead += [(message, fault) for message in messages]
        await self._store(messages, empty)


def test_no_bisection_good_messages_are_buried_with_the_bad_one():
    assert_caught(Parts(loop=NoBisection), "dead letters")


class BuriedLate(FencedLoop):
    """Dead letters are said after the offset has moved."""

    async def _say_first(self, turn: Turn) -> None:
        await super()._say_first(Turn(None, answers=turn.answers))
        self._late = turn.dead

    def _emit(self, turn: Turn) -> None:
        late, self._late = getattr(self, "_late", []), []
        super()._emit(turn)
        for message, _ in late:
            self._sink.send([Outgoing(f"{self._service}.dead_letters", message.value, message.key, 0)])

    async def _settle(self) -> None:
        if self._unflushed:
            await super()._settle()


def test_dead_letters_after_the_offset_a_death_in_between_loses_the_evidence():
    assert_caught(Parts(loop=BuriedLate), "dead letters")


class EveryAttemptIsADeath(FencedLoop):
    """Attempts that the process outlived count as deaths."""

    async def _take_back_attempts(self) -> None:
        self._outlived.clear()


def test_attempts_outlived_are_not_told_from_deaths_a_good_message_is_buried():
    assert_caught(Parts(loop=EveryAttemptIsADeath), "dead letters", rates=FLAKY)


WORLDS = {"any": None, "lossy": LOSSY, "zombies": ZOMBIES, "late": LATE, "crowded": CROWDED, "flaky": FLAKY}


@pytest.mark.parametrize("world", WORLDS)
def test_a_world_with_every_mechanism_in_place_is_not_caught(world: str):
    for seed in range(4):
        outcome = simulate(seed, WORLDS[world])
        assert not outcome.violations, outcome.explain()
