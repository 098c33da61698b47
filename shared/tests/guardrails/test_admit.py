"""What the gate advises to one runbook's firings: windows, slots, queues, and the same answer to the same ask."""

import random
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast import limits
from outlast.contracts.guarding import Ask, GateRequest, Release, Slot, Verdict, Window
from outlast.guardrails.admit import admit
from outlast.guardrails.guards import HOLDER, QUEUE, SKIPPED, WINDOW, Guards, Place
from outlast.guardrails.shelf import Row

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def request(asks: Iterable[Ask] = (), releases: Iterable[Release] = ()) -> GateRequest:
    return GateRequest(company_id="acme", runbook_id="rb", lane=0, asks=tuple(asks), releases=tuple(releases))


class Gate:
    """One runbook's guards with their rows, as the service keeps them."""

    def __init__(self) -> None:
        self.guards = Guards()
        self.rows: dict[Place, Row] = {}

    def ask(self, *asks: Ask, now: float = 0) -> dict[str, Verdict]:
        return self.handle(request(asks), now)

    def release(self, key: str, *ids: str) -> dict[str, Verdict]:
        return self.handle(request(releases=[Release(id=each, key=key) for each in ids]))

    def handle(self, message: GateRequest, now: float = 0) -> dict[str, Verdict]:
        verdicts = admit(self.guards, message, at(now))
        assert len({each.id for each in verdicts}) == len(verdicts)
        for place, row in self.guards.changes():
            if row is None:
                del self.rows[place]
            else:
                self.rows[place] = row
        return {each.id: each for each in verdicts}

    def ids(self, kind: str, key: str) -> list[str]:
        return [entry.id for entry in self.guards.read(kind, key) or ()]  # type: ignore[arg-type]


def slotted(name: str, seconds: float = 0, **slot: object) -> Ask:
    return Ask(id=name, at=at(seconds), slot=Slot(key="k", **slot))  # type: ignore[arg-type]


def windowed(name: str, seconds: float, limit: int = 1, per: float = 60) -> Ask:
    return Ask(id=name, at=at(seconds), windows=(Window(key="w", limit=limit, seconds=per),))


def words(verdicts: dict[str, Verdict]) -> dict[str, str]:
    return {name: each.reason or each.verdict for name, each in verdicts.items()}


# ---- windows ----------------------------------------------------------------------------------------------------


def test_a_window_lets_its_limit_pass_and_says_why_the_next_may_not() -> None:
    gate = Gate()
    assert words(gate.ask(windowed("a", 0, 2), windowed("b", 30, 2))) == {"a": "admitted", "b": "admitted"}
    assert gate.ask(windowed("c", 59, 2))["c"] == Verdict(
        id="c", verdict="skipped", reason="throttled", detail="2 in 60 s"
    )
    assert words(gate.ask(windowed("d", 60, 2))) == {"d": "admitted"}


def test_what_comes_late_counts_what_is_later_than_itself() -> None:
    gate = Gate()
    gate.ask(windowed("later", 30))
    assert words(gate.ask(windowed("late", 10))) == {"late": "throttled"}
    assert words(gate.ask(windowed("much_earlier", -31))) == {"much_earlier": "throttled"}


def test_a_firing_is_entered_in_all_its_windows_or_in_none() -> None:
    gate = Gate()
    hour, day = Window(key="w0", limit=3, seconds=3600), Window(key="w1", limit=1, seconds=86_400)
    gate.ask(Ask(id="a", at=at(0), windows=(day,)))
    both = Ask(id="b", at=at(1), windows=(hour, day))
    assert gate.ask(both)["b"].detail == "1 in 86400 s"
    assert gate.ids(WINDOW, "w0") == []


def test_a_firing_that_finds_no_slot_and_may_not_wait_uses_up_no_window() -> None:
    gate = Gate()
    gate.ask(slotted("holder"))
    window = (Window(key="w", limit=1, seconds=60),)
    gate.ask(Ask(id="a", at=at(1), windows=window, slot=Slot(key="k", on_conflict="skip")))
    assert words(gate.ask(Ask(id="b", at=at(2), windows=window))) == {"b": "admitted"}


