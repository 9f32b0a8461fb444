"""Judges who leads: that epochs grow, that each has one holder, and that nobody is deposed or given up who should not be.

1   one holder per epoch, epochs grow; the lease is taken only by who saw it as it is
5   an attempt is given up only when its process is dead, or was silent for long
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callsheet.actors.coordinator.leadership import SAVE_LOST_US
from callsheet.actors.persistence.store import Lease
from simulation.machine import Born
from simulation.virtual import MILLION

if TYPE_CHECKING:
    from simulation.node import Life
    from simulation.world import World

SILENT_US: Final = 9 * MILLION
"""A process that may still live is given up after ten seconds; by clocks that drift."""

WAITS_US: Final = SAVE_LOST_US + MILLION
"""So long what was decided may wait to be written, behind a batch of which the answer was lost."""


class Leadership:
    """All reigns there were."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._holders: dict[int, str] = {}
        self.taken_at = 0
        self.count = 0

    def on_take_over(self, life: Life, seen: Lease | None, found: Lease | None, taken: Lease | None) -> None:
        """The lease was `found` when a process took it over, or failed to, as `seen`."""
        if taken is None:
            return
        fail = self._world.referee.fail
        if (seen and (seen.epoch, seen.beat)) != (found and (found.epoch, found.beat)):
            fail("1", f"{life.holder} took over what it had seen as {seen}, and was {found}")
        if taken.holder != life.holder:
            fail("1", f"{life.holder} took the lease for {taken.holder}")
        if taken.epoch <= max(self._holders, default=0):
            fail("1", f"epoch {taken.epoch} of {taken.holder} does not grow; there was {max(self._holders)}")
        if found is not None and found.holder != taken.holder:
            self._world.count("leaders changed")
        self._holders[taken.epoch] = taken.holder
        self.taken_at = self._world.time.now
        self.count += 1

    def forget(self) -> None:
        """The store lost commits: who led last is what it says now."""
        lease = self._world.disk.tables.lease
        last = 0 if lease is None else lease.epoch
        self._holders = {epoch: holder for epoch, holder in self._holders.items() if epoch <= last}

    def on_heard(self, life: Life, node: str) -> None:
        """A coordinator hears that of another node."""
        now = self._world.time.now
        if self._silent_us(life, node) >= SILENT_US:
            life.silent_until[node] = now
        life.heard[node] = now

    def _silent_us(self, life: Life, node: str) -> int:
        return self._world.time.now - max(life.heard.get(node, 0), self.taken_at)

    def judge_loss(self, born: Born, run_id: int, fence: int, word: str) -> None:
        """An attempt is said to have died with its process: it is dead, or was not heard for long."""
        begin = self._world.trace.by_fence.get(fence)
        if begin is not None and begin.ends == "crashed":
            return  # its worker process died
        is_over = begin is not None and (begin.given_up or not begin.runs)
        if is_over and "actor" in self._world.options.faults:
            return  # the executor that had its outcome failed
        holder = self._world.find_life(born)
        leader = self._world.leader()
        if holder is None or leader is None:
            return
        silent_us = self._silent_us(leader, born.node)
        until = leader.silent_until.get(born.node)
        was_given_up = until is not None and until >= self.taken_at and self._world.time.now - until <= WAITS_US
        if holder is leader or (silent_us < SILENT_US and not was_given_up):
            self._world.referee.fail(
                "5",
                f"run {run_id} is {word} by fence {fence}; {born.node} lives, and was heard {silent_us / 1e6} s ago",
            )
