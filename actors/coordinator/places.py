"""The places: which executors there are, what each has, and how many attempts it may be given now.

Work goes out by credit. An executor offers `room` for each kind: its places, and a little ahead where its work is short, so
that it need not wait for the next claim. Of those that have a run's labels, enough of its resources, and have not said that they
do not know its function, the one with the most idle places gets it, in turn where they are even; when none is idle, the one with
the most room ahead. Ahead comes last, because what was short until now may be long next: it would wait behind another while
places elsewhere are idle.
"""

from __future__ import annotations

from collections.abc import Collection, Container
from typing import Final, NamedTuple

from ..actor import Address
from ..executor.runner import Capacity
from ..messages import Offer
from ..records import EXECUTOR_KINDS, ExecutorKind, Job

PORTION: Final = 8
"""Attempts that one of several executors is given before the next is looked for, so that all get some."""

REMEMBERED_DEAD: Final = 10_000
"""Dead incarnations whose late words are told from those of the living; each restart of a node makes one."""

LACKS: Final = "waits for a node that has "
"""Begins the reason of a run that no executor could run even if it were idle."""

MAX_LOADING_BYTES: Final = 32 * 1024 * 1024
"""Bytes of large orders that are with an executor of another node and have not been seen to begin: half of what its line holds.

More would keep everything else from going there, heartbeats too.
"""

NOTHING: Final = Capacity(0, 0, 0, 0)


class Needs(NamedTuple):
    """What a run wants of an executor. `target` is named only when some executor does not know it."""

    kind: ExecutorKind
    labels: tuple[str, ...] = ()
    resources: tuple[tuple[str, int], ...] = ()
    target: str = ""


PLAIN: Final[dict[ExecutorKind, Needs]] = {kind: Needs(kind) for kind in EXECUTOR_KINDS}
"""What most runs want: a place of their kind."""


