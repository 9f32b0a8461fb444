"""The foreman: who works for the pool, on what, and what becomes of it. It lives on the pool's thread, and nobody else calls it.

Two batches may be under way to one worker, so that it need not wait for the second. A worker that gave its batch back, because
a job takes longer than its target used to, gets no more before that job has ended.

One worker more than needed is kept warm, so that a retired one is replaced at once.
"""

from __future__ import annotations

import logging
import selectors
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from ....errors import CallsheetError, DefinitionError
from ..call import Wall, ask_backoff, describe, ended, not_started, outcome_of, stopped
from ..live import LiveAttempt
from ..marks import Marks
from ..reporter import Reporter
from ..runner import Outcome, StopReason
from ..warden import Warden
from .backlog import BATCH_US, MAX_BATCH, Backlog
from .channel import FAILED, OUTCOME, PROGRESS, READY, RETURNED, Frame
from .worker_process import WorkerProcess, WorkerState

MAX_START_FAILURES: Final = 3
MAX_LOSSES: Final = 3
"""So many workers may die that would have called a function next: to import its module may be what ends them."""
START_PAUSE_US: Final = 1_000_000
LOOK_AGAIN_US: Final = 10_000
"""How often an attempt that is to be stopped, but has not begun, is looked at."""
LEAST_GRACE_US: Final = 1_000_000
"""For an attempt that is to be stopped and does not come to begin: its module may be loading."""
FAREWELL_US: Final = 300_000
"""A worker that is told to quit has this long."""
LAST_BREATH_US: Final = 100_000
"""A worker whose channel has ended has this long to end itself, so that it can be said how it ended."""
MEMORY_EVERY_NS: Final = 1_000_000_000

logger: Final = logging.getLogger(__name__)

After = Callable[[int, Callable[[], None]], None]
"""Calls back on the pool's thread, so many µs from now."""


class WorkerDied(CallsheetError):
    """The worker process that ran the attempt ended."""


class WorkerNotStarted(CallsheetError):
    """Worker processes cannot be started on this node."""


class WorkerLimits(msgspec.Struct, frozen=True, kw_only=True):
    """When a worker is replaced, and what it may use (0: no limit).

    After `max_jobs` jobs, or beyond `max_memory_bytes` resident, a worker is replaced between two jobs. `cpu_seconds` (of its
    whole life), `memory_bytes` (address space) and `open_files` are set in the worker, and the system enforces them.
    """

    max_jobs: int = 0
    max_memory_bytes: int = 0
    cpu_seconds: int = 0
    memory_bytes: int = 0
    open_files: int = 0