def test_one_that_waits_has_used_its_window() -> None:
    gate = Gate()
    gate.ask(slotted("holder"))
    window = (Window(key="w", limit=1, seconds=60),)
    assert words(gate.ask(Ask(id="a", at=at(1), windows=window, slot=Slot(key="k")))) == {"a": "queued"}
    assert words(gate.ask(Ask(id="b", at=at(2), windows=window))) == {"b": "throttled"}


def test_a_short_window_still_knows_whom_it_let_pass_a_moment_ago() -> None:
    gate = Gate()
    for second in range(30):
        assert words(gate.ask(windowed(f"f{second}", second, 1, 1))) == {f"f{second}": "admitted"}
    assert words(gate.ask(windowed("f0", 0, 1, 1))) == {"f0": "admitted"}


asks_of_windows = st.lists(
    st.tuples(st.integers(0, 40), st.integers(0, 2)), min_size=1, max_size=40
)  # second, key


@given(asks_of_windows, st.integers(1, 3), st.integers(1, 3), st.randoms(use_true_random=False))
def test_no_stretch_gets_more_than_its_limit_in_whatever_order_and_how_often_they_ask(
    drawn: list[tuple[int, int]], limit: int, wide_limit: int, chance: random.Random
) -> None:
    def ask(number: int) -> Ask:
        second, key = drawn[number]
        windows = (
            Window(key=f"w0:{key}", limit=limit, seconds=5),
            Window(key="w1", limit=wide_limit, seconds=20),
        )
        return Ask(id=f"f{number}", at=at(second), windows=windows)

    order = list(range(len(drawn))) * 2
    chance.shuffle(order)
    gate, admitted, answers = Gate(), set[int](), dict[int, str]()
    while order:
        batch = [order.pop() for _ in range(min(len(order), chance.randint(1, 5)))]
        verdicts = gate.ask(*map(ask, batch))
        for number in batch:
            word = verdicts[f"f{number}"].verdict
            assert answers.setdefault(number, word) == word, "expected the same answer to the same ask"
            if word == "admitted":
                admitted.add(number)
    for key in range(3):
        of_key = [drawn[number][0] for number in admitted if drawn[number][1] == key]
        assert most_in_a_stretch(of_key, 5) <= limit
    assert most_in_a_stretch([drawn[number][0] for number in admitted], 20) <= wide_limit


def most_in_a_stretch(seconds: Sequence[int], length: int) -> int:
    return max((sum(begin <= each < begin + length for each in seconds) for begin in seconds), default=0)


@given(st.lists(st.integers(0, 60), max_size=40), st.integers(1, 4))
def test_asks_in_their_order_get_all_that_the_window_allows(seconds: list[int], limit: int) -> None:
    gate, passed = Gate(), list[int]()
    for number, second in enumerate(sorted(seconds)):
        is_allowed = sum(each > second - 10 for each in passed) < limit
        word = gate.ask(windowed(f"f{number}", second, limit, 10))[f"f{number}"].verdict
        assert (word == "admitted") is is_allowed
        if is_allowed:
            passed.append(second)


# ---- slots ------------------------------------------------------------------------------------------------------


def test_a_slot_is_held_until_its_release_and_then_goes_to_the_first_who_waits() -> None:
    gate = Gate()
    assert words(gate.ask(slotted("a", 0), slotted("b", 1), slotted("c", 2))) == {
        "a": "admitted",
        "b": "queued",
        "c": "queued",
    }
    assert words(gate.release("k", "a")) == {"b": "admitted"}
    assert words(gate.release("k", "a")) == {}
    assert words(gate.release("k", "b")) == {"c": "admitted"}


def test_who_came_first_goes_first_though_its_ask_was_late() -> None:
    gate = Gate()
    gate.ask(slotted("a", 0), slotted("c", 2))
    gate.ask(slotted("b", 1))
    assert words(gate.release("k", "a")) == {"b": "admitted"}


def test_a_release_before_an_ask_in_one_message_makes_room_for_it_unless_somebody_waits() -> None:
    gate = Gate()
    gate.ask(slotted("a", 0))
    free = request([slotted("b", 1)], [Release(id="a", key="k")])
    assert words(gate.handle(free)) == {"b": "admitted"}
    gate.ask(slotted("c", 2))
    taken = request([slotted("d", 3)], [Release(id="b", key="k")])
    assert words(gate.handle(taken)) == {"c": "admitted", "d": "queued"}


