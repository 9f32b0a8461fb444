"""Faults: when what goes wrong. Each class has a stream of its own, so that taking one away moves no other.

Everything ends with `heal`: from then on the world is a good one, and must come right by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from callsheet.actors.actor import ACTOR_NAMES
from callsheet.actors.persistence.faulty import Fault, Step
from callsheet.transport.simulated import Faults as LineFaults
from simulation.client import OUTSIDE
from simulation.cluster_fault import ClusterFaults
from simulation.departure import Departures
from simulation.option import CLUSTER_FAULTS, FAULTS
from simulation.virtual import MILLION, stream

if TYPE_CHECKING:
    from simulation.node import Node
    from simulation.world import World

CRASHES: Final = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.CRASH_AFTER)
"""A crash after a step finds it in flight: the disk draws whether it was done."""
FELT_US: Final = 6 * MILLION
"""So long a fault is felt at most by itself: a slow store, a slow node, an orderly stop."""
ORDERLY: Final = ("stop", "leave")
CRASH_ALONE: Final = tuple(name for name in ACTOR_NAMES if name != "metrics")


class FaultPlan:
    """What goes wrong in one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._streams = {name: stream(world.seed, "faults", name) for name in (*FAULTS, *CLUSTER_FAULTS, "disk")}
        self._over = False
        self.until = 0
        self._slow_until: dict[str, int] = {}
        self._bad: dict[str, tuple[int, Fault]] = {}
        self._full_until: dict[tuple[str, str], int] = {}
        self._commit_crash = self._streams["commit"].choice((0.002, 0.01, 0.03))
        self._store_odds = self._streams["store"].choice((0.0, 0.01, 0.05))
        self.departures = Departures(world, self._streams["stop"])
        self._cluster = ClusterFaults(world, self._streams)

    def has(self, name: str) -> bool:
        """Whether a class of faults takes part, now."""
        return not self._over and name in self._world.options.faults

    # ---- when -----------------------------------------------------------------------------------------------------------

    def begin(self, until: int) -> None:
        """Plan what happens by the calendar."""
        self.until = until
        every_s: dict[str, float] = {
            "kill": 12,
            "power": 20,
            "actor": 8,
            "pause": 12,
            "clock": 10,
            "store": 12,
            "mailbox": 10,
            "stop": 15,
            "network": 15,
        }
        acts: dict[str, Callable[[], object]] = {
            "kill": lambda: self.any_node("kill").kill("kill"),
            "power": lambda: self._world.cut_power(self.any_node("power").machine),
            "actor": self._fail_actor,
            "pause": self._pause,
            "clock": self._clock,
            "store": self._store,
            "mailbox": self._mailbox,
            "stop": lambda: self.departures.stop(self.any_node("stop")),
            "network": self._cut,
        }
        if self._world.options.nodes > 1:
            every_s |= self._cluster.EVERY_S
            acts |= self._cluster.acts()
        for name, wait_s in every_s.items():
            at = MILLION
            wait_s /= (1 + self._world.options.nodes) / 2  # noqa: PLW2901
            while self.has(name) and (at := at + int(self._streams[name].expovariate(1 / wait_s) * MILLION)) < until:
                self._world.time.call_at(at, partial(self._act, name, acts[name]))
        self._set_lines()
        if self._world.options.nodes > 1:
            self._cluster.begin(until)

    def any_node(self, name: str) -> Node:
        """The node that a fault of a class strikes; often the one that leads."""
        nodes, random = self._world.nodes, self._streams[name]
        if len(nodes) == 1:
            return nodes[0]
        leader = self._world.leader()
        part, pick = random.random(), random.choice(nodes)
        return leader.node if leader is not None and part < 0.3 else pick

    def _act(self, name: str, act: Callable[[], object]) -> None:
        if self.has(name):
            self._world.count(f"fault {name}")
            self._world.calm.disturb(FELT_US, is_orderly=name in ORDERLY)
            act()

    def _set_lines(self) -> None:
        network, local = self._streams["network"], self._streams["local"]
        outer = LineFaults(
            lost=network.choice((0.0, 0.02, 0.2)),
            late=network.choice((0.0, 0.1)),
            doubled=network.choice((0.0, 0.1)),
            overtaken=network.choice((0.0, 0.1)),
        )
        inner = LineFaults(
            lost=local.choice((0.0, 0.001, 0.01)),
            late=local.choice((0.0, 0.01, 0.05)),
            doubled=local.choice((0.0, 0.01, 0.1)),
            overtaken=local.choice((0.0, 0.01, 0.1)),
            latency_us=local.choice((0, 0, 1_000)),
            late_us=local.choice((5_000, 500_000)),
            stray_us=local.choice((500, 50_000)),
        )
        for node in self._world.nodes:
            if self.has("network"):
                for line in ((OUTSIDE, node.name), (node.name, OUTSIDE)):
                    self._world.network.set_line(*line, outer)
            if self.has("local"):
                self._world.network.set_line(node.name, node.name, inner)

    def heal(self) -> None:
        """All faults end."""
        self._over = True
        self._world.network.heal()
        self._full_until.clear()
        self._cluster.heal()

    # ---- what the store asks --------------------------------------------------------------------------------------------

    def store_takes(self, node: str) -> int:
        """How long a step of the store takes (µs)."""
        random = self._streams["disk"]
        usual = 100 + int(random.random() ** 4 * 4_000)
        return usual * 100 if self._slow_until.get(node, 0) > self._world.time.now and not self._over else usual

    def store_fault(self, node: str, step: Step) -> Fault:
        """What goes wrong with a step of the store."""
        if self.has("commit") and step.kind in ("commit", "take_lease"):
            random = self._streams["commit"]
            if random.random() < self._commit_crash:
                self._world.count("fault commit")
                self._world.calm.disturb()
                return random.choice(CRASHES)
        if not self.has("store") or step.kind in ("open", "enter", "is_dead"):
            return Fault.NONE
        until, bad = self._bad.get(node, (0, Fault.NONE))
        if until > self._world.time.now:
            self._world.calm.disturb()
            return bad if bad is Fault.BUSY or step.kind == "commit" else Fault.NONE
        random = self._streams["store"]
        chance, kind = random.random(), random.random()
        if chance >= self._store_odds:
            return Fault.NONE
        self._world.calm.disturb()
        if step.kind == "commit":
            return (Fault.BUSY, Fault.FULL, Fault.UNKNOWN_LOST, Fault.UNKNOWN_DONE)[int(kind * 4)]
        return Fault.BUSY

    def luck(self) -> bool:
        """Whether a step in flight was done when the process or the machine died."""
        return self._streams["disk"].random() < 0.5

    def is_full(self, node: str, name: str) -> bool:
        """Whether a mailbox takes nothing now."""
        is_full = self._full_until.get((node, name), 0) > self._world.time.now
        if is_full:
            self._world.calm.lose()
        return is_full

    def start_wait(self) -> int:
        """How long a function with a free place waits for its call (µs)."""
        random = self._streams["worker"]
        part = random.random()
        return int(part**8 * 3 * MILLION) if self.has("worker") else 5 + int(part * 60)

    # ---- what happens ---------------------------------------------------------------------------------------------------

    def _fail_actor(self) -> None:
        life = self.any_node("actor").life
        name = self._streams["actor"].choice(CRASH_ALONE)
        if life is not None:
            life.fail_actor(name)

    def _pause(self) -> None:
        random, life = self._streams["pause"], self.any_node("pause").life
        length = int(random.choice((0.05, 1.0, 4.0, 15.0)) * MILLION * random.random())
        if life is not None:
            life.hold(min(self._world.time.now + length, self.until))

    def _clock(self) -> None:
        random, machine = self._streams["clock"], self.any_node("clock").machine
        lives = [life for life in self._world.lives() if life.node.machine is machine]
        kind, part = random.choice(("forward", "back", "suspend")), random.random()
        reach = random.choice((2, 30, 90, 600, 10_000)) * MILLION
        if kind == "suspend":
            length = min(int(part * 20 * MILLION), self.until - self._world.time.now)
            for life in lives:
                life.hold(self._world.time.now + length)
            machine.clocks.halt(length)
        else:
            machine.clocks.jump(int(part * reach) if kind == "forward" else -int(part * min(reach, 30 * MILLION)))
        for life in lives:
            self._world.time.call_in(1 + int(part * 500_000), life.look_at_timers)

    def _store(self) -> None:
        random = self._streams["store"]
        length = int(random.random() * 6 * MILLION)
        kind = random.choice(("slow", "busy", "full"))
        until = self._world.time.now + length
        is_shared = kind == "full" or len(self._world.nodes) == 1  # a full disk is everybody's
        for node in self._world.nodes if is_shared else [self.any_node("store")]:
            if kind == "slow":
                self._slow_until[node.name] = until
            else:
                self._bad[node.name] = (until, Fault.BUSY if kind == "busy" else Fault.FULL)

    def _mailbox(self) -> None:
        random, node = self._streams["mailbox"], self.any_node("mailbox")
        name = random.choice(ACTOR_NAMES)
        self._full_until[node.name, name] = self._world.time.now + int(random.random() * 2 * MILLION)

    def _cut(self) -> None:
        random, node = self._streams["network"], self.any_node("network").name
        line = random.choice(((OUTSIDE, node), (node, OUTSIDE)))
        self._world.network.cut(*line)
        self._world.time.call_in(int(random.random() * 8 * MILLION), partial(self._world.network.mend, *line))
