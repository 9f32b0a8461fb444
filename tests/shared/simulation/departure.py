"""Orderly stops: a node is asked to stop, hurried now and then, and its program ends when it has, or when that takes too long."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING, Final

from callsheet.actors.actor import COORDINATOR
from callsheet.actors.messages import Envelope, NodeStopped, Stop
from simulation.client import OUTSIDE
from simulation.virtual import MILLION

if TYPE_CHECKING:
    from simulation.node import Life, Node
    from simulation.world import World

PATIENCE_US: Final = 8 * MILLION


class Departures:
    """Nodes that are asked to stop."""

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._random = random
        self._leaving: dict[str, tuple[Life, int]] = {}

    def stop(self, node: Node, *, cause: str = "stop", rest_us: int | None = None) -> None:
        """Ask a node to stop; it begins a new life after a rest."""
        random, life = self._random, node.life
        drain, hurry, rest = random.choice((0, 1, 5)) * MILLION, random.random() < 0.3, random.random()
        if life is None or node.name in self._leaving:
            return
        self._world.calm.disturb(drain + PATIENCE_US, is_orderly=True)
        self._leaving[node.name] = (life, int(rest * 4 * MILLION) if rest_us is None else rest_us)
        asker = f"client-of-{node.name}"
        self._world.outside.attach(asker, partial(self._on_answer, life, cause))
        self._ask(life, Stop(drain))
        if hurry:
            self._world.time.call_in(drain // 2, partial(self._ask, life, Stop(0, hurry=True)))
        self._world.time.call_in(drain + PATIENCE_US, partial(self._end, life, cause))

    def _ask(self, life: Life, stop: Stop) -> None:
        if life.alive:
            life.tell(Envelope(f"client-of-{life.node.name}@{OUTSIDE}", COORDINATOR, 0, (stop,)))

    def _on_answer(self, life: Life, cause: str, envelope: Envelope) -> bool:
        if any(isinstance(message, NodeStopped) for message in envelope.messages):
            self._world.count("stopped in order")
            if life.alive:
                self._world.partings.on_stopped(life)
            self._end(life, cause)
        return True

    def _end(self, life: Life, cause: str) -> None:
        """The program ends: pools, actors, store."""
        node = life.node
        leaving, rest_us = self._leaving.get(node.name, (None, 0))
        if leaving is not life:
            return
        del self._leaving[node.name]
        if life.alive:
            life.runner.close(MILLION)
            node.kill(cause, rest_us)