def test_nobody_overtakes_who_waits_when_the_limit_is_raised() -> None:
    gate = Gate()
    gate.ask(slotted("a", 0), slotted("b", 1))
    assert words(gate.ask(slotted("c", 2, limit=2))) == {"c": "queued"}
    assert words(gate.release("k", "a")) == {"b": "admitted", "c": "admitted"}


def test_who_waits_can_leave_the_queue() -> None:
    gate = Gate()
    gate.ask(slotted("a", 0), slotted("b", 1), slotted("c", 2))
    assert words(gate.release("k", "b")) == {}
    assert words(gate.release("k", "a")) == {"c": "admitted"}


def test_who_may_not_wait_is_skipped_and_told_the_same_when_the_slot_is_free_again() -> None:
    gate = Gate()
    gate.ask(slotted("a", 0))
    ask = slotted("b", 1, on_conflict="skip")
    assert gate.ask(ask)["b"] == Verdict(id="b", verdict="skipped", reason="slot_taken", detail="1 of 1")
    gate.release("k", "a")
    assert words(gate.ask(ask)) == {"b": "slot_taken"}
    assert words(gate.ask(slotted("c", 2, on_conflict="skip"))) == {"c": "admitted"}


def test_a_full_queue_takes_no_more() -> None:
    gate = Gate()
    asks = [slotted(name, number, queue_limit=2) for number, name in enumerate("abcd")]
    assert words(gate.ask(*asks)) == {"a": "admitted", "b": "queued", "c": "queued", "d": "queue_full"}
    assert words(gate.ask(asks[3]))["d"] == "queue_full"
    assert gate.ids(QUEUE, "k") == ["b", "c"]


def test_a_run_that_goes_on_passes_no_window_is_never_skipped_and_goes_before_those_that_came_later() -> None:
    gate = Gate()
    first = Ask(
        id="a", at=at(0), slot=Slot(key="k", queue_limit=1), windows=(Window(key="w", limit=1, seconds=60),)
    )
    gate.ask(first)
    gate.release("k", "a")
    gate.ask(slotted("b", 1, queue_limit=1), slotted("c", 2, queue_limit=1))
    resuming = Ask(id="a", at=at(0), slot=Slot(key="k", on_conflict="skip", queue_limit=1), is_resuming=True)
    assert words(gate.ask(resuming)) == {"a": "queued"}
    assert words(gate.release("k", "b")) == {"a": "admitted"}


def test_a_firing_that_the_dispatch_could_not_place_leaves_and_is_taken_again_when_it_asks() -> None:
    gate = Gate()
    ask = Ask(id="a", at=at(0), slot=Slot(key="k"), windows=(Window(key="w", limit=1, seconds=60),))
    assert words(gate.ask(ask)) == {"a": "admitted"}
    gate.release("k", "a")
    assert words(gate.ask(ask)) == {"a": "admitted"}


def test_a_slot_found_taken_again_names_who_holds_it_so_that_a_lost_release_is_sent_again() -> None:
    gate = Gate()
    gate.ask(slotted("ghost", 0), slotted("b", 1))
    assert words(gate.ask(slotted("b", 1))) == {"b": "queued", "ghost": "admitted"}
    assert words(gate.ask(slotted("c", 2, on_conflict="skip"))) == {"c": "slot_taken", "ghost": "admitted"}
    assert words(gate.release("k", "ghost")) == {"b": "admitted"}


def test_a_queue_found_full_names_who_holds_the_slot_so_that_ghosts_in_it_leave_one_after_the_other() -> None:
    gate = Gate()
    gate.ask(slotted("ghost", 0, queue_limit=1), slotted("another", 1, queue_limit=1))
    assert words(gate.ask(slotted("c", 2, queue_limit=1))) == {"c": "queue_full", "ghost": "admitted"}
    assert words(gate.release("k", "ghost")) == {"another": "admitted"}
    assert words(gate.release("k", "another")) == {}
    assert words(gate.ask(slotted("d", 3, queue_limit=1))) == {"d": "admitted"}


