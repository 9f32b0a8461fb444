"""The network of a simulated world, and what the ends of its lines are told about one another.

a process begins     each end of a new line is told `PeerFound`, a moment later
a process dies       the others are told `PeerLost`, mostly; where the machine died with it, rarely
a line is cut        both ends are told `PeerLost`, after a while, or never
a line is mended     both ends are told `PeerFound`
a rumour             an end is told `PeerLost` of a peer that is there, and `PeerFound` a moment later
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from callsheet.actors.actor import COORDINATOR
from callsheet.actors.messages import Envelope, PeerFound, PeerLost
from callsheet.transport.simulated import Faults, SimulatedNetwork, SimulatedTransport
from simulation.client import OUTSIDE
from simulation.virtual import MILLION, stream

if TYPE_CHECKING:
    from simulation.node import Life, Node
    from simulation.route import Route
    from simulation.world import World

_COORDINATORS: Final = "coordinator@"
_OUTSIDE: Final = f"@{OUTSIDE}"
WINDOW_US: Final = 100_000
MOST_TALK: Final = 100
"""Messages of one coordinator to the other nodes within a window, for each node, at most."""
LATE_US: Final = MILLION
"""What is later than this is as good as lost."""
SILENT_US: Final = 5 * MILLION
"""Within this a client finds out that nobody is at the other end."""
FOUND_IN_US: Final = 50_000
"""A line is found within this."""
CUT_TOLD_US: Final = (20_000, 300_000, 3 * MILLION, None)
"""After how long the ends of a line are told that it is cut, if at all."""


class Network(SimulatedNetwork):
    """Tells the trace's digest what is carried; what was sent within a process dies with it."""

    def __init__(self, world: World) -> None:
        has_local = "local" in world.options.faults
        super().__init__(world.time, stream(world.seed, "network"), local_faults=has_local)
        self._world = world
        self._window = 0
        self._talk: Counter[str] = Counter()
        self._void: set[SimulatedTransport] = set()
        self._is_inner = False

    def carry(self, origin: SimulatedTransport, envelope: Envelope, frame: bytes) -> None:
        world = self._world
        world.digest = zlib.crc32(frame, zlib.crc32(b"%d" % world.time.now, world.digest))
        world.carried += 1
        if envelope.sender.startswith(_COORDINATORS) and envelope.recipient.startswith(_COORDINATORS):
            self._watch(envelope)
        self._is_inner = origin.node != OUTSIDE and not envelope.recipient.endswith(_OUTSIDE)
        if world.tell is not None:
            world.tell(envelope)
        super().carry(origin, envelope, frame)

    def _draw(self, faults: Faults) -> Any:
        fate = super()._draw(faults)
        if self._is_inner and (fate.lost or fate.late_us > LATE_US):
            self._world.calm.lose()
        return fate

    def _watch(self, envelope: Envelope) -> None:
        """Nodes tell each other that they live now and then, and ask a little when nobody leads; they do not talk all the time."""
        window = self._world.time.now // WINDOW_US
        if window != self._window:
            self._window, self._talk = window, Counter()
        self._talk[envelope.sender] += len(envelope.messages)
        if self._talk[envelope.sender] > MOST_TALK * len(self._world.nodes):
            self._world.referee.fail(
                "16",
                f"{envelope.sender} has sent {self._talk[envelope.sender]} messages to others within {WINDOW_US} µs",
            )

    def forget_words(self) -> None:
        """What is on its way to clients was said of commits that are lost, as they may be: nobody can be held to it any more."""
        self._void = set(self._lives)

    def cut(self, origin: str, destination: str) -> None:
        super().cut(origin, destination)
        self._world.calm.lose()

    def mend(self, origin: str, destination: str) -> None:
        super().mend(origin, destination)
        self._world.calm.lose()

    def heal(self) -> None:
        super().heal()
        self._world.calm.lose()

    def is_cut_somewhere(self) -> bool:
        """Whether anything is cut now."""
        return bool(self._cut)

    def is_cut(self, one: str, other: str) -> bool:
        """Whether nothing passes between two nodes, in one direction at least."""
        return (one, other) in self._cut or (other, one) in self._cut

    def _arrive(
        self, origin: SimulatedTransport, line: tuple[str, str], recipient: str, frame: bytes, *, is_full: bool
    ) -> None:
        is_void = line[1] == OUTSIDE and origin in self._void
        if is_void or (line[0] == line[1] and origin is not self._transports.get(line[0])):
            self._in_flight -= 1
            return
        super()._arrive(origin, line, recipient, frame, is_full=is_full)


