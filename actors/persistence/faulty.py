"""A store that fails on purpose, for tests and the simulator.

It stands before another store and asks a plan what is to go wrong with each step. There is no chance in it: a plan is a
function from the step to the fault, and whoever wants chance brings it along with its seed.

    step    "open", "enter", "is_dead", "lease", "take_lease", "renew_lease", "last_seq", "commit", "read"; numbered from 1
    fault   what happens instead, see `Fault`

A crash is `Crash`, which no handler of errors catches: whoever drives the store makes the node anew. `crash()` then gives
the disk's view: commits that were acknowledged but not synced (`Fault.UNSYNCED`) are gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from enum import Enum
from typing import Any, Final, Literal, Protocol, TypeVar

from msgspec import Struct

from ...errors import StoreBusy, StoreFull, StoreUnknown
from .store import Capabilities, Committed, Lease, Question, Store, Write

Answer = TypeVar("Answer")
StepKind = Literal["open", "enter", "is_dead", "lease", "take_lease", "renew_lease", "last_seq", "commit", "read"]


class Crash(BaseException):
    """The process dies here. Not an `Exception`, as a kill is none."""


class Fault(Enum):
    """What goes wrong with a step."""

    NONE = "nothing"
    BUSY = "StoreBusy, nothing done"
    FULL = "StoreFull, nothing done"
    UNKNOWN_LOST = "StoreUnknown, nothing done"
    UNKNOWN_DONE = "StoreUnknown, but done"
    UNSYNCED = "done and acknowledged, but lost in a crash that comes before the next synced commit"
    CRASH_BEFORE = "dies before anything is done"
    CRASH_DURING = "dies in the middle of it: written, but not synced, so a crash of the machine loses it"
    CRASH_AFTER = "dies when it is done and before anybody is told"


class Step(Struct, frozen=True):
    """What is about to be done: the `number`-th step on this store."""

    number: int
    kind: StepKind
    writes: tuple[Write, ...] = ()
    question: Question | None = None


Plan = Callable[[Step], Fault]


class Restorable(Store, Protocol):
    """A store that can go back to what it was."""

    def snapshot(self) -> Any:
        """Remember the content as it is."""

    def restore(self, snapshot: Any) -> None:
        """Go back to a remembered content."""


_BEFORE: Final[dict[Fault, Callable[[], BaseException]]] = {
    Fault.BUSY: lambda: StoreBusy("the store is busy, as planned"),
    Fault.FULL: lambda: StoreFull("the store is full, as planned"),
    Fault.UNKNOWN_LOST: lambda: StoreUnknown("the outcome is unknown, as planned"),
    Fault.CRASH_BEFORE: lambda: Crash("before it was done"),
}
_AFTER: Final[dict[Fault, Callable[[], BaseException]]] = {
    Fault.UNKNOWN_DONE: lambda: StoreUnknown("the outcome is unknown, as planned"),
    Fault.CRASH_DURING: lambda: Crash("while it was being done"),
    Fault.CRASH_AFTER: lambda: Crash("after it was done"),
}
_NOT_SYNCED: Final = frozenset({Fault.UNSYNCED, Fault.CRASH_DURING})


class FaultyStore:
    """A store that does what `inner` does, except where the plan says otherwise.

    `UNSYNCED` and `CRASH_DURING` need an inner store that can be restored, as `MemoryStore` can. Only one faulty store may
    stand before an inner store then: what another wrote would be lost in the crash of this one.
    """

    def __init__(self, inner: Store, plan: Plan) -> None:
        self.capabilities: Capabilities = inner.capabilities
        self._inner = inner
        self._plan = plan
        self._steps = 0
        self._synced: Any = None

    @property
    def steps(self) -> int:
        """How many steps were asked of the plan."""
        return self._steps

    def crash(self) -> int:
        """Lose what was not synced, as a loss of power does; answer 1 if there was anything, else 0."""
        if self._synced is None:
            return 0
        self._restorable().restore(self._synced)
        self._synced = None
        return 1

    def open(self) -> None:
        """As the inner store."""
        self._do("open", self._inner.open)

    def enter(self, holder: str) -> None:
        """As the inner store."""
        self._do("enter", lambda: self._inner.enter(holder))

    def is_dead(self, holder: str) -> bool:
        """As the inner store."""
        return self._do("is_dead", lambda: self._inner.is_dead(holder))

    def tidy(self) -> bool:
        """Let the inner store put itself in order."""
        return self._inner.tidy()

    def close(self) -> None:
        """As the inner store; nothing goes wrong with it."""
        self._inner.close()

    def lease(self) -> Lease | None:
        """As the inner store."""
        return self._do("lease", self._inner.lease)

    def take_lease(self, holder: str, address: str, seen: Lease | None) -> Lease | None:
        """As the inner store."""
        return self._do("take_lease", lambda: self._inner.take_lease(holder, address, seen), writes=True)

    def renew_lease(self, holder: str, epoch: int) -> int:
        """As the inner store."""
        return self._do("renew_lease", lambda: self._inner.renew_lease(holder, epoch), writes=True)

    def last_seq(self) -> int:
        """As the inner store."""
        return self._do("last_seq", self._inner.last_seq)

    def commit(self, writes: Sequence[Write], *, epoch: int, holder: str, seq: int) -> Committed:
        """As the inner store."""
        step = self._step("commit", tuple(writes))
        return self._perform(step, lambda: self._inner.commit(writes, epoch=epoch, holder=holder, seq=seq), writes=True)

    def found_before(self, writes: Sequence[Write]) -> Committed:
        """As the inner store; nothing goes wrong with it."""
        return self._inner.found_before(writes)

    def read(self, question: Question) -> list[Any]:
        """As the inner store."""
        return self._perform(self._step("read", question=question), lambda: self._inner.read(question))

    def _step(self, kind: StepKind, writes: tuple[Write, ...] = (), question: Question | None = None) -> Step:
        self._steps += 1
        return Step(self._steps, kind, writes, question)

    def _do(self, kind: StepKind, work: Callable[[], Answer], *, writes: bool = False) -> Answer:
        return self._perform(self._step(kind), work, writes=writes)

    def _perform(self, step: Step, work: Callable[[], Answer], *, writes: bool = False) -> Answer:
        fault = self._plan(step)
        if fault in _BEFORE:
            failure = _BEFORE[fault]()
            raise failure
        snapshot = self._restorable().snapshot() if fault in _NOT_SYNCED and self._synced is None else self._synced
        answer = work()
        if fault in _NOT_SYNCED:
            self._synced = snapshot
        elif writes:
            self._synced = None  # a sync takes with it what was written before
        if fault in _AFTER:
            failure = _AFTER[fault]()
            raise failure
        return answer

    def _restorable(self) -> Restorable:
        assert hasattr(self._inner, "restore"), f"{type(self._inner).__name__} cannot lose what was not synced"
        restorable: Any = self._inner
        return restorable  # type: ignore[no-any-return]


def healthy(step: Step) -> Fault:
    """The plan in which nothing goes wrong."""
    return Fault.NONE


def in_commits(faults: Iterable[Fault]) -> Plan:
    """The plan that gives each commit the next of these faults, and none when they are used up."""
    waiting = iter(faults)
    return lambda step: next(waiting, Fault.NONE) if step.kind == "commit" else Fault.NONE