def test_keys_do_not_know_each_other() -> None:
    gate = Gate()
    one, two = Slot(key="1"), Slot(key="2")
    verdicts = gate.ask(Ask(id="a", at=at(0), slot=one), Ask(id="b", at=at(0), slot=two))
    assert words(verdicts) == {"a": "admitted", "b": "admitted"}


steps = st.lists(st.tuples(st.sampled_from(["ask", "release"]), st.integers(0, 14)), max_size=120)


@given(steps, st.integers(1, 3))
def test_slots_are_never_over_admitted_and_given_out_in_order_whatever_is_repeated(
    drawn: list[tuple[str, int]], limit: int
) -> None:
    gate = Gate()
    for what, number in drawn:
        waited = gate.ids(QUEUE, "k")
        if what == "ask":
            verdicts = gate.ask(slotted(f"f{number:02}", number % 7, limit=limit))
        else:
            verdicts = gate.release("k", f"f{number:02}")
            waited = [each for each in waited if each != f"f{number:02}"]
        holders, queue = gate.ids(HOLDER, "k"), gate.ids(QUEUE, "k")
        assert len(holders) <= limit
        assert not set(holders) & set(queue)
        assert not queue or len(holders) == limit, "expected no free slot while somebody waits"
        called = [each for each in waited if each not in queue]
        assert called == waited[: len(called)], "expected the first who wait to be called first"
        assert all(verdicts[each].verdict == "admitted" for each in called)


# ---- what is stored ---------------------------------------------------------------------------------------------


@given(steps, st.integers(1, 3), st.randoms(use_true_random=False))
def test_rows_read_back_at_any_moment_go_on_as_if_nothing_had_happened(
    drawn: list[tuple[str, int]], limit: int, chance: random.Random
) -> None:
    live, reread = Gate(), Gate()
    for what, number in drawn:
        name = f"f{number:02}"
        windows = (Window(key="w", limit=5, seconds=3),)
        conflict = "skip" if number % 3 == 0 else "queue"
        ask = Ask(
            id=name, at=at(number), windows=windows, slot=Slot(key="k", limit=limit, on_conflict=conflict)
        )
        message = request([ask]) if what == "ask" else request(releases=[Release(id=name, key="k")])
        assert live.handle(message) == reread.handle(message)
        if chance.random() < 0.3:
            reread.guards = Guards(reread.rows)
    assert entries(live) == entries(reread)


def entries(gate: Gate) -> set[tuple[str, str, object]]:
    return {(place.kind, place.key, entry) for place, row in gate.rows.items() for entry in row.entries}


def test_a_change_of_a_long_queue_writes_a_small_row_or_two() -> None:
    gate = Gate()
    gate.ask(*(slotted(f"f{number:05}", number, queue_limit=5_000) for number in range(3_000)))
    assert max(len(row.entries) for row in gate.rows.values()) <= limits.GATE_ROW_ENTRIES_MAX
    before = dict(gate.rows)
    assert words(gate.release("k", "f00000")) == {"f00001": "admitted"}
    assert len(set(before.items()) ^ set(gate.rows.items())) <= 4


def test_a_window_keeps_what_counts_and_little_more() -> None:
    gate = Gate()
    for second in range(0, 100_000, 100):
        gate.ask(windowed(f"f{second}", second, 10, 60), now=second)
    assert len(gate.ids(WINDOW, "w")) <= 10 + 11


@pytest.mark.parametrize("kind", [WINDOW, SKIPPED])
def test_keys_that_nobody_asks_for_any_more_are_forgotten(kind: str) -> None:
    gate = Gate()
    gate.ask(slotted("holder"))
    for number in range(50):
        window = (Window(key=f"w{number}", limit=1, seconds=60),) if kind == WINDOW else ()
        slot = None if window else Slot(key=f"k{number}", on_conflict="skip")
        if slot is not None:
            gate.ask(Ask(id=f"h{number}", at=at(0), slot=slot))
            gate.release(slot.key, f"h{number}x")
        gate.ask(Ask(id=f"f{number}", at=at(0), windows=window, slot=slot))
    assert sum(place.kind == kind for place in gate.rows) == 50
    for number in range(200):
        gate.ask(windowed(f"n{number}", 8_000, 1_000, 60), now=8_000)
    assert sum(place.kind == kind and place.key != "w" for place in gate.rows) == 0
    assert gate.ids(HOLDER, "k") == ["holder"]
