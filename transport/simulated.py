"""A network in virtual time, with every fault that the contract allows, repeatable from one seed.

    send ─▶ codec ─▶ cut? lost? ─▶ line: latency, late, overtaken, doubled ─▶ cut? full? absent? ─▶ codec ─▶ receive

Nothing here reads a clock or draws from a random source of its own: time is the `VirtualClock` that is given, chance the one
`Random`. Each envelope that faults may meet draws the same count of numbers whatever happens to it, so that taking a fault
away changes nothing but that fault.

A line leads from one node to another. Without faults it keeps the order in which envelopes were sent: one that is late holds
up those behind it. One that is overtaken leaves the line and comes when it comes. Envelopes between actors of one node arrive
at the same instant and meet no faults unless `local_faults` is set: within a process a mailbox loses nothing unless it is full.

The newest word about a line counts: `mend` opens a line again, whatever cut it. Faults can be given for all lines, for one
line, and for one pair of actors; the narrowest counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from itertools import permutations
from random import Random
from typing import Final, Protocol

from msgspec import Struct

from ..actors.actor import Address, on_node
from ..errors import DataError
from .codec import decode, encode_all
from .contract import DropReason, Drops, Envelope, Receive, split_address


class VirtualClock(Protocol):
    """Time that whoever holds it moves on."""

    @property
    def now(self) -> int:
        """The instant, in µs."""

    def call_at(self, at: int, call: Callable[[], None]) -> None:
        """Call at the instant `at` (µs, never before now); calls of one instant in the order in which they were asked for."""


class Faults(Struct, frozen=True):
    """What happens on a line: chances between 0 and 1, and times in µs.

    An envelope takes `latency_us`, and up to `late_us` more when it is late. One that is overtaken, and the second one of a
    doubled, come up to `stray_us` later, outside the line.
    """

    lost: float = 0.0
    late: float = 0.0
    doubled: float = 0.0
    overtaken: float = 0.0
    full: float = 0.0
    latency_us: int = 100
    late_us: int = 500_000
    stray_us: int = 50_000


NO_FAULTS: Final = Faults()
_LOCAL: Final = Faults(latency_us=0)


class _Fate(Struct, frozen=True):
    """What chance has decided about one envelope."""

    lost: bool
    full: bool
    late_us: int
    overtaken_us: int | None
    doubled_us: int | None


class SimulatedNetwork:
    """Lines between nodes.

    Args:
        clock: virtual time.
        random: the stream of chance for the network alone.
        faults: of all lines, until `set_faults` says otherwise.
        local_faults: let envelopes between actors of one node meet faults too.
    """

    def __init__(
        self, clock: VirtualClock, random: Random, *, faults: Faults = NO_FAULTS, local_faults: bool = False
    ) -> None:
        self._clock = clock
        self._random = random
        self._faults = faults
        self._local_faults = local_faults
        self._transports: dict[str, SimulatedTransport] = {}
        self._by_line: dict[tuple[str, str], Faults] = {}
        self._by_pair: dict[tuple[Address, Address], Faults] = {}
        self._cut: set[tuple[str, str]] = set()
        self._slow: dict[str, int] = {}
        self._full: set[Address] = set()
        self._free_at: dict[tuple[str, str], int] = {}
        self._in_flight = 0
        self._lives: list[SimulatedTransport] = []

    @property
    def in_flight(self) -> int:
        """Envelopes that are on their way, doubles counted twice."""
        return self._in_flight

    def transport(self, node: str) -> SimulatedTransport:
        """Answer a transport for a node; a second one for the same node stands for its next life, and closes the first."""
        if node in self._transports:
            self._transports[node].close()
        transport = self._transports[node] = SimulatedTransport(self, node)
        self._lives.append(transport)
        return transport

    def dropped(self) -> dict[DropReason, int]:
        """How many envelopes were dropped so far on all lines, by reason."""
        total: Counter[DropReason] = Counter()
        for transport in self._lives:
            total.update(transport.dropped())
        return dict(sorted(total.items()))

    def set_faults(self, faults: Faults) -> None:
        """Set the faults of all lines that have none of their own."""
        self._faults = faults

    def set_line(self, origin: str, destination: str, faults: Faults) -> None:
        """Set the faults of the line from one node to another."""
        self._by_line[origin, destination] = faults

    def set_pair(self, sender: Address, recipient: Address, faults: Faults) -> None:
        """Set the faults between two actors, both named in full ("clock@n1"), in this direction; also within a node."""
        self._by_pair[sender, recipient] = faults

    def cut(self, origin: str, destination: str) -> None:
        """Cut the line from one node to another, also for what is on its way; the other direction stays."""
        self._cut.add((origin, destination))

    def mend(self, origin: str, destination: str) -> None:
        """Open the line from one node to another again."""
        self._cut.discard((origin, destination))

    def partition(self, *groups: Collection[str], one_way: bool = False) -> None:
        """Cut all lines between nodes of different groups; `one_way` only those from an earlier group to a later one."""
        for first, second in permutations(range(len(groups)), 2):
            if not one_way or first < second:
                for origin in groups[first]:
                    for destination in groups[second]:
                        self.cut(origin, destination)

    def flap(self, one: str, other: str, *, every_us: int, until: int) -> None:
        """Cut both lines between two nodes now, mend them `every_us` later, and so on; mended for good at `until`."""
        assert every_us > 0, f"every_us must be positive, it is {every_us}"

        def toggle(*, is_cut: bool) -> None:
            over = self._clock.now >= until
            for line in ((one, other), (other, one)):
                (self.cut if is_cut and not over else self.mend)(*line)
            if not over:
                self._clock.call_at(min(self._clock.now + every_us, until), lambda: toggle(is_cut=not is_cut))

        toggle(is_cut=True)

    def slow(self, node: str, extra_us: int) -> None:
        """Let everything that goes to `node` or comes from it take `extra_us` longer; 0 ends it."""
        self._slow[node] = extra_us

    def fill(self, address: Address, *, full: bool = True) -> None:
        """Let the mailbox at an address in full ("clock@n1") be full, or no more."""
        (self._full.add if full else self._full.discard)(address)

    def heal(self) -> None:
        """End all faults, cuts, slowness and full mailboxes. What is on its way stays late, overtaken or doubled."""
        self._faults = NO_FAULTS
        for each in (self._by_line, self._by_pair, self._cut, self._slow, self._full):
            each.clear()

    def carry(self, origin: SimulatedTransport, envelope: Envelope, frame: bytes) -> None:
        """Put one frame on its line. For the network's own transports."""
        name, node = split_address(envelope.recipient)
        destination = node or origin.node
        line = (origin.node, destination)
        recipient = on_node(name, destination)
        faults = self._faults_of(line, envelope.sender, recipient)
        fate = self._draw(faults) if faults is not _LOCAL else _UNHARMED
        if line in self._cut:
            origin.drop("cut")
        elif fate.lost:
            origin.drop("lost")
        else:
            usual = self._clock.now + faults.latency_us + self._slow_us(line) + fate.late_us
            stray = fate.overtaken_us
            at = self._in_line(line, usual) if stray is None else usual + stray
            self._deliver_at(at, line, recipient, frame, is_full=fate.full)
            if fate.doubled_us is not None:
                self._deliver_at(usual + fate.doubled_us, line, recipient, frame, is_full=False)

    def _faults_of(self, line: tuple[str, str], sender: Address, recipient: Address) -> Faults:
        origin, destination = line
        pair = (sender if "@" in sender else on_node(sender, origin), recipient)
        if pair in self._by_pair:
            return self._by_pair[pair]
        if origin == destination and not self._local_faults:
            return _LOCAL
        return self._by_line.get(line, self._faults)

    def _draw(self, faults: Faults) -> _Fate:
        lost, late, doubled, overtaken, full, late_part, stray_part, double_part = (
            self._random.random() for _ in range(8)
        )
        return _Fate(
            lost=lost < faults.lost,
            full=full < faults.full,
            late_us=1 + int(late_part * faults.late_us) if late < faults.late else 0,
            overtaken_us=1 + int(stray_part * faults.stray_us) if overtaken < faults.overtaken else None,
            doubled_us=int(double_part * faults.stray_us) if doubled < faults.doubled else None,
        )

    def _slow_us(self, line: tuple[str, str]) -> int:
        origin, destination = line
        return 0 if origin == destination else self._slow.get(origin, 0) + self._slow.get(destination, 0)

    def _in_line(self, line: tuple[str, str], at: int) -> int:
        self._free_at[line] = max(at, self._free_at.get(line, 0))
        return self._free_at[line]

    def _deliver_at(self, at: int, line: tuple[str, str], recipient: Address, frame: bytes, *, is_full: bool) -> None:
        self._in_flight += 1
        origin = self._transports[line[0]]
        self._clock.call_at(at, lambda: self._arrive(origin, line, recipient, frame, is_full=is_full))

    def _arrive(
        self, origin: SimulatedTransport, line: tuple[str, str], recipient: Address, frame: bytes, *, is_full: bool
    ) -> None:
        self._in_flight -= 1
        destination = self._transports.get(line[1])
        receive = destination.receiver(split_address(recipient)[0]) if destination else None
        if line in self._cut:
            origin.drop("cut")
        elif receive is None:
            origin.drop("absent")
        elif is_full or recipient in self._full or not receive(decode(frame)):
            origin.drop("full")


