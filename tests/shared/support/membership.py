"""What tests of a leader with members share: the cluster, played by the test."""

from __future__ import annotations

from typing import Any

from callsheet.actors.actor import MILLISECOND
from callsheet.actors.executor.runner import Capacity, Outcome
from callsheet.actors.messages import (
    Beat,
    Draft,
    MarksRead,
    Offer,
    StockTaken,
    TimerFired,
)
from callsheet.actors.persistence.store import AddEnds
from callsheet.actors.records import RunState
from support.actors import NOW, Leader, make_job

OTHER = "executor@n2"


class Cluster(Leader):
    """A leader `n` and one member `n2`, whose executor is played by the test."""

    def __init__(self, *, own_room: int = 0, **offer: Any) -> None:
        super().__init__(thread=own_room)
        self.beat()
        self.offer(**offer)

    def beat(self, node: str = "n2", incarnation: str = "i2", **more: Any) -> None:
        self.tell(
            Beat(node, incarnation, f"ipc:///{node}", candidate=True, at=self.now, **more), sender=f"coordinator@{node}"
        )

    def offer(self, node: str = "n2", incarnation: str = "i2", room: int = 4, **more: Any) -> None:
        rooms = {"thread": room, "async": 4, "process": 4, "command": 4}
        capacity = more.pop("capacity", Capacity(room, 4, 4, 4))
        self.tell(Offer(node, incarnation, rooms, capacity, **more), sender=f"executor@{node}")

    def be_silent(self, seconds: float) -> None:
        """Let only the leader's own clock go on."""
        for _ in range(int(seconds * 10)):
            self.tell(TimerFired("members"), after=100 * MILLISECOND)

    def read_marks(self, *fences: int, incarnation: str = "i2", **more: Any) -> None:
        """The own executor has read the marks of another incarnation."""
        mark = MarksRead(incarnation, readable=more.pop("readable", True), fences=fences, **more)
        self.tell(StockTaken(1, "n", "i", (), (mark,)), sender="executor")

    def last(self, kind: type) -> Any:
        return [message for message in self.out if isinstance(message, kind)][-1]


def draft(**more: Any) -> Draft:
    return Draft(make_job(**more), "submit", None, "")


def outcome(order: Any) -> Outcome:
    return Outcome(order.fence, order.run_id, order.attempt, "succeeded", NOW, NOW + 1)


def ends(leader: Leader) -> list[tuple[int, RunState]]:
    return [(end.run_id, end.state) for end in leader.written(AddEnds, "ends")]
