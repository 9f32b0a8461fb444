"""Which orders wait and which run, and the rules by which exactly one outcome comes of each.

                    withdraw, stop                       the function ends
    waiting ──────────────▶ `not_started`     running ─────────────────────▶ its outcome
       │                                         │ ▲                             (stuck: `Freed`)
       └──────────── begin: mark, stamp ─────────┘ └── stop: asked to end
                                                 └──── the grace is over ──▶ `cancelled`, `timed_out`, stuck

Each arrow is one removal from a dictionary, which only one thread can win: who takes the order out of `waiting` either
begins it or gives it back, who takes it out of `running` reports its outcome. So the usual way takes no lock.

What was revoked is found so when its mark is set: it goes through `running`, and ends as `not_started` without a call.

`begin` puts an order into `running` before it takes it out of `waiting`, so that a stop at that moment finds it in either.
A time-out is counted from `begin`, by the monotonic clock: an order that waits for a place does not use its time up.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from ..records import ExecutorKind
from .call import Wall, not_started, stopped
from .live import LiveAttempt
from .marks import Marks
from .reporter import Reporter
from .runner import Freed, Outcome, StopReason
from .watch import Watch

DEFAULT_GRACE_US: Final = 5_000_000
"""What a timed-out attempt has to end by itself, where nobody says otherwise."""

Interrupt = Callable[[LiveAttempt, int], None]
"""Asks a running attempt to end; told its grace in µs."""


class Ledger:
    """The attempts of one kind that this runner holds. Safe to use from any thread.

    `interrupt` is the pool's way to ask a running attempt to end. An attempt is given up `slack_us` after its grace: where
    it can be killed, the kill comes first, and needs a moment.
    """

    def __init__(
        self,
        kind: ExecutorKind,
        marks: Marks,
        reporter: Reporter,
        watch: Watch,
        wall: Wall,
        grace_us: int = DEFAULT_GRACE_US,
        *,
        slack_us: int = 0,
    ) -> None:
        self.kind = kind
        self.waiting: dict[int, LiveAttempt] = {}
        self.running: dict[int, LiveAttempt] = {}
        self.stuck: dict[int, LiveAttempt] = {}
        self.interrupt: Interrupt | None = None
        self._marks = marks
        self._reporter = reporter
        self._watch = watch
        self._wall = wall
        self._grace_us = grace_us
        self._slack_us = slack_us
        self._lock = threading.Lock()
        self._next_deadline = 0

    def admit(self, lives: Sequence[LiveAttempt]) -> list[LiveAttempt]:
        """Let orders wait; answers those that are not held already (an order told twice is one order)."""
        new = [live for live in lives if live.order.fence not in self.waiting and live.order.fence not in self.running]
        for live in new:
            self.waiting[live.order.fence] = live
        return new

    def begin(self, live: LiveAttempt) -> bool:
        """Take an order out of waiting and set its start mark; false if it was given back before, or is now: it was revoked."""
        order = live.order
        self.running[order.fence] = live
        if self.waiting.pop(order.fence, None) is None:
            self.running.pop(order.fence, None)
            return False
        live.started_at = self._wall() // 1_000
        if not self._marks.set(order.run_id, order.fence):
            self.end(live, not_started(order, live.started_at), more=True)
            return False
        if order.timeout_us is not None:
            self._set_deadline(live, order.timeout_us)
        return True

    def end(self, live: LiveAttempt, outcome: Outcome, *, more: bool = False) -> None:
        """Report how an attempt ended; if it was given up before, only that its place is free."""
        fence = outcome.fence
        if self.running.pop(fence, None) is not None:
            live.over = True
            self._reporter.put(outcome, more=more)
            return
        with self._lock:  # after the outcome that said it was stuck
            self.stuck.pop(fence, None)
            self._reporter.put(Freed(fence, self.kind))

    def withdraw(self, fences: Iterable[int]) -> int:
        """Give back those that wait; answers how many."""
        now = self._wall() // 1_000
        taken = [live for fence in fences if (live := self.waiting.pop(fence, None)) is not None]
        for live in taken:
            self._reporter.put(not_started(live.order, now), more=True)
        self._reporter.flush()
        return len(taken)

    def stop(self, fence: int, reason: StopReason, grace_us: int) -> None:
        """Give back what waits; ask what runs to end, and give it up when the grace is over."""
        live = None if self.withdraw([fence]) else self.running.get(fence)
        if live is None:
            return
        live.stop = live.stop or reason
        if self.interrupt is not None:
            self.interrupt(live, grace_us)
        self._watch.after(grace_us + self._slack_us, lambda: self._give_up(live))

    def stop_all(self, reason: StopReason, grace_us: int) -> None:
        """Stop everything."""
        self.withdraw(list(self.waiting))
        for fence in list(self.running):
            self.stop(fence, reason, grace_us)

    def held(self) -> list[int]:
        """The fences of those whose outcome is owed."""
        return [*self.waiting, *self.running]

    def idle(self) -> bool:
        """Whether nothing waits or runs."""
        return not self.waiting and not self.running

    def _give_up(self, live: LiveAttempt) -> None:
        if not live.started_at or live.order.fence not in self.running:
            return
        outcome = stopped(live, self._wall() // 1_000, stuck=True)
        with self._lock:
            if self.running.pop(live.order.fence, None) is None:
                return
            live.over = True
            self.stuck[live.order.fence] = live
            self._reporter.put(outcome)

    def _set_deadline(self, live: LiveAttempt, timeout_us: int) -> None:
        with self._lock:
            live.deadline = time.monotonic_ns() + timeout_us * 1_000
            sooner = not self._next_deadline or live.deadline < self._next_deadline
            if sooner:
                self._next_deadline = live.deadline
        if sooner:
            self._watch.at(live.deadline, self._check_deadlines)

    def _check_deadlines(self) -> None:
        """Stop what is overdue and look again at the next deadline: one entry in the watch, however many attempts."""
        now = time.monotonic_ns()
        with self._lock:
            timed = [live for live in list(self.running.values()) if live.deadline]
            overdue = [live for live in timed if live.deadline <= now]
            self._next_deadline = min((live.deadline for live in timed if live.deadline > now), default=0)
            if self._next_deadline:
                self._watch.at(self._next_deadline, self._check_deadlines)
        for live in overdue:
            live.deadline = 0
            self.stop(live.order.fence, "timed_out", self._grace_us)