_UNHARMED: Final = _Fate(lost=False, full=False, late_us=0, overtaken_us=None, doubled_us=None)


class SimulatedTransport:
    """The end of all lines at one node. A `Transport`; it counts what was dropped of that which it sent."""

    def __init__(self, network: SimulatedNetwork, node: str) -> None:
        self.node = node
        self._network = network
        self._receivers: dict[Address, Receive] = {}
        self._drops = Drops()
        self._closed = False

    def attach(self, address: Address, receive: Receive) -> None:
        """Hand what is sent to `address` on this node to `receive`; replaces whoever was attached there."""
        if not self._closed:
            self._receivers[address] = receive

    def detach(self, address: Address) -> None:
        """Hand nothing more to `address`; nobody there is no error."""
        self._receivers.pop(address, None)

    def send(self, envelope: Envelope) -> None:
        """Put the envelope on its line.

        Raises:
            DataError: a message can never travel.
        """
        if self._closed:
            self._drops.count("closed")
            return
        try:
            frames = encode_all(envelope)
        except DataError:
            self._drops.count("unsendable")
            raise
        for frame in frames:
            self._network.carry(self, envelope, frame)

    def close(self) -> None:
        """Let go of all mailboxes; what is sent from now on is dropped, and what is on its way here finds nobody."""
        self._closed = True
        self._receivers = {}

    def dropped(self) -> dict[DropReason, int]:
        """How many of the envelopes that were sent here were dropped so far, by reason."""
        return self._drops.counts()

    def drop(self, reason: DropReason) -> None:
        """Count one envelope that was dropped. For the network."""
        self._drops.count(reason)

    def receiver(self, name: Address) -> Receive | None:
        """Answer who is attached here under a name. For the network."""
        return self._receivers.get(name)
