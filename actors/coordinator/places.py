"""The places: which executors there are, and how many attempts each may be given now.

Work goes out by credit. An executor offers `room` for each kind: its places, and a little ahead where its work is short, so
that it need not wait for the next claim.
"""

from __future__ import annotations

from ..actor import Address
from ..messages import Offer
from ..records import EXECUTOR_KINDS, ExecutorKind


class Place:
    """An executor that can be given work. `out` counts the attempts that are with it, by kind."""

    __slots__ = ("address", "capacity", "incarnation", "node", "out", "room")

    def __init__(self, address: Address, offer: Offer) -> None:
        self.address = address
        self.node = offer.node
        self.out: dict[ExecutorKind, int] = dict.fromkeys(EXECUTOR_KINDS, 0)
        self.update(offer)

    def update(self, offer: Offer) -> None:
        """Take over what an executor offers now."""
        self.incarnation = offer.incarnation
        self.room = offer.room
        self.capacity = offer.capacity

    def free(self, kind: ExecutorKind) -> int:
        """How many more attempts of this kind it takes."""
        return self.room.get(kind, 0) - self.out[kind]


class Places:
    """All executors of the cluster, by node."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}

    def offer(self, address: Address, offer: Offer) -> None:
        """Note what an executor offers."""
        place = self._places.get(offer.node)
        if place is None:
            self._places[offer.node] = Place(address, offer)
        else:
            place.update(offer)

    def of(self, node: str) -> Place | None:
        """The place of a node, None when it is not known."""
        return self._places.get(node)

    def best(self, kind: ExecutorKind) -> Place | None:
        """The executor with the most room for this kind, None when none has any."""
        found: Place | None = None
        for place in self._places.values():
            if place.free(kind) > 0 and (found is None or place.free(kind) > found.free(kind)):
                found = place
        return found

    def take(self, node: str, kind: ExecutorKind, count: int = 1) -> None:
        """An attempt went to this node."""
        self._places[node].out[kind] += count

    def take_restored(self, node: str, kind: ExecutorKind) -> None:
        """An attempt of an earlier reign is still with this node."""
        self.take(node, kind)

    def give_back(self, node: str, kind: ExecutorKind) -> None:
        """An attempt of this node is over."""
        place = self._places.get(node)
        if place is not None:
            assert place.out[kind] > 0, f"{node} gives back a {kind} place that was never taken"
            place.out[kind] -= 1

    def out(self) -> int:
        """How many attempts are out, everywhere."""
        return sum(sum(place.out.values()) for place in self._places.values())

    def incarnations(self) -> dict[str, str]:
        """The incarnation of each node."""
        return {node: place.incarnation for node, place in self._places.items()}

    def all(self) -> list[Place]:
        """Every executor."""
        return list(self._places.values())
