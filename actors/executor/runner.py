"""The contract of a runner: the port through which the executor actor has functions called.

A runner owns threads, an event loop, worker processes and commands. The actor tells it what to start and what to stop; it
tells back, through the `report` it was made with, in batches, from any thread, and never blocks the caller.

    actor ── start([Order]) ──▶ runner ── report([Outcome]) ──▶ actor's mailbox
          ── stop(fence) ────▶

Before a function is called its start mark is set (`marks.py`): a few bytes in a memory-mapped file, no fsync, no system
call. The mark outlives kill -9, so whoever recovers knows which claimed attempts had really begun.

Promises
    each order yields exactly one Outcome, whatever happens to the process or thread that ran it
    an order that was withdrawn before its mark was set yields `not_started`, and its function is never called
    so does an order whose fence was revoked, by whatever process, before its mark was set; also if this one was frozen then
    while starts are held nothing begins: what had not begun, and what comes, yields `not_started`
    an `unknown_target` is reported before the `Learned` that makes it worth another try
    `stop` on a thread cannot end it: the attempt yields its outcome at once, its place stays taken until the thread ends
    a worker process and a command are ended with their whole process group: TERM, grace, KILL
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from ..records import AttemptOutcome, Command, ErrorInfo, ExecutorKind


class Order(Struct, frozen=True, gc=False, array_like=True):
    """One attempt to run.

    `target` is a name in the node's own table of functions (data never chooses code). `arguments` is MessagePack
    `[args, kwargs]` or empty; `handed` are the upstreams' results (each MessagePack), put before the other arguments.
    `slot` is the instant the run stands for, or None. `key` is the idempotency key, the same for every attempt.
    """

    fence: int
    run_id: int
    attempt: int
    tenant: str
    job: str
    kind: ExecutorKind
    target: str
    arguments: bytes
    handed: tuple[bytes, ...] = ()
    command: Command | None = None
    slot: int | None = None
    key: str = ""
    timeout_us: int | None = None


class Outcome(Struct, frozen=True, gc=False, array_like=True):
    """How one attempt ended; `fence` names it.

    `retry_after_us` is the wait that the job asked for (`Retry(after)`, `Snooze`) or that its own backoff function answered.
    `stuck` is true when the function goes on although the attempt is over: a thread that cannot be killed.
    """

    fence: int
    run_id: int
    attempt: int
    outcome: AttemptOutcome
    started_at: int
    ended_at: int
    result: bytes = b""
    error: ErrorInfo | None = None
    logs: bytes = b""
    retry_after_us: int | None = None
    stuck: bool = False


class Progress(Struct, frozen=True, gc=False, array_like=True):
    """How far a running attempt says it is."""

    fence: int
    run_id: int
    done: float
    total: float
    text: str


class Freed(Struct, frozen=True, gc=False, array_like=True):
    """A place that a stuck attempt held is free again."""

    fence: int
    kind: ExecutorKind


class Learned(Struct, frozen=True, gc=False, array_like=True):
    """The runner has got to know functions; `knows` is what its property of that name answered then."""

    knows: int


Reported = Outcome | Progress | Freed | Learned
Report = Callable[[Sequence[Reported]], None]
StopReason = Literal["cancelled", "timed_out", "shutdown"]


class Capacity(Struct, frozen=True):
    """How many attempts of each kind a runner runs at once."""

    thread: int
    asynchronous: int
    process: int
    command: int

    def of(self, kind: ExecutorKind) -> int:
        """The places for attempts of this kind."""
        match kind:
            case "thread":
                return self.thread
            case "async":
                return self.asynchronous
            case "process":
                return self.process
            case "command":
                return self.command


class Begun(Struct, frozen=True):
    """What the marks of an incarnation say: the fences whose functions were called.

    `readable` is false where they cannot be trusted. `dead` if its process certainly is no more (or has closed its runner), so
    that nothing of it begins hereafter; false means only that this could not be told. What is not among `fences` and not above
    `revoked` is never called. Where nothing is readable, nothing else is told.
    """

    incarnation: str
    readable: bool
    fences: frozenset[int]
    dead: bool = False
    revoked: int = 0


class Runner(Protocol):
    """The port that the executor holds."""

    capacity: Capacity

    def open(self, report: Report) -> None:
        """Start pools; from now on outcomes go to `report`."""

    def start(self, orders: Sequence[Order]) -> None:
        """Take orders, in order of urgency. Never blocks; a target that is not known yields `unknown_target`."""

    def stop(self, fence: int, reason: StopReason, grace_us: int) -> None:
        """End one attempt: withdraw it if it has not begun (`not_started`), else ask it to end, then make it."""

    @property
    def knows(self) -> int:
        """A number that grows whenever functions are learned; each growth is also reported, as `Learned`."""

    def withdraw(self, fences: Sequence[int]) -> None:
        """Give back those of these that have not begun (`not_started`); the others go on."""

    def hold(self, held: bool) -> None:
        """Begin nothing, and give back what has not begun and what comes (`not_started`), until told to go on."""

    def forget(self, fences: Sequence[int]) -> None:
        """These outcomes are durable: their marks may be reused."""

    def held(self) -> Sequence[int]:
        """The fences of orders that have not yielded their outcome yet."""

    def begun(self, incarnation: str) -> Begun:
        """Read the marks that another incarnation left (or this one)."""

    def revoke(self, incarnation: str, fence: int) -> Begun:
        """See to it that this incarnation begins nothing under a fence up to this one, be it alive, frozen or dead; then read.

        Where the marks are not readable nothing was revoked. A lower fence than before takes nothing back; 0 only reads.
        """

    def left(self) -> Sequence[str]:
        """Answer which other incarnations certainly are dead, and have left marks here."""

    def sweep(self, incarnations: Sequence[str]) -> None:
        """What these had begun is dealt with: remove the marks of those that live no more."""

    def close(self, timeout_us: int) -> None:
        """End all: cancel, TERM, grace, KILL, within the time-out. Twice is harmless."""
