"""Which of the waiting may start: never above a cap, and nobody waits for a noisy neighbour."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from outlast_action_executor.core.caps import Caps, WaitingRoom
from outlast_action_executor.core.offsets import Offsets


class Call(NamedTuple):
    number: int
    company_id: str = "a"
    destination: str | None = None


def room(total: int = 4, company: int = 3, destination: int = 2) -> WaitingRoom[Call]:
    return WaitingRoom(Caps(total, company, destination))


def test_a_company_at_its_cap_leaves_room_for_another() -> None:
    waiting = room()
    for number in range(10):
        waiting.add(Call(number, "noisy"))
    waiting.add(Call(99, "quiet"))
    taken = waiting.take()
    assert [call.company_id for call in taken] == ["noisy", "quiet", "noisy", "noisy"]


def test_a_destination_at_its_cap_holds_back_only_itself() -> None:
    waiting = room()
    for number in range(4):
        waiting.add(Call(number, destination="slow:443"))
    waiting.add(Call(9, destination="fast:443"))
    assert [call.number for call in waiting.take()] == [0, 9, 1]
    waiting.release(Call(9, destination="fast:443"))
    assert waiting.take() == []
    waiting.release(Call(0, destination="slow:443"))
    assert [call.number for call in waiting.take()] == [2]


def test_first_come_first_served_within_a_company_and_destination() -> None:
    waiting = room(total=10, company=10)
    for number in range(5):
        waiting.add(Call(number))
    assert [call.number for call in waiting.take()] == [0, 1, 2, 3, 4]


def test_the_forgotten_are_not_started() -> None:
    waiting = room()
    for number in range(4):
        waiting.add(Call(number))
    waiting.forget(lambda call: call.number % 2 == 0)
    assert waiting.waiting == 2
    assert [call.number for call in waiting.take()] == [1, 3]


calls = st.builds(Call, st.integers(), st.sampled_from("abc"), st.sampled_from([None, "x:1", "y:1"]))
steps = st.lists(st.one_of(calls, st.integers(0, 30)), max_size=60)


@given(steps)
def test_caps_hold_and_everything_starts_in_the_end(script: list[Call | int]) -> None:
    caps = Caps(5, 3, 2)
    waiting: WaitingRoom[Call] = WaitingRoom(caps)
    running: list[Call] = []
    added = started = 0
    for step in script:
        if isinstance(step, Call):
            waiting.add(step)
            added += 1
        elif running:
            waiting.release(running.pop(step % len(running)))
        taken = waiting.take()
        started += len(taken)
        running += taken
        assert len(running) == waiting.running <= caps.total_max
        for company in "abc":
            assert sum(call.company_id == company for call in running) <= caps.company_max
        for destination in ("x:1", "y:1"):
            assert sum(call.destination == destination for call in running) <= caps.destination_max
    while running:
        waiting.release(running.pop())
        taken = waiting.take()
        started += len(taken)
        running += taken
    assert waiting.waiting == 0
    assert started == added


class Message:
    def __init__(self, offset: int) -> None:
        self.offset = offset
        self.is_done = False


@given(st.permutations(range(12)))
def test_the_next_offset_is_the_lowest_unfinished(order: list[int]) -> None:
    offsets = Offsets(100)
    messages = [Message(100 + number) for number in range(12)]
    for message in messages:
        assert offsets.take(message)
    done: set[int] = set()
    for number in order:
        messages[number].is_done = True
        done.add(number)
        lowest = next((n for n in range(12) if n not in done), 12)
        assert offsets.next_offset() == 100 + lowest
    assert len(offsets) == 0


def test_a_message_that_was_read_before_is_not_taken_twice() -> None:
    offsets = Offsets(5)
    assert not offsets.take(Message(4))
    assert offsets.take(Message(7))
    assert not offsets.take(Message(7))
    assert offsets.next_offset() == 7
