"""Whatever is said, in whatever order and however often: no slot and no window is given out beyond its limit."""

from datetime import UTC, datetime, timedelta
from functools import partial

from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from outlast.contracts.guarding import Slot, Verdict, Window
from outlast.contracts.messages import EventReference, RunbookReference, Start
from outlast_trigger_matcher.core.board import Board, Standing
from outlast_trigger_matcher.core.rows import UNSENT, WITHHELD, Dispatch, Guard

BEGIN = datetime(2026, 1, 5, tzinfo=UTC)
NAMES = tuple("abcdefgh")
LIMIT, WINDOW_LIMIT, WINDOW_SECONDS = 2, 3, 60
ACTIVE = Standing()


def row(name: str, number: int) -> Dispatch:
    start = Start(
        execution_id=name, company_id="acme", runbook=RunbookReference(id="rb", name="rb", version=1, sha256="x"),
        event=EventReference(source="s", id=name, type="finding_created", time=BEGIN), mode="workflow", lane=0,
        payload=Raw(b"{}"), definition=Raw(b"{}"),
    )  # fmt: skip
    guard = Guard(
        windows=(Window(key="w", limit=WINDOW_LIMIT, seconds=WINDOW_SECONDS),),
        slot=Slot(key="k", limit=LIMIT, on_conflict="queue" if number % 4 else "skip"),
        queue_age_seconds=30,
        releases_slot=True,
    )
    received_at = BEGIN + timedelta(seconds=20 * (number * 5 % len(NAMES)))  # not in the order of their names
    return Dispatch(
        start=start, status="requested", received_at=received_at, changed_at=received_at, guard=guard, asked_at=BEGIN
    )  # fmt: skip


def standing(_company: str, _runbook: str) -> Standing:
    return ACTIVE


def advised(name: str, verdict: str) -> partial[None]:
    return partial(Board.advise, verdict=Verdict(id=name, verdict=verdict), standing=standing)


WORDS = st.one_of(
    st.builds(advised, st.sampled_from(NAMES), st.sampled_from(("admitted", "admitted", "queued", "skipped"))),
    st.builds(partial, st.just(Board.finish), execution_id=st.sampled_from(NAMES)),
    st.builds(partial, st.just(Board.wait), execution_id=st.sampled_from(NAMES), seq=st.integers(1, 6)),
    st.builds(partial, st.just(Board.resume), execution_id=st.sampled_from(NAMES), seq=st.integers(1, 6)),
    st.builds(partial, st.just(Board.expire), execution_id=st.sampled_from(NAMES)),
    st.builds(partial, st.just(Board.suppress), execution_id=st.sampled_from(NAMES), reason=st.just("inactive")),
    st.builds(
        partial, st.just(Board.cancel), execution_id=st.sampled_from(NAMES), company_id=st.just("acme"),
        order=st.just(b""), by=st.just("eve"), reason=st.just(""),
    ),
)  # fmt: skip


@given(st.lists(WORDS, max_size=60))
def test_no_slot_and_no_window_is_given_out_beyond_its_limit_and_nobody_who_ended_holds_one(
    words: list[partial[None]],
) -> None:
    board = Board([row(name, number) for number, name in enumerate(NAMES)], {}, {}, BEGIN)
    for number, word in enumerate(words):
        before = dict(board.rows)
        board.now = BEGIN + timedelta(seconds=number)
        word(board)
        holders = [each for each in board.rows.values() if each.has_slot]
        assert len(holders) <= LIMIT
        assert board.held.get(("acme", "rb", "k"), 0) == len(holders)
        assert all(each.status == "sent" for each in holders)
        for name, old in before.items():
            new = board.rows[name]
            assert new.version >= old.version
            assert (new is old) == (new.version == old.version)
            if old.status in WITHHELD:
                assert new.status == old.status
            if old.status == "sent":
                assert new.status == "sent"
    entries = sorted(entry.at for entry in board.admissions)
    for at in entries:
        stretch = [each for each in entries if at - timedelta(seconds=WINDOW_SECONDS) < each <= at]
        assert len(stretch) <= WINDOW_LIMIT
    passed = {name for name, each in board.rows.items() if each.status in ("sent", "queued")}
    assert passed <= {entry.execution_id for entry in board.admissions}


@given(st.lists(WORDS, max_size=40))
def test_everything_said_twice_is_everything_said_once(words: list[partial[None]]) -> None:
    once, twice = (
        Board([row(name, number) for number, name in enumerate(NAMES)], {}, {}, BEGIN) for _ in range(2)
    )
    for word in words:
        word(once)
        word(twice)
        word(twice)
    for name in NAMES:
        assert _essence(once.rows[name]) == _essence(twice.rows[name])
    assert once.held == twice.held
    assert once.admissions == twice.admissions


def _essence(each: Dispatch) -> tuple[object, ...]:
    return (each.status, each.reason, each.has_slot, each.resuming_seq, each.granted_seq, each.cancel)


@given(st.permutations(NAMES))
def test_when_everybody_asks_and_ends_every_slot_is_free_again(order: list[str]) -> None:
    board = Board([row(name, number) for number, name in enumerate(NAMES)], {}, {}, BEGIN)
    for _ in NAMES:
        for name in order:
            advised(name, "admitted")(board)
        for name in [each.id for each in board.rows.values() if each.has_slot]:
            board.finish(name)
    assert board.held[("acme", "rb", "k")] == 0
    assert not any(each.status in UNSENT for each in board.rows.values())
    assert all(not each.has_slot for each in board.rows.values())
