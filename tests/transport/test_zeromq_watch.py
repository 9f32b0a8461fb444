"""Waiting for many sockets at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import zmq

from callsheet.transport.zeromq.bell import Bell
from callsheet.transport.zeromq.watch import POLLIN, POLLOUT, Watch, can_receive

WAIT_MS = 10_000


class Ends:
    """Pairs of sockets in one process, a watch for the near ones, and what it has told."""

    def __init__(self) -> None:
        self.context: zmq.Context[Any] = zmq.Context()
        self.bell = Bell()
        self.watch = Watch(self.bell.fileno())
        self.told: list[tuple[str, int]] = []
        self.sockets: list[zmq.Socket[Any]] = []

    def pair(self, name: str, *, room: int = 1_000) -> tuple[zmq.Socket[Any], zmq.Socket[Any]]:
        near, far = self.context.socket(zmq.PAIR), self.context.socket(zmq.PAIR)
        self.sockets += [near, far]
        for each in (near, far):
            each.linger = 0
            each.sndhwm = each.rcvhwm = room
        near.bind(f"inproc://{name}")
        far.connect(f"inproc://{name}")
        return near, far

    def note(self, name: str) -> Callable[[int], None]:
        return lambda events: self.told.append((name, events))

    def turn(self, wait_ms: int = WAIT_MS) -> bool:
        """Wait and handle; answers whether the bell was rung."""
        happened, is_rung = self.watch.wait(wait_ms)
        for each in happened:
            self.watch.handle(each)
        return is_rung

    def close(self) -> None:
        self.watch.close()
        self.bell.close()
        for each in self.sockets:
            each.close()
        self.context.term()


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.close()


def test_what_has_come_is_told_until_it_is_taken(ends: Ends) -> None:
    near, far = ends.pair("a")
    ends.watch.add(near, ends.note("a"))
    far.send(b"1")

    ends.turn()
    ends.turn()
    assert ends.told == [("a", POLLIN)] * 2

    near.recv()
    ends.turn(wait_ms=0)
    assert len(ends.told) == 2
    assert not can_receive(near)


def test_what_came_before_a_socket_was_watched_is_told(ends: Ends) -> None:
    near, far = ends.pair("a")
    far.send(b"1")
    assert near.poll(WAIT_MS)  # takes away the sign that its descriptor gives
    ends.watch.add(near, ends.note("a"))
    ends.turn()
    assert ends.told == [("a", POLLIN)]


def test_what_came_while_something_was_sent_is_told(ends: Ends) -> None:
    near, far = ends.pair("a")
    ends.watch.add(near, ends.note("a"))
    ends.turn(wait_ms=0)
    far.send(b"1")
    ends.watch.used(near)
    near.send(b"2")  # takes away the sign that its descriptor gives
    ends.turn()
    assert ends.told == [("a", POLLIN)]


def test_what_was_not_handled_because_another_handler_failed_is_told_again(ends: Ends) -> None:
    def fail(events: int) -> None:
        raise RuntimeError("as told")

    (first, far_first), (second, far_second) = ends.pair("a"), ends.pair("b")
    ends.watch.add(first, fail)
    ends.watch.add(second, ends.note("b"))
    far_second.send(b"1")
    far_first.send(b"1")

    with pytest.raises(RuntimeError):
        ends.turn()
    assert ends.told == []
    first.recv()
    ends.turn()
    assert ends.told == [("b", POLLIN)]


def test_who_was_added_first_is_told_first(ends: Ends) -> None:
    pairs = {name: ends.pair(name) for name in "abc"}
    for name, (near, _) in pairs.items():
        ends.watch.add(near, ends.note(name))
    ends.turn(wait_ms=0)
    ends.watch.used(pairs["c"][0])
    for name in "cba":
        pairs[name][1].send(b"1")
    ends.turn()
    assert [name for name, _ in ends.told] == ["a", "b", "c"]


def test_a_socket_that_was_removed_meanwhile_is_not_told_of(ends: Ends) -> None:
    (first, far_first), (second, far_second) = ends.pair("a"), ends.pair("b")
    ends.watch.add(first, lambda _: ends.watch.remove(second))
    ends.watch.add(second, ends.note("b"))
    far_first.send(b"1")
    far_second.send(b"1")
    ends.turn()
    ends.watch.remove(second)  # twice is no error
    second.close()
    ends.turn(wait_ms=0)
    assert ends.told == []


def test_room_is_told_of_while_it_is_wanted(ends: Ends) -> None:
    near, far = ends.pair("a", room=1)
    ends.watch.add(near, ends.note("a"))
    while near.poll(0, zmq.POLLOUT):
        near.send(b"x")
    ends.watch.want_room(near, wanted=True)
    ends.turn(wait_ms=0)
    assert ends.told == []

    while can_receive(far):
        far.recv()
    ends.turn()
    assert ends.told == [("a", POLLOUT)]
    ends.watch.want_room(near, wanted=False)
    ends.turn(wait_ms=0)
    assert ends.told == [("a", POLLOUT)]


def test_the_bell_wakes_the_sleeper(ends: Ends) -> None:
    ends.bell.before_sleep()
    ends.bell.ring()
    assert ends.turn()
    ends.bell.after_sleep(rung=True)
    assert not ends.turn(wait_ms=0)