class Foreman:
    """Keeps the workers, hands out what waits, and reports what comes back. `owed` are the attempts without an outcome yet."""

    def __init__(
        self,
        capacity: int,
        owed: dict[int, LiveAttempt],
        marks: Marks,
        reporter: Reporter,
        warden: Warden,
        selector: selectors.BaseSelector,
        after: After,
        wall: Wall,
        grace_us: int,
        limits: WorkerLimits,
    ) -> None:
        self.workers: list[WorkerProcess] = []
        self._capacity = capacity
        self._owed = owed
        self._marks = marks
        self._reporter = reporter
        self._warden = warden
        self._selector = selector
        self._after = after
        self._wall = wall
        self._grace_us = grace_us
        self._limits = limits
        self._backlog = Backlog()
        self._withdrawn: set[int] = set()
        self._wanted = 0
        self._start_failures = 0
        self._start_after_ns = 0
        self._next_time_out_ns = 0
        self._ending = False

    # What the actor wants

    def enqueue(self, lives: Sequence[LiveAttempt]) -> None:
        """Take attempts; those whose function no worker can find fail at once."""
        placed = []
        for live in lives:
            try:
                assert live.function is not None
                live.function.locate()
            except DefinitionError as error:
                self._settle(live, ended(live, "failed", self._now(), error=describe(error)))
            else:
                placed.append(live)
        self._backlog.add(placed)

    def withdraw(self, fences: Sequence[int]) -> None:
        """Give back what waits; what is under way to a worker goes on, unless it comes back by itself."""
        for fence in fences:
            live = self._backlog.remove(fence)
            if live is not None:
                self._give_back(live)
            elif fence in self._owed:
                self._withdrawn.add(fence)

    def stop(self, fence: int, reason: StopReason, grace_us: int) -> None:
        """Give back what waits; end what runs."""
        live = self._owed.get(fence)
        if live is None:
            return
        live.stop = live.stop or reason
        if self._backlog.remove(fence) is not None:
            self._give_back(live)
            return
        worker = next((worker for worker in self.workers if fence in worker.held), None)
        if worker is not None:
            self._press(worker, live, time.monotonic_ns(), grace_us)

    def begin_end(self, deadline_ns: int) -> None:
        """Let idle workers go, and kill the others shortly before the deadline."""
        self._ending = True
        for live in self._backlog.remove_all():
            self._give_back(live)
        left_us = max(0, (deadline_ns - time.monotonic_ns()) // 1_000 - LAST_BREATH_US)
        for worker in list(self.workers):
            self._retire(worker)
            self._after(left_us, lambda worker=worker: worker.signal(signal.SIGKILL))  # type: ignore[misc]

    # What workers say

    def hear(self, worker: WorkerProcess, events: int) -> None:
        """Read what a worker says, and write what it can take."""
        if events & selectors.EVENT_WRITE:
            worker.channel.flush()
        if events & selectors.EVENT_READ:
            try:
                frames = worker.channel.receive()
            except (ValueError, msgspec.MsgspecError):
                logger.exception("processes.bad_frame pid=%d", worker.process.pid)
                frames = None
            if frames is None:
                self._lose(worker)
                return
            self._take(worker, frames)
        self._await_room(worker)

    def _take(self, worker: WorkerProcess, frames: Sequence[Frame]) -> None:
        """Progress goes before the outcomes, and outcomes before what was given back behind them."""
        outcomes: list[Outcome] = [content for kind, content in frames if kind == OUTCOME]
        others = [frame for frame in frames if frame[0] != OUTCOME] if len(outcomes) < len(frames) else []
        for kind, content in others:
            if kind == PROGRESS and content.fence in worker.held:
                self._reporter.progress(content)
        if outcomes:
            self._on_outcomes(worker, outcomes)
        for kind, content in others:
            self._take_other(worker, kind, content)
        self._check_wear(worker)

    def _take_other(self, worker: WorkerProcess, kind: int, content: Any) -> None:
        if kind == RETURNED:
            self._on_returned(worker, content)
        elif kind == READY and worker.state is WorkerState.STARTING:
            worker.state = WorkerState.READY
            self._start_failures = 0
        elif kind == FAILED:
            worker.fault = content

    def _on_outcomes(self, worker: WorkerProcess, outcomes: Sequence[Outcome]) -> None:
        """Settle what a worker has ended: many at a time, because this thread's part of a small job is what bounds its speed."""
        held, owed = worker.held, self._owed
        before = len(held)
        settled: list[Outcome] = []
        took_us: dict[str, list[int]] = {}
        for outcome in outcomes:
            live = held.pop(outcome.fence, None)
            if live is None or owed.pop(outcome.fence, None) is None:  # it was sent, and found in the outbox again
                continue
            live.over = True
            if outcome.outcome != "succeeded":
                outcome = _completed(live, outcome)  # noqa: PLW2901 - the same one, with what only the parent knows
            settled.append(outcome)
            if outcome.outcome == "not_started":
                continue
            took_us.setdefault(live.order.target, []).append(outcome.ended_at - outcome.started_at)
        if not settled:
            return
        self._reporter.put_all(settled)
        for target, times in took_us.items():
            self._backlog.learn(target, sum(times) // len(times))
        worker.jobs += len(settled)
        worker.occupied = False
        worker.last_heard_ns = time.monotonic_ns()
        worker.backlog_us = worker.backlog_us * len(held) // before
        if self._withdrawn:
            self._withdrawn.difference_update(outcome.fence for outcome in settled)

    def _on_returned(self, worker: WorkerProcess, fences: Sequence[int]) -> None:
        lives = [live for fence in fences if (live := worker.held.pop(fence, None)) is not None]
        slow = next(iter(worker.held.values()), None)
        worker.occupied = slow is not None
        worker.backlog_us = 0
        if slow is not None:
            self._backlog.learn(slow.order.target, 2 * BATCH_US)
        self._requeue(lives)

    def _requeue(self, lives: Sequence[LiveAttempt]) -> None:
        """What has not begun waits again, before the others; what is not wanted any more is given back."""
        self._marks.forget(live.order.fence for live in lives)
        lives = [live for live in lives if not live.over]
        unwanted = [
            live for live in lives if live.stop is not None or live.order.fence in self._withdrawn or self._ending
        ]
        for live in unwanted:
            self._give_back(live)
        self._backlog.give_back([live for live in lives if live not in unwanted])

    # Handing out

    def dispatch(self) -> None:
        """Hand out what waits, as far as there are workers for it."""
        if self._backlog and not self._ending:
            busy = sum(bool(worker.held) for worker in self.workers)
            self._wanted = max(self._wanted, min(self._capacity, busy + len(self._backlog)) + 1)
            self._staff()
        while self._backlog:
            idle = [worker for worker in self.workers if worker.idle]
            free = min(len(idle), self._capacity - sum(bool(worker.held) for worker in self.workers))
            worker = idle[0] if free > 0 else self._least_busy()
            if worker is None:
                return
            share = -(-len(self._backlog) // max(1, free))
            batch = self._backlog.cut(BATCH_US, share, alone=worker.idle)
            if not batch:
                return
            self._send(worker, batch)

    def _least_busy(self) -> WorkerProcess | None:
        """A worker that can take a second batch of brisk jobs."""
        brisk = [
            worker
            for worker in self.workers
            if worker.state is WorkerState.READY
            and worker.held
            and not worker.occupied
            and len(worker.held) <= MAX_BATCH
            and worker.backlog_us < BATCH_US
        ]
        return min(brisk, key=lambda worker: worker.backlog_us, default=None)

    def _send(self, worker: WorkerProcess, batch: list[LiveAttempt]) -> None:
        cost_us = sum(map(self._backlog.cost_us, batch))
        worker.occupied = len(batch) == 1 and cost_us > BATCH_US // 2
        worker.backlog_us += cost_us
        worker.send([(self._marks.reserve(live.order.fence), live) for live in batch])
        self._await_room(worker)
        for live in batch:
            if live.order.timeout_us is not None:
                self._time(live.sent_ns + live.order.timeout_us * 1_000)

    def _await_room(self, worker: WorkerProcess) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if worker.channel.blocked else 0)
        if self._selector.get_key(worker.channel.end).events != events:
            self._selector.modify(worker.channel.end, events, worker)

    # Ends

    def _settle(self, live: LiveAttempt, outcome: Outcome) -> None:
        if self._owed.pop(live.order.fence, None) is not None:
            live.over = True
            self._withdrawn.discard(live.order.fence)
            self._reporter.put(outcome, more=True)

    def _give_back(self, live: LiveAttempt) -> None:
        self._settle(live, not_started(live.order, self._now()))

    def _press(self, worker: WorkerProcess, live: LiveAttempt, asked_ns: int, grace_us: int) -> None:
        """End a job: announce the stop once it has begun, kill when the grace is over, look again until it is done."""
        if live.order.fence not in worker.held or worker.state is WorkerState.GONE:
            return
        begun = self._marks.is_set(live.order.fence)
        if begun and not live.told:
            live.told = True
            worker.state = WorkerState.RETIRING
            worker.announce(live.order.fence)
        left_us = (grace_us if begun else max(grace_us, LEAST_GRACE_US)) - (time.monotonic_ns() - asked_ns) // 1_000
        if left_us <= 0 and (begun or not self._has_begun_another(worker, live)):
            worker.signal(signal.SIGKILL)  # what follows is the end of its channel
            return
        wait_us = left_us if begun else LOOK_AGAIN_US
        self._after(wait_us, lambda: self._press(worker, live, asked_ns, grace_us))

    def _has_begun_another(self, worker: WorkerProcess, live: LiveAttempt) -> bool:
        """Whether this waits behind a job that the worker cannot be interrupted in; it is not ended for the other's sake."""
        return any(self._marks.is_set(fence) for fence in worker.held if fence != live.order.fence)

    def _time(self, instant_ns: int) -> None:
        if not self._next_time_out_ns or instant_ns < self._next_time_out_ns:
            self._next_time_out_ns = instant_ns
            self._after(max(0, (instant_ns - time.monotonic_ns()) // 1_000), self._check_time_outs)

    def _check_time_outs(self) -> None:
        """Stop what is overdue. A job in a batch began when the one before it was heard to end, not when it was sent."""
        now = time.monotonic_ns()
        self._next_time_out_ns = 0
        for worker in self.workers:
            for live in list(worker.held.values()):
                if live.order.timeout_us is None or live.stop is not None:
                    continue
                due = max(live.sent_ns, worker.last_heard_ns) + live.order.timeout_us * 1_000
                if due <= now and self._marks.is_set(live.order.fence):
                    self.stop(live.order.fence, "timed_out", self._grace_us)
                else:
                    self._time(max(due, now + LOOK_AGAIN_US * 1_000))

    # Workers come and go

    def _staff(self) -> None:
        """Make workers, one more than are needed."""
        staff = sum(worker.state in {WorkerState.STARTING, WorkerState.READY} for worker in self.workers)
        while staff < self._wanted and time.monotonic_ns() >= self._start_after_ns and not self._ending:
            staff += 1
            limits = self._limits
            try:
                worker = WorkerProcess(
                    {
                        "marks_folder": str(self._marks.folder),
                        "incarnation": self._marks.incarnation,
                        "cpu_seconds": limits.cpu_seconds,
                        "memory_bytes": limits.memory_bytes,
                        "open_files": limits.open_files,
                    }
                )
            except OSError as error:
                self._note_start_failure(str(error))
            else:
                self._warden.watch(worker.process.pid)
                self.workers.append(worker)
                self._selector.register(worker.channel.end, selectors.EVENT_READ, worker)

    def _note_start_failure(self, why: str) -> None:
        self._start_failures += 1
        logger.warning("processes.start_failed times=%d why=%r", self._start_failures, why)
        if self._start_failures < MAX_START_FAILURES:
            self._after(LOOK_AGAIN_US, self._staff)
            return
        self._start_failures = 0
        self._start_after_ns = time.monotonic_ns() + START_PAUSE_US * 1_000
        self._after(START_PAUSE_US, self.dispatch)  # for what comes in the meantime
        if any(worker.state in {WorkerState.READY, WorkerState.RETIRING} for worker in self.workers):
            return  # there are others, who will come to what waits
        error = describe(WorkerNotStarted(f"worker processes do not start on this node: {why}"))
        for live in self._backlog.remove_all():
            self._settle(live, ended(live, "failed", self._now(), error=error))

    def _check_wear(self, worker: WorkerProcess) -> None:
        limits = self._limits
        now = time.monotonic_ns()
        if worker.state is WorkerState.READY:
            worn = bool(limits.max_jobs) and worker.jobs >= limits.max_jobs
            if limits.max_memory_bytes and now - worker.weighed_ns > MEMORY_EVERY_NS:
                worker.weighed_ns = now
                worn = worn or worker.memory_bytes() > limits.max_memory_bytes
            if worn:
                self._retire(worker)
        elif worker.state is WorkerState.RETIRING and not worker.held:
            self._retire(worker)

    def _retire(self, worker: WorkerProcess) -> None:
        """Give a worker no more; end it when it owes nothing, with all its group if a job was stopped in it."""
        stopped_one = worker.state is WorkerState.RETIRING
        if worker.state is not WorkerState.GONE:
            worker.state = WorkerState.RETIRING
        if worker.held:
            return
        if stopped_one:
            worker.signal(signal.SIGKILL)
        else:
            worker.quit()
            self._after(FAREWELL_US, lambda: worker.signal(signal.SIGKILL))

    def _lose(self, worker: WorkerProcess) -> None:
        """The channel has ended: wait a moment for the process to end too, so that it can be said how."""
        was_new = worker.state is WorkerState.STARTING or (worker.state is WorkerState.READY and not worker.jobs)
        worker.state = WorkerState.GONE
        self._selector.unregister(worker.channel.end)
        self._bury(worker, time.monotonic_ns() + LAST_BREATH_US * 1_000, was_new=was_new and not worker.held)

    def _bury(self, worker: WorkerProcess, until_ns: int, *, was_new: bool) -> None:
        if not worker.has_ended() and time.monotonic_ns() < until_ns:
            self._after(1_000, lambda: self._bury(worker, until_ns, was_new=was_new))
            return
        self._take(worker, worker.last_words())
        how = worker.reap()
        self._warden.release(worker.process.pid)
        self.workers.remove(worker)
        if was_new:
            self._note_start_failure(worker.fault or f"the process {how}")
        held = list(worker.held.values())
        worker.held.clear()
        rest = [live for live in held if not self._marks.is_set(live.order.fence)]
        for live in held:
            if live not in rest:
                self._settle(live, self._cut_off(live, worker, how))
        if rest and len(rest) == len(held):
            self._count_loss(rest[0], worker, how)
        self._requeue(rest)
        self._staff()

    def _count_loss(self, live: LiveAttempt, worker: WorkerProcess, how: str) -> None:
        """A worker has died before it called the function that was next; with the last one that may, the attempt has failed."""
        live.losses += 1
        unwanted = live.stop is not None or live.order.fence in self._withdrawn or self._ending
        if live.losses < MAX_LOSSES or unwanted:
            return
        text = (
            f"job {live.order.job!r}: its worker process {worker.process.pid} {how} before it called the function, as "
            f"{live.losses - 1} before it; see what its module does when it is imported"
        )
        self._settle(live, ended(live, "failed", self._now(), error=describe(WorkerDied(text))))

    def _cut_off(self, live: LiveAttempt, worker: WorkerProcess, how: str) -> Outcome:
        now = self._now()
        if live.stop is not None:
            return stopped(live, now)
        text = f"job {live.order.job!r}: its worker process {worker.process.pid} {how}"
        return ended(live, "crashed", now, error=describe(WorkerDied(text)))

    def _now(self) -> int:
        return self._wall() // 1_000


def _completed(live: LiveAttempt, outcome: Outcome) -> Outcome:
    """Add to a failure what only the parent knows: why it was stopped, and how long the job's own backoff waits."""
    if live.stop is not None and outcome.outcome == "cancelled":
        outcome = msgspec.structs.replace(outcome, outcome=outcome_of(live.stop))
    backoff = live.function.backoff if live.function is not None else None
    if backoff is not None and outcome.outcome in {"failed", "timed_out"} and outcome.retry_after_us is None:
        outcome = msgspec.structs.replace(outcome, retry_after_us=ask_backoff(backoff, live.order))
    return outcome