class Place:
    """An executor of one life of a node. `out` counts the attempts that are with it, by kind; `closed` to new ones; its node `silent`.

    `loading` are the bytes of large orders that may still be on their way to it.
    """

    __slots__ = (
        "address",
        "capacity",
        "closed",
        "incarnation",
        "knows",
        "labels",
        "loading",
        "node",
        "out",
        "resources",
        "room",
        "silent",
        "strange",
        "used",
    )

    def __init__(self, address: Address, node: str, incarnation: str) -> None:
        self.address = address
        self.node = node
        self.incarnation = incarnation
        self.out: dict[ExecutorKind, int] = dict.fromkeys(EXECUTOR_KINDS, 0)
        self.used: dict[str, int] = {}
        self.room: dict[str, int] = {}
        self.capacity = NOTHING
        self.labels: frozenset[str] = frozenset()
        self.resources: dict[str, int] = {}
        self.strange: set[str] = set()
        self.knows = 0
        self.loading = 0
        self.closed = False
        self.silent = False

    def update(self, offer: Offer) -> bool:
        """Take over what the executor offers now; tell whether it may know functions that it did not."""
        self.room, self.capacity = offer.room, offer.capacity
        self.labels, self.resources = frozenset(offer.labels), offer.resources
        learned = offer.knows > self.knows and bool(self.strange)
        if offer.knows > self.knows:
            self.strange.clear()
        self.knows = offer.knows
        return learned

    def free(self, kind: ExecutorKind) -> int:
        """How many more attempts of this kind it takes."""
        return 0 if self.closed else self.room.get(kind, 0) - self.out[kind]

    def idle(self, kind: ExecutorKind) -> int:
        """How many places of this kind have nothing to do."""
        return max(0, self.capacity.of(kind) - self.out[kind])

    def has(self, needs: Needs) -> bool:
        """Tell whether it could run this at all, were it empty."""
        return (
            self.labels.issuperset(needs.labels)
            and all(self.resources.get(name, 0) >= amount for name, amount in needs.resources)
            and needs.target not in self.strange
        )

    def room_for(self, needs: Needs) -> int:
        """How many more attempts of these needs it takes now."""
        room = self.free(needs.kind)
        if (
            room <= 0
            or self.loading >= MAX_LOADING_BYTES
            or not (self.has(needs) if needs is not PLAIN[needs.kind] else True)
        ):
            return 0
        for name, amount in needs.resources:
            room = min(room, self._unused(name) // amount)
        return max(0, room)

    def free_units(self, needs: Needs) -> int:
        """How many units of what is needed are free, nothing counted beyond what is needed."""
        return sum(min(amount, self._unused(name)) for name, amount in needs.resources)

    def leaves(self, needs: Needs, others: Needs) -> bool:
        """Whether what others need of it is left, or no less of it, when these have what they need."""
        wanted = dict(others.resources)
        return all(
            name not in wanted or self._unused(name) - amount >= wanted[name] for name, amount in needs.resources
        )

    def _unused(self, name: str) -> int:
        return self.resources.get(name, 0) - self.used.get(name, 0)

    def take(self, job: Job, count: int = 1) -> None:
        """Attempts of a job go there."""
        self.out[job.executor] += count
        for name, amount in job.resources.items():
            self.used[name] = self.used.get(name, 0) + amount * count

    def give_back(self, job: Job) -> None:
        """An attempt of a job is over there."""
        assert self.out[job.executor] > 0, f"{self.node} gives back a {job.executor} place that was never taken"
        self.out[job.executor] -= 1
        for name, amount in job.resources.items():
            self.used[name] -= amount

    def busy(self) -> int:
        """How many attempts are with it."""
        return sum(self.out.values())


class Places:
    """All executors of the cluster, by the incarnation of their node."""

    def __init__(self) -> None:
        self._places: dict[str, Place] = {}
        self._dead: dict[str, None] = {}
        self.strange: set[str] = set()

    def offer(self, address: Address, offer: Offer) -> bool:
        """Note what an executor offers; tell whether there may be a place now for what had none."""
        new = offer.incarnation not in self._places or not self._places[offer.incarnation].knows
        place = self.place(address, offer.node, offer.incarnation)
        return place.update(offer) or new

    def place(self, address: Address, node: str, incarnation: str) -> Place:
        """The place of this incarnation; one without room if it has offered nothing yet."""
        place = self._places.get(incarnation)
        if place is None:
            place = self._places[incarnation] = Place(address, node, incarnation)
        place.address = address
        return place

    def of(self, incarnation: str) -> Place | None:
        """The place of an incarnation, None when it is not known."""
        return self._places.get(incarnation)

    def drop(self, incarnation: str, *, dead: bool) -> None:
        """An incarnation is gone; if it is dead, it never comes back."""
        self._places.pop(incarnation, None)
        if dead:
            self._dead[incarnation] = None
            if len(self._dead) > REMEMBERED_DEAD:
                del self._dead[next(iter(self._dead))]

    def is_dead(self, incarnation: str) -> bool:
        """Tell whether an incarnation is known to be dead; what it said before may still arrive."""
        return incarnation in self._dead

    def best(self, needs: Needs, barred: Collection[Place] = ()) -> tuple[Place, int] | None:
        """The executor that gets this, and how many attempts it should get; None when none has room that is not barred."""
        found: Place | None = None
        most = (-1, 0)
        others = 0
        for place in self._places.values():
            room = place.room_for(needs)
            if room > 0 and not (barred and place in barred):
                others += 1
                idle = place.idle(needs.kind)
                rank = (idle, min(room, idle or room))
                if rank > most:
                    found, most = place, rank
        if found is None:
            return None
        return found, found.room_for(needs) if others == 1 else min(most[1], PORTION)

    def nearest(self, needs: Needs, taken: Container[Place]) -> Place | None:
        """The executor, but for those taken, that has the most free of what is needed and could run it, were it empty."""
        able = [it for it in self._places.values() if not it.closed and it not in taken and it.has(needs)]
        return max(able, key=lambda it: it.free_units(needs), default=None)

    def end_turn(self, place: Place) -> None:
        """An executor got something: where others are as idle, they come next."""
        if len(self._places) > 1 and place.incarnation in self._places:
            self._places[place.incarnation] = self._places.pop(place.incarnation)

    def needs(self, job: Job) -> Needs:
        """What a run of this job wants."""
        target = job.target if self.strange and job.target in self.strange else ""
        if not (job.labels or job.resources or target):
            return PLAIN[job.executor]
        return Needs(job.executor, job.labels, tuple(sorted(job.resources.items())), target)

    def lack(self, needs: Needs) -> str:
        """Why no executor could run this even if it were idle; empty when one could, or for plain needs."""
        if needs is PLAIN[needs.kind] or any(place.has(needs) for place in self._places.values()):
            return ""
        wanted = [*needs.labels, *(f"{amount} {name}" for name, amount in needs.resources)]
        if needs.target:
            wanted.append(f"the function {needs.target!r}")
        return f"{LACKS}{', '.join(wanted)}"

    def is_strange(self, place: Place, target: str) -> bool:
        """Note that an executor does not know a function; tell whether no other may know it either."""
        place.strange.add(target)
        self.strange.add(target)
        return all(target in other.strange for other in self._places.values())

    def nobody_knows(self, target: str) -> bool:
        """Whether every executor has said that it does not know a function."""
        return all(target in place.strange for place in self._places.values())

    def out(self) -> int:
        """How many attempts are out, everywhere."""
        return sum(place.busy() for place in self._places.values())

    def all(self) -> list[Place]:
        """Every executor."""
        return list(self._places.values())
