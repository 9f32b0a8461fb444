"""The machines of a simulated world: what the nodes on one of them share, and what outlives their processes.

together   all nodes on one machine: one pair of clocks, one disk, marks that each can read and revoke, and the certainty that
           a process is dead
apart      a machine for each node: clocks that differ, marks that only the lives of that node can read, and no certainty;
           the store is a server that all reach
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from simulation.virtual import MILLION, Clocks, stream

if TYPE_CHECKING:
    from simulation.world import World

SKEWS_US: Final = (0, 0, 50_000, -50_000, 1 * MILLION, -3 * MILLION, 30 * MILLION)
DRIFTS_PPM: Final = (-300, 0, 200)


class Born(Struct, frozen=True):
    """A life that there is or was: of which node, on which machine in which of its boots, since when (true µs)."""

    node: str
    machine: str
    boot: int
    at: int


class Machine:
    """A machine: it has clocks, and marks on its disk that are trusted within the boot in which they were set."""

    def __init__(self, name: str, clocks: Clocks) -> None:
        self.name = name
        self.clocks = clocks
        self.boot = 1
        self.marks: dict[str, tuple[int, set[int]]] = {}


def draw_machines(world: World, random: Random, base: int) -> list[Machine]:
    """The machines of a world: the first as it is with one node alone; the others by streams of their own."""
    has_clocks = "clock" in world.options.faults
    drift = random.choice(DRIFTS_PPM) if has_clocks else 0
    clocks = Clocks(world.time, base, drift_ppm=drift)
    machines = [Machine("m1", clocks)]
    start = clocks.now()
    for number in range(2, 1 + (world.options.nodes + world.options.workers if world.options.apart else 1)):
        other = stream(world.seed, "machine", number)
        skew, drift = (other.choice(SKEWS_US), other.choice(DRIFTS_PPM)) if has_clocks else (0, 0)
        machines.append(Machine(f"m{number}", Clocks(world.time, start + skew, drift_ppm=drift)))
    return machines
