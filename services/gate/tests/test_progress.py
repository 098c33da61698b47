"""Liveness by offsets: a lane that has requests and answers none is not alive."""

from outlast_gate.core.progress import Progress


def test_a_lane_that_answers_is_never_idle_however_far_behind() -> None:
    progress = Progress()
    for second in range(100):
        progress.done(0, second)
        progress.look({0: 1_000_000}, second)
    assert progress.idle_seconds(99) == 0


def test_a_lane_with_requests_and_no_answers_is_idle_since_it_was_first_seen_so() -> None:
    progress = Progress()
    progress.begin({0: 5, 1: 5})
    for second in (10, 12, 14):
        progress.done(1, second)
        progress.look({0: 6, 1: 20}, second)
    assert progress.idle_seconds(14) == 4
    progress.done(0, 5)
    progress.look({0: 6, 1: 20}, 16)
    assert progress.idle_seconds(16) == 2  # the other one, which has stood since 14


def test_a_lane_without_requests_may_do_nothing() -> None:
    progress = Progress()
    progress.begin({0: 7})
    progress.look({0: 7}, 0)
    progress.look({0: 7}, 1_000)
    assert progress.idle_seconds(1_000) == 0


def test_while_the_broker_is_away_nobody_is_idle() -> None:
    progress = Progress()
    progress.look({0: 7}, 0)
    progress.pause()
    assert progress.idle_seconds(1_000) == 0
    progress.look({0: 7}, 1_000)
    assert progress.idle_seconds(1_001) == 1


def test_lanes_that_are_dealt_anew_begin_where_the_group_stands() -> None:
    progress = Progress()
    progress.done(0, 99)
    progress.forget()
    assert progress.unknown({0, 1}) == {0, 1}
    progress.begin({0: 50})
    assert progress.unknown({0, 1}) == {1}
    progress.look({0: 50}, 0)
    assert progress.idle_seconds(10) == 0
