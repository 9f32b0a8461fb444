"""The runner of a simulated node: keeps the contract of a runner, with functions that only the simulation knows.

A function is a draw: how long it takes, how it ends, whether it listens when it is asked to stop. The draw depends on the run
and on how often it has begun, and on nothing else, so a fault that is taken away moves no function.

    waiting ──place free──▶ mark set, function begins (the trace is told) ──▶ ends ──▶ Outcome
                                └─ stop, time-out: it ends soon; or it does not listen, and is given up (`stuck`), or killed

What the trace is told is what the functions themselves would have left behind. The marks lie on the disk of the machine: they
outlive this process, and are trusted only within the boot in which they were set. What is revoked there is found by this
process, also when it stood still meanwhile, before it calls a function.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from callsheet.actors.executor.runner import Begun, Capacity, Freed, Learned, Order, Outcome, Report, StopReason
from callsheet.actors.records import AttemptOutcome, ErrorInfo, ExecutorKind
from callsheet.data import pack

if TYPE_CHECKING:
    from simulation.surroundings import Surroundings

GRACE_US: Final = 5_000_000


class Draw(Struct, frozen=True):
    """What a function will do: it takes so long and ends so; `listens` when it is asked to stop."""

    takes_us: int
    ends: AttemptOutcome
    listens: bool = True
    retry_after_us: int | None = None


class _Running(Struct):
    """A function that was called."""

    order: Order
    draw: Draw
    started_at: int
    began_at: int
    stopped: StopReason | None = None
    given_up: bool = False


class MarkSet(set[int]):
    """The fences that an incarnation has marked, up to which fence it may begin nothing more, and whether it lives."""

    def __init__(self) -> None:
        super().__init__()
        self.revoked = 0
        self.alive = True


class SimulatedRunner:
    """Runs orders in virtual time. Fulfils the contract of `callsheet.actors.executor.runner.Runner`."""

    def __init__(self, world: Surroundings, incarnation: str) -> None:
        self._world = world
        self._incarnation = incarnation
        self.capacity = Capacity(thread=world.places["thread"], asynchronous=4, process=2, command=1)
        self._report: Report = lambda reports: None
        self._alive = True
        self._closed = False
        self._waiting: dict[int, Order] = {}
        self._running: dict[int, _Running] = {}
        self._marks = MarkSet()
        world.machine.marks[incarnation] = (world.machine.boot, self._marks)
        self._is_held = False
        self._learning: set[int] = set()

    def open(self, report: Report) -> None:
        self._report = report

    def die(self) -> None:
        """The process is killed, and what ran in it with it."""
        self._alive = self._marks.alive = False
        for fence in self._running:
            self._world.trace.died(fence)

    def start(self, orders: Sequence[Order]) -> None:
        for order in orders:
            if self._closed or self._is_held:
                self._give_back(order)
            elif not self._world.is_known(order):
                self._refuse(order)
            elif order.fence not in self._waiting and order.fence not in self._running:
                self._waiting[order.fence] = order
        self._later(self._world.start_wait(), self._fill)

    def stop(self, fence: int, reason: StopReason, grace_us: int) -> None:
        if fence in self._waiting:
            self.withdraw([fence])
            return
        live = self._running.get(fence)
        if live is None or live.given_up:
            return
        live.stopped = live.stopped or reason
        if live.draw.listens:
            self._later(20_000, lambda: self._end_stopped(live))
        else:
            self._later(grace_us, lambda: self._give_up(live))

    def withdraw(self, fences: Sequence[int]) -> None:
        for fence in fences:
            order = self._waiting.pop(fence, None)
            if order is not None:
                self._give_back(order)

    def hold(self, held: bool) -> None:
        self._is_held = held
        if held:
            self.withdraw(list(self._waiting))

    @property
    def knows(self) -> int:
        return self._world.knows()

    def forget(self, fences: Sequence[int]) -> None:
        self._marks.difference_update(fences)

    def held(self) -> Sequence[int]:
        return [*self._waiting, *(fence for fence, live in self._running.items() if not live.given_up)]

    def begun(self, incarnation: str) -> Begun:
        marks = self._readable(incarnation)
        if marks is None:
            return Begun(incarnation, readable=False, fences=frozenset())
        return Begun(incarnation, readable=True, fences=frozenset(marks), dead=not marks.alive, revoked=marks.revoked)

    def revoke(self, incarnation: str, fence: int) -> Begun:
        marks = self._readable(incarnation)
        if marks is not None:
            marks.revoked = max(marks.revoked, fence)
        return self.begun(incarnation)

    def _readable(self, incarnation: str) -> MarkSet | None:
        boot, marks = self._world.machine.marks.get(incarnation, (0, None))
        return marks if boot == self._world.machine.boot and isinstance(marks, MarkSet) else None

    def left(self) -> Sequence[str]:
        return [it for it in self._world.machine.marks if it != self._incarnation and self._is_dead(it)]

    def _is_dead(self, incarnation: str) -> bool:
        readable = self._readable(incarnation)
        return readable is None or not readable.alive

    def sweep(self, incarnations: Sequence[str]) -> None:
        for incarnation in incarnations:
            if self._is_dead(incarnation):
                self._world.machine.marks.pop(incarnation, None)

    def close(self, timeout_us: int) -> None:
        self._closed = True
        self.withdraw(list(self._waiting))
        for fence in list(self._running):
            self.stop(fence, "shutdown", timeout_us // 2)

    def waiting(self) -> dict[int, Order]:
        """What has not begun, and may."""
        return {fence: order for fence, order in self._waiting.items() if fence > self._marks.revoked}

    def marked(self) -> int:
        """How many marks are set."""
        return len(self._marks)

    # ---- functions ------------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        for fence, order in list(self._waiting.items()):
            if fence in self._waiting and self._free(order.kind):
                del self._waiting[fence]
                self._begin(order)

    def _free(self, kind: ExecutorKind) -> bool:
        return sum(live.order.kind == kind for live in self._running.values()) < self.capacity.of(kind)

    def _begin(self, order: Order) -> None:
        self.mark(order)
        if order.fence <= self._marks.revoked:
            self._marks.discard(order.fence)
            self._give_back(order)
            return
        nth = self._world.trace.began(order, self._incarnation)
        draw = self._world.draw(order, nth)
        live = _Running(order, draw, self._now(), self._world.now)
        self._running[order.fence] = live
        self._later(draw.takes_us, lambda: self._end(live))
        if order.timeout_us is not None:
            self._later(order.timeout_us, lambda: self.stop(order.fence, "timed_out", GRACE_US))

    def mark(self, order: Order) -> None:
        """Set the start mark."""
        self._marks.add(order.fence)

    def _end(self, live: _Running) -> None:
        """The function ends by itself."""
        fence = live.order.fence
        if self._running.get(fence) is not live:
            return
        ends = live.draw.ends
        if live.stopped is not None and ends != "crashed":
            self._end_stopped(live)
            return
        self._over(live, ends)

    def _end_stopped(self, live: _Running) -> None:
        if self._running.get(live.order.fence) is live:
            self._over(live, "timed_out" if live.stopped == "timed_out" else "cancelled")

    def _give_up(self, live: _Running) -> None:
        """It does not listen: a process is killed, a thread keeps its place."""
        if self._running.get(live.order.fence) is not live or live.given_up:
            return
        if live.order.kind == "process":
            self._end_stopped(live)
            return
        live.given_up = True
        ends: AttemptOutcome = "timed_out" if live.stopped == "timed_out" else "cancelled"
        self._world.trace.given_up(live.order.fence)
        self._tell(self._outcome(live, ends, stuck=True))

    def _over(self, live: _Running, ends: AttemptOutcome) -> None:
        fence = live.order.fence
        del self._running[fence]
        self._world.trace.ended(fence, ends)
        if live.given_up:
            self._report([Freed(fence, live.order.kind)])
        else:
            self._tell(self._outcome(live, ends))
        self._later(self._world.start_wait(), self._fill)

    def _outcome(self, live: _Running, ends: AttemptOutcome, *, stuck: bool = False) -> Outcome:
        order = live.order
        error = None
        if ends in ("failed", "crashed"):
            error = ErrorInfo("builtins.RuntimeError", ("builtins.Exception",), f"{ends} as drawn", "")
        result = result_of(order.job, order.run_id) if ends == "succeeded" else b""
        wait = live.draw.retry_after_us if ends in ("failed", "snoozed") else None
        return Outcome(
            order.fence,
            order.run_id,
            order.attempt,
            ends,
            live.started_at,
            self._now(),
            result,
            error,
            b"",
            wait,
            stuck,
        )

    def _refuse(self, order: Order) -> None:
        error = ErrorInfo("callsheet.errors.DefinitionError", (), f"no function {order.target!r}", "")
        self._tell(
            Outcome(order.fence, order.run_id, order.attempt, "unknown_target", self._now(), self._now(), error=error)
        )
        known_at = self._world.known_at(order)
        if known_at is not None and known_at not in self._learning:
            self._learning.add(known_at)
            self._later(known_at - self._world.now, lambda: self._report([Learned(self.knows)]))

    def _give_back(self, order: Order) -> None:
        self._tell(Outcome(order.fence, order.run_id, order.attempt, "not_started", 0, self._now()))

    # ---- the process ----------------------------------------------------------------------------------------------------

    def _tell(self, outcome: Outcome) -> None:
        self._report([outcome])

    def _now(self) -> int:
        return self._world.clocks.now()

    def _later(self, wait_us: int, call: Callable[[], None]) -> None:
        """Call later, if the process lives; not while it stands still."""
        self._world.call_in(wait_us, call)


def result_of(job: str, run_id: int) -> bytes:
    """What the function of a run answers."""
    return pack([job, run_id])