class Peers:
    """Tells coordinators what their transports would."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._random = stream(world.seed, "peers")

    def on_begun(self, life: Life) -> None:
        """A process has begun: lines from and to all others come up."""
        for other in self._others(life):
            self._find(life, other)
        for client in self._world.clients:
            self._world.time.call_in(1 + self._random.randrange(FOUND_IN_US), partial(self._meet, client.route, life))

    def on_died(self, life: Life, *, power: bool) -> None:
        """A process has died: the others notice by its connections, unless the machine is gone."""
        told = 0.1 if power else 0.9
        for client in self._world.clients:  # a line that has fallen silent is found out by a client too, in the end
            wait_us = int(self._random.random() * (SILENT_US if power or self._random.random() > told else 20_000))
            self._world.time.call_in(wait_us, partial(self._lose, client.route, life.node))
        for other in self._others(life):
            if self._random.random() < told:
                wait_us = int(self._random.random() ** 4 * 20_000)
                self._world.time.call_in(wait_us, partial(self._tell_lost, other, life))

    def on_cut(self, one: str, other: str) -> None:
        """The line between two nodes was cut: they are told later, if it is still cut then."""
        wait_us = self._random.choice(CUT_TOLD_US)
        if wait_us is not None:
            self._world.time.call_in(int(wait_us * self._random.random()), partial(self._on_still_cut, one, other))

    def on_mended(self, one: str, other: str) -> None:
        """The line between two nodes is there again."""
        for first, second in self._pairs(one, other):
            if self._random.random() < 0.9:
                self._find(first, second)

    def spread_rumour(self, one: str, other: str) -> None:
        """Tell one node that the other is lost, which is not so."""
        for first, second in self._pairs(one, other):
            self._world.count("rumours")
            self._tell_lost(first, second)
            if self._random.random() < 0.8:
                self._world.time.call_in(int(self._random.random() * 300_000), partial(self._tell_found, first, second))

    @staticmethod
    def _lose(route: Route, node: Node) -> None:
        """A client's line to a life of a node is lost; to the next one it has another."""
        route.lose(node.name)
        if node.life is not None:
            route.meet(node.name)

    @staticmethod
    def _meet(route: Route, life: Life) -> None:
        if life.alive:
            route.meet(life.node.name)

    # ---- telling --------------------------------------------------------------------------------------------------------

    def _on_still_cut(self, one: str, other: str) -> None:
        if self._world.network.is_cut(one, other):
            for first, second in self._pairs(one, other):
                self._tell_lost(first, second)
                self._tell_lost(second, first)

    def _find(self, one: Life, other: Life) -> None:
        wait_us = 1 + self._random.randrange(FOUND_IN_US)
        for first, second in ((one, other), (other, one)):
            self._world.time.call_in(wait_us, partial(self._tell_found, first, second))

    def _tell_found(self, life: Life, of: Life) -> None:
        names = (life.node.name, of.node.name)
        if life.alive and of.alive and not self._world.network.is_cut(*names):
            self._tell(life, PeerFound(of.node.name, of.incarnation))

    def _tell_lost(self, life: Life, of: Life) -> None:
        if life.alive:
            self._tell(life, PeerLost(of.node.name, of.incarnation))

    @staticmethod
    def _tell(life: Life, message: PeerFound | PeerLost) -> None:
        life.tell(Envelope("", COORDINATOR, 0, (message,)))

    def _others(self, life: Life) -> Iterable[Life]:
        return [other for other in self._world.lives() if other is not life]

    def _pairs(self, one: str, other: str) -> Iterable[tuple[Life, Life]]:
        found = {life.node.name: life for life in self._world.lives()}
        if one in found and other in found:
            yield found[one], found[other]
