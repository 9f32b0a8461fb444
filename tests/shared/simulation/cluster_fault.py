"""What goes wrong between nodes: lines, partitions, rumours, slow and frozen nodes, restarts one by one, comings and goings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from callsheet.transport.simulated import Faults as LineFaults
from simulation.client import OUTSIDE
from simulation.virtual import MILLION

if TYPE_CHECKING:
    from simulation.node import Life
    from simulation.world import World

Line = tuple[str, str]
ALL_LEAVE_US: Final = 150_000
"""Within this all nodes are asked to stop, when all are."""


class ClusterFaults:
    """The faults that only several nodes can have."""

    EVERY_S: Final = {"partition": 10.0, "rumour": 4.0, "slow": 12.0, "freeze": 8.0, "leave": 15.0}

    def __init__(self, world: World, streams: Mapping[str, Random]) -> None:
        self._world = world
        self._streams = streams

    def acts(self) -> dict[str, Callable[[], None]]:
        """What happens by the calendar."""
        return {
            "partition": self._part,
            "rumour": self._spread_rumour,
            "slow": self._slow,
            "freeze": self._freeze,
            "leave": self._leave,
        }

    def begin(self, until: int) -> None:
        """Set the lines, and plan what happens once."""
        faults, random = self._world.faults, self._streams["lines"]
        latency = LineFaults(latency_us=random.choice((30, 100, 2_000)))
        if faults.has("lines"):
            latency = LineFaults(
                lost=random.choice((0.0, 0.01, 0.1)),
                late=random.choice((0.0, 0.05)),
                doubled=random.choice((0.0, 0.05)),
                overtaken=random.choice((0.0, 0.1)),
                latency_us=latency.latency_us,
                late_us=random.choice((5_000, 500_000, 5 * MILLION)),
                stray_us=random.choice((500, 50_000, MILLION)),
            )
        for line in self._lines():
            self._world.network.set_line(*line, latency)
        if faults.has("roll"):
            at = int((0.2 + 0.4 * self._streams["roll"].random()) * until)
            for work in self._world.workload.all():
                if work.nature.known_at:
                    work.nature.known_at = at
            self._world.time.call_at(at, partial(self._roll, 0))

    def heal(self) -> None:
        """All is well again; what was cut off is told so, and who has not learned yet is restarted."""
        names = [node.name for node in self._world.nodes]
        for number, one in enumerate(names):
            for other in names[:number]:
                self._world.peers.on_mended(one, other)
        for node in self._world.nodes:
            node.lag_us = 0
            if node.life is not None:
                self._world.partings.drain(node.life, on=False)
        if "roll" in self._world.options.faults:
            self._roll_rest()

    def _lines(self) -> list[Line]:
        names = [node.name for node in self._world.nodes]
        return [(one, other) for one in names for other in names if one != other]

    # ---- partitions -----------------------------------------------------------------------------------------------------

    def _part(self) -> None:
        random, network = self._streams["partition"], self._world.network
        names = [node.name for node in self._world.nodes]
        random.shuffle(names)
        leader, part, shape = (
            self._world.leader(),
            random.random(),
            random.choice(("full", "full", "one way", "pair", "flap")),
        )
        if leader is not None and part < 0.5:
            names.remove(leader.node.name)
            names.insert(0, leader.node.name)
        length = int(random.choice((0.3, 1.0, 4.0, 15.0)) * MILLION * random.random())
        size = 1 if shape in {"pair", "flap"} else random.randint(1, len(names) - 1)
        first, second = names[:size], names[1:2] if shape in {"pair", "flap"} else names[size:]
        lines = [(one, other) for one in first for other in second]
        if shape == "full" and random.random() < 0.3:
            lines.extend((one, OUTSIDE) for one in first)
        self._world.count(f"partition {shape}")
        if shape == "flap":
            every_us = int(random.choice((0.05, 0.3, 1.0)) * MILLION)
            network.flap(
                first[0],
                second[0],
                every_us=every_us,
                until=min(self._world.time.now + length, self._world.faults.until),
            )
            return
        for one, other in lines:
            network.cut(one, other)
            if shape != "one way":
                network.cut(other, one)
            self._world.peers.on_cut(one, other)
        self._world.time.call_in(length, partial(self._mend, lines))

    def _mend(self, lines: list[Line]) -> None:
        if not self._world.is_healing:
            for one, other in lines:
                self._world.network.mend(one, other)
                self._world.network.mend(other, one)
                self._world.peers.on_mended(one, other)

    def _spread_rumour(self) -> None:
        random = self._streams["rumour"]
        one, other = random.sample([node.name for node in self._world.nodes], 2)
        leader, part = self._world.leader(), random.random()
        if leader is not None and part < 0.8:  # most that is heard of a leader, or by one, is of some account
            name = leader.node.name
            one, other = (
                (name, other if other != name else one) if part < 0.4 else (one if one != name else other, name)
            )
        self._world.peers.spread_rumour(one, other)

    # ---- nodes ----------------------------------------------------------------------------------------------------------

    def _slow(self) -> None:
        random, node = self._streams["slow"], self._world.faults.any_node("slow")
        node.lag_us = random.choice((1_000, 20_000, 200_000))
        if random.random() < 0.5:
            self._world.network.slow(node.name, node.lag_us)
        self._world.time.call_in(int(random.random() * 6 * MILLION), partial(self._hasten, node.name))

    def _hasten(self, name: str) -> None:
        for node in self._world.nodes:
            if node.name == name:
                node.lag_us = 0
                self._world.network.slow(name, 0)

    def _freeze(self) -> None:
        """Let a process stand still: one that is in the middle of a commit, or leads, or any."""
        random, world = self._streams["freeze"], self._world
        node, leader, part = world.faults.any_node("freeze"), world.leader(), random.random()
        length = int((0.2 + random.choice((0.0, 0.5, 3.0, 12.0)) * random.random()) * MILLION)
        if leader is not None and part < 0.5:
            self._await_commit(world.time.now + MILLION // 2, length)
        elif node.life is not None:
            node.life.hold(min(world.time.now + length, world.faults.until))

    def _await_commit(self, until: int, length_us: int) -> None:
        world, leader = self._world, self._world.leader()
        now = world.time.now
        if leader is None or now >= world.faults.until:
            return
        if world.disk.is_locked_by(leader) or now >= until:
            world.count("frozen in a commit", int(world.disk.is_locked_by(leader)))
            leader.hold(min(now + length_us, world.faults.until))
        else:
            world.time.call_in(400, partial(self._await_commit, until, length_us))

    def _leave(self) -> None:
        random, node = self._streams["leave"], self._world.faults.any_node("leave")
        rest_us = int(random.choice((0.5, 5.0, 60.0)) * random.random() * MILLION)
        kind = random.choice(("leave", "leave", "all", "drain"))
        if kind == "leave":
            self._world.faults.departures.stop(node, cause="leave", rest_us=rest_us)
        elif kind == "all":
            self._leave_all(random)
        elif node.life is not None:
            self._world.partings.drain(node.life, on=True)
            wait_us = int(random.choice((1.0, 15.0)) * random.random() * MILLION)
            self._world.time.call_in(wait_us, partial(self._world.partings.drain, node.life, on=False))

    def _leave_all(self, random: Random) -> None:
        """All are asked to stop within a moment; now and then the one that leads is killed meanwhile."""
        time, departures, leader = self._world.time, self._world.faults.departures, self._world.leader()
        self._world.count("all left")
        for node in self._world.nodes:
            wait_us, rest_us = (int(random.random() * longest) for longest in (ALL_LEAVE_US, MILLION))
            time.call_in(1 + wait_us, partial(departures.stop, node, cause="leave", rest_us=rest_us))
        wait_us, is_killed = int(random.random() * ALL_LEAVE_US), random.random() < 0.5
        if leader is not None and is_killed:
            time.call_in(1 + wait_us, partial(self._kill, leader))

    def _kill(self, life: Life) -> None:
        if life.alive and self._world.faults.has("leave"):
            life.node.kill("kill")

    # ---- restarts one by one --------------------------------------------------------------------------------------------

    def _roll(self, number: int) -> None:
        nodes, random = self._world.nodes, self._streams["roll"]
        if number >= len(nodes) or not self._world.faults.has("roll"):
            return
        self._world.faults.departures.stop(nodes[number], cause="roll", rest_us=int(random.random() * MILLION))
        self._world.time.call_in(int((0.5 + 3 * random.random()) * MILLION), partial(self._roll, number + 1))

    def _roll_rest(self) -> None:
        """Whoever lives since before the new version came is restarted now."""
        newest = max((work.nature.known_at for work in self._world.workload.all()), default=0)
        for node in self._world.nodes:
            if node.life is not None and node.life.born_at < newest:
                node.kill("roll", 0)
