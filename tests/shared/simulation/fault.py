"""Faults: when what goes wrong. Each class has a stream of its own, so that taking one away moves no other.

Everything ends with `heal`: from then on the world is a good one, and must come right by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from callsheet.actors.actor import ACTOR_NAMES, COORDINATOR
from callsheet.actors.messages import Envelope, Stop
from callsheet.actors.persistence.faulty import Fault, Step
from callsheet.transport.simulated import Faults as LineFaults
from simulation.client import OUTSIDE
from simulation.option import FAULTS
from simulation.virtual import MILLION, stream

if TYPE_CHECKING:
    from simulation.world import World

CRASHES: Final = (Fault.CRASH_BEFORE, Fault.CRASH_AFTER, Fault.CRASH_AFTER)
"""A crash after a step finds it in flight: the disk draws whether it was done."""
CRASH_ALONE: Final = tuple(name for name in ACTOR_NAMES if name != "metrics")


class FaultPlan:
    """What goes wrong in one world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._streams = {name: stream(world.seed, "faults", name) for name in (*FAULTS, "disk")}
        self._over = False
        self._until = 0
        self._slow_until = 0
        self._bad_until = 0
        self._bad: Fault = Fault.BUSY
        self._full_until: dict[str, int] = {}
        self._stopping = 0
        self._commit_crash = self._streams["commit"].choice((0.002, 0.01, 0.03))
        self._store_odds = self._streams["store"].choice((0.0, 0.01, 0.05))

    def has(self, name: str) -> bool:
        """Whether a class of faults takes part, now."""
        return not self._over and name in self._world.options.faults

    # ---- when -----------------------------------------------------------------------------------------------------------

    def begin(self, until: int) -> None:
        """Plan what happens by the calendar."""
        self._until = until
        every_s = {
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
        acts: dict[str, Callable[[], None]] = {
            "kill": partial(self._world.kill, "kill"),
            "power": partial(self._world.kill, "power"),
            "actor": self._fail_actor,
            "pause": self._pause,
            "clock": self._clock,
            "store": self._store,
            "mailbox": self._mailbox,
            "stop": self._stop,
            "network": self._cut,
        }
        for name, wait_s in every_s.items():
            at = MILLION
            while self.has(name) and (at := at + int(self._streams[name].expovariate(1 / wait_s) * MILLION)) < until:
                self._world.time.call_at(at, partial(self._act, name, acts[name]))
        if self.has("network") or self.has("local"):
            self._set_lines()

    def _act(self, name: str, act: Callable[[], None]) -> None:
        if self.has(name):
            self._world.count(f"fault {name}")
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
        node = self._world.node.name
        if self.has("network"):
            for line in ((OUTSIDE, node), (node, OUTSIDE)):
                self._world.network.set_line(*line, outer)
        if self.has("local"):
            self._world.network.set_line(node, node, inner)

    def heal(self) -> None:
        """All faults end."""
        self._over = True
        self._world.network.heal()
        self._full_until.clear()

    # ---- what the store asks --------------------------------------------------------------------------------------------

    def store_takes(self) -> int:
        """How long a step of the store takes (µs)."""
        random = self._streams["disk"]
        usual = 100 + int(random.random() ** 4 * 4_000)
        return usual * 100 if self._slow_until > self._world.time.now and not self._over else usual

    def store_fault(self, step: Step) -> Fault:
        """What goes wrong with a step of the store."""
        if self.has("commit") and step.kind in ("commit", "take_lease"):
            random = self._streams["commit"]
            if random.random() < self._commit_crash:
                self._world.count("fault commit")
                return random.choice(CRASHES)
        if not self.has("store"):
            return Fault.NONE
        if self._bad_until > self._world.time.now and step.kind != "open":
            return self._bad if self._bad is Fault.BUSY or step.kind == "commit" else Fault.NONE
        random = self._streams["store"]
        chance, kind = random.random(), random.random()
        if chance >= self._store_odds:
            return Fault.NONE
        if step.kind == "commit":
            return (Fault.BUSY, Fault.FULL, Fault.UNKNOWN_LOST, Fault.UNKNOWN_DONE)[int(kind * 4)]
        return Fault.NONE if step.kind == "open" else Fault.BUSY

    def luck(self) -> bool:
        """Whether a step in flight was done when the process or the machine died."""
        return self._streams["disk"].random() < 0.5

    def is_full(self, name: str) -> bool:
        """Whether a mailbox takes nothing now."""
        return self._full_until.get(name, 0) > self._world.time.now

    def start_wait(self) -> int:
        """How long a function with a free place waits for its call (µs)."""
        random = self._streams["worker"]
        part = random.random()
        return int(part**8 * 3 * MILLION) if self.has("worker") else 5 + int(part * 60)

    # ---- what happens ---------------------------------------------------------------------------------------------------

    def _fail_actor(self) -> None:
        life = self._world.node.life
        name = self._streams["actor"].choice(CRASH_ALONE)
        if life is not None:
            life.fail_actor(name)

    def _pause(self) -> None:
        random, life = self._streams["pause"], self._world.node.life
        length = int(random.choice((0.05, 1.0, 4.0, 15.0)) * MILLION * random.random())
        if life is not None:
            life.hold(min(self._world.time.now + length, self._until))

    def _clock(self) -> None:
        random, life = self._streams["clock"], self._world.node.life
        kind, part = random.choice(("forward", "back", "suspend")), random.random()
        reach = random.choice((2, 30, 90, 600, 10_000)) * MILLION
        if kind == "suspend":
            length = min(int(part * 20 * MILLION), self._until - self._world.time.now)
            if life is not None:
                life.hold(self._world.time.now + length)
            self._world.clocks.halt(length)
        else:
            self._world.clocks.jump(int(part * reach) if kind == "forward" else -int(part * min(reach, 30 * MILLION)))
        if life is not None:
            self._world.time.call_in(1 + int(part * 500_000), life.look_at_timers)

    def _store(self) -> None:
        random = self._streams["store"]
        length = int(random.random() * 6 * MILLION)
        kind = random.choice(("slow", "busy", "full"))
        if kind == "slow":
            self._slow_until = self._world.time.now + length
        else:
            self._bad_until = self._world.time.now + length
            self._bad = Fault.BUSY if kind == "busy" else Fault.FULL

    def _mailbox(self) -> None:
        random = self._streams["mailbox"]
        name = random.choice(ACTOR_NAMES)
        self._full_until[name] = self._world.time.now + int(random.random() * 2 * MILLION)

    def _cut(self) -> None:
        random = self._streams["network"]
        line = random.choice(((OUTSIDE, self._world.node.name), (self._world.node.name, OUTSIDE)))
        self._world.network.cut(*line)
        self._world.time.call_in(int(random.random() * 8 * MILLION), partial(self._world.network.mend, *line))

    # ---- an orderly stop ------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        random, node = self._streams["stop"], self._world.node
        drain, hurry, rest = random.choice((0, 1, 5)) * MILLION, random.random() < 0.3, random.random()
        if node.life is None or self._stopping:
            return
        self._stopping = node.lives
        self._rest_us = int(rest * 4 * MILLION)
        self._tell_stop(Stop(drain), node.lives)
        if hurry:
            self._world.time.call_in(drain // 2, partial(self._tell_stop, Stop(0, hurry=True), node.lives))
        self._world.time.call_in(drain + 8 * MILLION, partial(self._end_stop, node.lives))

    def _tell_stop(self, stop: Stop, number: int) -> None:
        if self._world.node.lives != number or self._stopping != number:
            return
        client = self._world.clients[0].name
        life = self._world.node.life
        if life is not None:
            life.tell(Envelope(f"{client}@{OUTSIDE}", COORDINATOR, 0, (stop,)))

    def on_stopped(self) -> None:
        """The node says that it has stopped."""
        self._world.count("stopped in order")
        self._end_stop(self._stopping)

    def _end_stop(self, life: int) -> None:
        """The program ends: pools, actors, store."""
        if not self._stopping or self._stopping != life:
            return
        self._stopping = 0
        if self._world.node.lives == life and self._world.node.life is not None:
            self._world.node.life.runner.close(MILLION)
            self._world.restart_in = self._rest_us
            self._world.node.kill()
