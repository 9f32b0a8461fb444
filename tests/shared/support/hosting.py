"""Hosts with actors that do what a test says."""

from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Self

import pykka

from callsheet.actors.actor import Bug, Turn
from callsheet.actors.host import Host
from callsheet.actors.messages import Happened, Noted, Started
from callsheet.transport.in_process import InProcess

WAIT_S = 10.0
STARTED = Started("n1", "i1")


class Player:
    """Puts what it gets into a queue, and does for the message of a key what the test says."""

    def __init__(self, scenes: dict[str, Callable[[Turn], None]] | None = None) -> None:
        self.scenes = scenes or {}
        self.seen: SimpleQueue[Any] = SimpleQueue()
        self.settled = 0

    def receive(self, message: Any, turn: Turn) -> None:
        key = getattr(message, "key", "started")
        if key in self.scenes:
            self.scenes[key](turn)
        self.seen.put(message)

    def settle(self, turn: Turn) -> None:
        self.settled += 1

    def next(self) -> Any:
        return self.seen.get(timeout=WAIT_S)


class Stagehand:
    """Makes hosts and stops them."""

    def __init__(self) -> None:
        self.hosts: list[Host] = []
        self.events: SimpleQueue[tuple[str, Any]] = SimpleQueue()

    def host(self, **actors: Any) -> Host:
        options = {
            each: actors.pop(each) for each in ("limits", "time_source", "transport", "events") if each in actors
        }
        options.setdefault("events", lambda address, event: self.events.put((address, event)))
        factories = {name: actor if callable(actor) else lambda actor=actor: actor for name, actor in actors.items()}
        transport = options.pop("transport", None) or InProcess("n1")
        self.hosts.append(Host(transport, factories, node="n1", incarnation="i1", **options))
        return self.hosts[-1]

    def start(self, **actors: Any) -> Host:
        host = self.host(**actors)
        host.start()
        return host

    def happened(self) -> list[str]:
        kinds = []
        while not self.events.empty():
            _, event = self.events.get()
            assert isinstance(event, Happened)
            kinds.append(event.event.kind)
        return kinds

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *details: object) -> None:
        for host in self.hosts:
            assert host.stop(WAIT_S)
        assert pykka.ActorRegistry.get_all() == []


def fail(turn: Turn) -> None:
    turn.send("registry", Noted("never sent"))
    raise Bug("as told")
