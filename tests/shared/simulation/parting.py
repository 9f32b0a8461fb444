"""Judges nodes that are to have no more work: invariants 27 and 28.

A node that is drained, for a moment or for long, begins nothing more a moment later: 28.

A node that has stopped in order, before its time for that was over, has left nothing unrecorded: no attempt of it that had ended,
or runs still, is lost or counted as a crash afterwards.

Who is killed meanwhile, or stopped because its time was over, may lose what it had; so may a disk what it had not synced. What a
leader has given up already, and is about to write, is not lost by the stop.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from callsheet.actors.actor import COORDINATOR, EXECUTOR
from callsheet.actors.messages import DrainNode, Envelope
from callsheet.actors.records import RunState
from simulation.client import OUTSIDE

if TYPE_CHECKING:
    from simulation.node import Life
    from simulation.world import World


class Partings:
    """What nodes had in hand when they stopped in order."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._left: dict[int, str] = {}
        self._drained_at: dict[Life, int] = {}

    def drain(self, life: Life, *, on: bool) -> None:
        """Ask a node to take no more work, or to take some again."""
        if life.alive:
            self._drained_at.pop(life, None)
            if on:
                self._drained_at[life] = self._world.time.now
                self._world.count("drained")
            life.tell(Envelope(f"operator@{OUTSIDE}", COORDINATOR, 0, (DrainNode("drain", life.node.name, on),)))

    def on_begin(self, life: Life | None, name: str) -> None:
        """A function was called by a process."""
        drained_at = self._drained_at.get(life) if life is not None else None
        if life is None or drained_at is None or not life.actors[COORDINATOR]._cordoned:
            return  # a coordinator that was made anew takes work again
        late_us = self._world.time.now - drained_at
        if self._world.calm.is_late(late_us, is_led=True):
            self._world.referee.fail("28", f"{name} began on {life.holder}, which was drained {late_us / 1e6} s ago")

    def on_stopped(self, life: Life) -> None:
        """A node has said that it has stopped, and its program is about to end."""
        shutdown = life.actors[COORDINATOR]._shutdown
        if not shutdown._told or shutdown._over:
            return
        given_up = set(self._given_up())
        left = dict.fromkeys(life.actors[EXECUTOR]._ended, "had ended")
        for begin in self._world.trace.running():
            if begin.life == life.incarnation and not begin.given_up:
                left[begin.order.fence] = "ran still"
        for fence, how in left.items():
            if fence not in given_up:
                self._left[fence] = f"it {how} on {life.holder}, which stopped in order then"
        self._world.count("partings judged")

    def judge_loss(self, run_id: int, fence: int, word: str) -> None:
        """An attempt is said to have died with its process."""
        left = self._left.get(fence)
        if left is not None:
            self._world.referee.fail("27", f"run {run_id} is {word} by fence {fence}; {left}")

    def forget(self) -> None:
        """The store lost commits: what was recorded may be gone."""
        self._left.clear()

    def _given_up(self) -> Iterator[int]:
        """The fences of attempts that a leader counts as lost already, in what it is about to write."""
        for life in self._world.lives():
            lead = life.actors[COORDINATOR]._lead
            for batch in () if lead is None else (lead.reign.sent, lead.reign.batch):
                if batch is not None:
                    yield from (it.fence for it in batch.ends if it.state in (RunState.LOST, RunState.QUARANTINED))
                    yield from (it.fence for it in batch.attempts if it.outcome == "crashed")
