"""What one process sees of its world: its machine, its clocks, its places, whether it stands still."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from callsheet.actors.executor.runner import Order
from simulation.virtual import stream

if TYPE_CHECKING:
    from simulation.machine import Machine
    from simulation.node import Life
    from simulation.runner import Draw
    from simulation.trace import Trace
    from simulation.virtual import Clocks
    from simulation.world import World


class Surroundings:
    """The world as a runner needs it."""

    def __init__(self, world: World, life: Life) -> None:
        self._world = world
        self._life = life
        self._node = life.node
        self.seed = world.seed
        self.places = life.node.places

    @property
    def machine(self) -> Machine:
        """The machine of this process."""
        return self._node.machine

    @property
    def clocks(self) -> Clocks:
        """Its clocks."""
        return self._node.machine.clocks

    @property
    def trace(self) -> Trace:
        """Where functions leave what they leave behind."""
        return self._world.trace

    @property
    def now(self) -> int:
        """True time."""
        return self._world.time.now

    def call_in(self, wait_us: int, call: Callable[[], None]) -> None:
        """Call later, unless the process has died; if it stands still then, when it goes on."""

        def when_due() -> None:
            if not self._life.alive:
                return
            held_until = self._life.held_until
            if held_until:
                self._world.time.call_at(held_until, when_due)
            else:
                call()

        self._world.time.call_in(wait_us, when_due)

    def start_wait(self) -> int:
        """How long a function with a free place waits for its call (µs)."""
        return self._world.faults.start_wait()

    def is_known(self, order: Order) -> bool:
        """Whether this process has the function of an order by now."""
        return self._world.workload.is_known(order.tenant, order.job, self._knows_since)

    def known_at(self, order: Order) -> int | None:
        """When this process will have the function of an order; None: only a later life can."""
        work = self._world.workload.find(order.tenant, order.job)
        return None if work is None or self._node.is_rolled else work.nature.known_at

    def knows(self) -> int:
        """How many functions this process has by now."""
        return sum(work.nature.known_at <= self._knows_since for work in self._world.workload.all())

    @property
    def _knows_since(self) -> int:
        return self._life.born_at if self._node.is_rolled else self._world.time.now

    def draw(self, order: Order, nth: int) -> Draw:
        """What the function does when it is called for the `nth` time for this run."""
        return self._world.workload.draw(order, nth, stream(self.seed, "runner", order.job, order.run_id, nth))
