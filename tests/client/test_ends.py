"""Who waits for the ends of runs."""

from __future__ import annotations

import threading

from callsheet.actors.messages import RunsEnded
from callsheet.actors.records import End, RunState
from callsheet.client.ends import WATCH_BATCH, Ends


class Waiter:
    tenant = "t"
    is_awaited = False

    def __init__(self, run_id: int) -> None:
        self.run_id = run_id
        self.ends: list[End] = []

    def on_end(self, end: End) -> None:
        self.ends.append(end)


def end(run_id: int) -> RunsEnded:
    return RunsEnded((End(run_id, RunState.SUCCEEDED, 1),))


def test_a_handle_that_follows_twice_is_told_once() -> None:
    ends, waiter, other = Ends(), Waiter(1), Waiter(1)
    for each in (waiter, waiter, other):
        ends.follow(each)
    ends.take(end(1))
    ends.take(end(1))
    assert (len(waiter.ends), len(other.ends)) == (1, 1)


def test_what_has_ended_meanwhile_is_not_watched_again() -> None:
    ends = Ends()
    for number in range(1, WATCH_BATCH + 2):
        ends.follow(Waiter(number))
    ends.forget_watches()
    ends.take(end(1))
    watched = [ends.next_watch(), ends.next_watch()]
    assert not ends.must_watch
    assert [(tenant, len(run_ids)) for tenant, run_ids in watched] == [("t", WATCH_BATCH - 1), ("t", 1)]


def test_handles_may_come_while_all_is_watched_again() -> None:
    ends = Ends()

    def feed() -> None:
        for number in range(50_000):
            ends.follow(Waiter(number))

    feeder = threading.Thread(target=feed)
    feeder.start()
    rounds = 0
    while feeder.is_alive():
        ends.forget_watches()
        rounds += 1
    assert rounds > 0
