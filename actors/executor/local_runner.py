"""The runner of a node: threads, the event loop, worker processes and commands behind the one port.

`start` sorts orders by kind and hands each pool its part in one piece. Pools cost nothing until they are needed: threads are
started one by one, the loop with the first coroutine, worker processes with the first order for one.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..records import AttemptOutcome, ErrorInfo, ExecutorKind
from . import capture
from .call import Wall, call, not_started
from .commands import SLACK_US, Commands
from .event_loop import EventLoopPool
from .functions import Function, Functions
from .ledger import DEFAULT_GRACE_US, Ledger
from .live import LiveAttempt
from .marks import Marks, left_marks, read_begun, revoke, sweep_marks
from .pool import Pool
from .processes.foreman import WorkerLimits
from .processes.pool import ProcessPool
from .reporter import Reporter
from .runner import Begun, Capacity, Order, Outcome, Report, StopReason
from .threads import ThreadPool
from .warden import Warden
from .watch import Watch

DEFAULT_THREADS: Final = 8
DEFAULT_ASYNCHRONOUS: Final = 1_000
DEFAULT_COMMANDS: Final = 8

_POLL_S: Final = 0.002
"""How often `close` looks whether all attempts have ended."""


class LocalRunner:
    """Runs orders in this process and in worker processes of its own.

    `threads`, `processes`, `asynchronous` and `commands` are how many attempts of each kind run at once. Start marks are
    kept in `marks_folder` under the name of `incarnation`; without a folder they go with the process. `wall` reads UTC in
    nanoseconds. `grace_us` is what an attempt has to end by itself when its own time-out is over.
    """

    def __init__(
        self,
        functions: Functions,
        *,
        incarnation: str,
        marks_folder: Path | None = None,
        threads: int = DEFAULT_THREADS,
        asynchronous: int = DEFAULT_ASYNCHRONOUS,
        processes: int | None = None,
        commands: int = DEFAULT_COMMANDS,
        allow_commands: bool = False,
        worker_limits: WorkerLimits | None = None,
        grace_us: int = DEFAULT_GRACE_US,
        wall: Wall = time.time_ns,
    ) -> None:
        workers = (os.cpu_count() or 1) if processes is None else processes
        self.capacity = Capacity(thread=threads, asynchronous=asynchronous, process=workers, command=commands)
        self._functions = functions
        self._incarnation = incarnation
        self._folder = marks_folder
        self._allow_commands = allow_commands
        self._worker_limits = worker_limits or WorkerLimits()
        self._grace_us = grace_us
        self._wall = wall
        self._watch = Watch()
        self._warden = Warden()
        self._pools: dict[ExecutorKind, Pool] = {}
        self._making = threading.Lock()
        self._learning = threading.Lock()
        self._is_open = False
        self._is_held = False
        self._marks: Marks
        self._reporter: Reporter

    def open(self, report: Report) -> None:
        """Begin; from now on outcomes go to `report`, in batches, from any thread.

        Raises:
            OSError: the folder for the start marks cannot be written.
        """
        assert not self._is_open, "a runner is opened once"
        self._marks = Marks(self._folder, self._incarnation)
        self._reporter = Reporter(report, self._watch)
        capture.install()
        self._is_open = True
        self._functions.listen(self._on_learned)

    def start(self, orders: Sequence[Order]) -> None:
        """Take orders, in order of urgency. Never blocks."""
        if self._is_held or not self._is_open:
            self._give_back(orders)
            return
        capture.refresh()
        sorted_orders: dict[ExecutorKind, list[LiveAttempt]] = {}
        find, progress = self._functions.find, self._reporter.progress
        for order in orders:
            function = find(order.target) if order.command is None else None
            if function is None and (fault := self._fault(order)) is not None:
                function = self._refuse(order, fault)
                if function is None:
                    continue
            sorted_orders.setdefault(order.kind, []).append(LiveAttempt(order, function, progress))
        for kind, lives in sorted_orders.items():
            self._pool(kind).start(lives)
        self._reporter.flush()

    def stop(self, fence: int, reason: StopReason, grace_us: int) -> None:
        """End one attempt; one that has ended already is no error."""
        for pool in list(self._pools.values()):
            pool.stop(fence, reason, grace_us)

    def withdraw(self, fences: Sequence[int]) -> None:
        """Give back those of these that have not begun (`not_started`)."""
        for pool in list(self._pools.values()):
            pool.withdraw(fences)

    def hold(self, held: bool) -> None:
        """Begin nothing, and give back what has not begun and what comes (`not_started`), until told to go on.

        What is in the hands of worker processes is revoked: they find that out before they call.
        """
        self._is_held = held
        fences = self.held() if held else ()
        if fences:
            revoke(self._marks.folder, self._incarnation, max(fences))
            self.withdraw(fences)

    @property
    def knows(self) -> int:
        """How many functions this node has; it only grows."""
        return self._functions.count

    def forget(self, fences: Sequence[int]) -> None:
        """These outcomes are durable: their marks may be reused."""
        if self._is_open:
            self._marks.forget(fences)

    def held(self) -> Sequence[int]:
        """The fences of orders that have not yielded their outcome yet."""
        return [fence for pool in list(self._pools.values()) for fence in pool.held()]

    def begun(self, incarnation: str) -> Begun:
        """Read the marks that another incarnation left (or this one)."""
        if incarnation == self._incarnation and self._is_open:
            return Begun(incarnation, readable=True, fences=self._marks.fences())
        return read_begun(self._folder, incarnation)

    def revoke(self, incarnation: str, fence: int) -> Begun:
        """See to it that an incarnation begins nothing under a fence up to this one, and read its marks."""
        own = incarnation == self._incarnation and self._is_open
        return revoke(self._marks.folder if own else self._folder, incarnation, fence)

    def left(self) -> Sequence[str]:
        """Answer which other incarnations are dead, and have left marks."""
        return [incarnation for incarnation in left_marks(self._folder) if incarnation != self._incarnation]

    def sweep(self, incarnations: Sequence[str]) -> None:
        """Remove the marks of those of these that live no more."""
        sweep_marks(self._folder, [incarnation for incarnation in incarnations if incarnation != self._incarnation])

    def close(self, timeout_us: int) -> None:
        """Stop all attempts, wait for their outcomes, end all pools, within the time-out. Twice is harmless."""
        if not self._is_open:
            return
        deadline_ns = time.monotonic_ns() + timeout_us * 1_000
        with self._making:
            self._is_open = False
            pools = list(self._pools.values())
        self._functions.unlisten(self._on_learned)
        for pool in pools:
            pool.stop_all("shutdown", timeout_us // 2)
        while time.monotonic_ns() < deadline_ns and not all(pool.idle() for pool in pools):
            time.sleep(_POLL_S)
        for pool in pools:
            pool.close(deadline_ns)
        self._reporter.flush()
        self._watch.close()
        self._warden.close()
        self._marks.close()
        capture.remove()

    def _fault(self, order: Order) -> Outcome | None:
        """Answer the outcome of an order that cannot be run here, None if it can."""
        now = self._wall() // 1_000
        if order.kind != "command":
            return _refused(
                order,
                now,
                "unknown_target",
                f"job {order.job!r}: no function is registered as {order.target!r}; declare it in this program, and its runs go on",
            )
        if order.command is None:
            return _refused(order, now, "failed", f"job {order.job!r}: it is to run a command, but has none")
        if not self._allow_commands:
            text = (
                f"job {order.job!r}: this node does not run commands; start it with commands allowed, or change the job"
            )
            return _refused(order, now, "failed", text)
        return None

    def _refuse(self, order: Order, fault: Outcome) -> Function | None:
        """Report why it cannot be run, unless its function has come meanwhile; then answer that.

        Under the lock, so that what is not known is reported before the `Learned` that makes it worth another try.
        """
        with self._learning:
            function = self._functions.find(order.target) if fault.outcome == "unknown_target" else None
            if function is None:
                self._reporter.put(fault, more=True)
        return function

    def _on_learned(self) -> None:
        with self._learning:
            self._reporter.learn(self._functions.count)

    def _give_back(self, orders: Sequence[Order]) -> None:
        now = self._wall() // 1_000
        for order in orders:
            self._reporter.put(not_started(order, now), more=True)
        self._reporter.flush()

    def _pool(self, kind: ExecutorKind) -> Pool:
        pool = self._pools.get(kind)
        if pool is None:
            with self._making:
                pool = self._pools.get(kind) or self._make_pool(kind)
                self._pools[kind] = pool
        return pool

    def _make_pool(self, kind: ExecutorKind) -> Pool:
        places = self.capacity.of(kind)
        slack_us = SLACK_US if kind == "command" else 0
        ledger = Ledger(kind, self._marks, self._reporter, self._watch, self._wall, self._grace_us, slack_us=slack_us)
        match kind:
            case "thread":
                return ThreadPool(places, ledger, self._watch, self._wall, call)
            case "command":
                commands = Commands(self._watch, self._warden)
                ledger.interrupt = commands.interrupt
                return ThreadPool(places, ledger, self._watch, self._wall, commands.run)
            case "async":
                return EventLoopPool(places, ledger, self._reporter, self._watch, self._wall)
            case "process":
                return ProcessPool(
                    places, self._marks, self._reporter, self._warden, self._wall, self._grace_us, self._worker_limits
                )


def _refused(order: Order, now: int, outcome: AttemptOutcome, text: str) -> Outcome:
    error = ErrorInfo("callsheet.errors.DefinitionError", ("callsheet.errors.CallsheetError", "ValueError"), text, "")
    return Outcome(order.fence, order.run_id, order.attempt, outcome, now, now, error=error)
