"""The worker process: its main loop, in the child.

Two threads. The main one runs jobs, and is the one that signals reach, so that a job which is stopped has an exception raised
in it. The watching one never runs a job:

    the parent's end is closed                    the parent is dead: the whole process group is killed
    outcomes wait since the last tick             they are sent: a long job does not hold back what ended before it
    one job has been running since the last tick  what waits behind it goes back to the parent, which knows a free worker

A stop comes in two parts: the parent writes the fence to the control socket, then sends TERM. The handler compares the fence
with that of the job it has interrupted, so a TERM that comes late hits nobody else. A TERM that the parent did not announce
comes from outside, and ends the worker as it would end any program.

Stop is `Cancelled`, raised in the job, once. A job that goes on is killed with its group when its grace is over.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections import deque
from contextvars import copy_context
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec

from .. import capture
from ..call import call, describe, failed, guarded, not_started
from ..context import Cancelled
from ..functions import Function, Location
from ..live import LiveAttempt
from ..marks import AttachedMarks
from ..runner import Order, Outcome, Progress
from .channel import LOCATE, OUTCOME, PROGRESS, QUIT, READY, RETURNED, WORK, Channel, Frame, Outbox
from .inside import WorkerReachedRun, enter_worker, in_worker
from .loading import NotFound, load
from .settings import Settings, limit_resources

__all__ = ["WorkerReachedRun", "in_worker", "main"]

TICK_MS: Final = 5
DOZE_AFTER_TICKS: Final = 40
"""Ticks without anything to watch after which the watching thread sleeps until it is needed."""

FENCE: Final = struct.Struct("<q")
_PR_SET_PDEATHSIG: Final = 1


def main(settings_text: str) -> None:
    """Be a worker until the parent says otherwise; `settings_text` is a `Settings` as JSON."""
    settings = msgspec.json.decode(settings_text, type=Settings)
    enter_worker()
    _die_with_parent(settings.parent)
    limit_resources(settings)
    end = socket.socket(fileno=settings.channel)
    control = socket.socket(fileno=settings.control)
    control.setblocking(False)
    outbox = Outbox(settings.outbox)
    os.close(settings.outbox)
    capture.install()
    marks = AttachedMarks(Path(settings.marks_folder), settings.incarnation)
    Worker(end, control, outbox, marks).serve()


class Worker:
    """Runs the orders that come, one after the other."""

    def __init__(self, end: socket.socket, control: socket.socket, outbox: Outbox, marks: AttachedMarks) -> None:
        self._end = end
        self._control = control
        self._outbox = outbox
        self._marks = marks
        self._process = os.getpid()
        self._channel = Channel(end)
        self._reading = threading.Lock()
        self._tasks: deque[tuple[int, Order]] = deque()
        self._locations: dict[str, Location] = {}
        self._functions: dict[str, Function] = {}
        self._live: LiveAttempt | None = None
        self._was_told = False
        self._retired = False
        self._doorbell = os.pipe()
        self._dozing = False

    def serve(self) -> None:
        """Run until the parent says QUIT or is gone."""
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides
        threading.Thread(target=self._watch, name="callsheet-worker-watch", daemon=True).start()
        self._outbox.put(READY, self._process, self._end)
        while True:
            try:
                slot, order = self._tasks.popleft()
            except IndexError:
                if not self._refill():
                    return
            else:
                self._run(slot, order)

    def _refill(self) -> bool:
        """Send what has ended, and wait for more; false when there will be none."""
        self._outbox.flush(self._end)
        with self._reading:
            frames = self._channel.receive()
        if self._dozing:
            self._dozing = False
            os.write(self._doorbell[1], b"!")
        return frames is not None and self._take(frames)

    def _take(self, frames: list[Frame]) -> bool:
        for kind, content in frames:
            if kind == WORK:
                self._tasks.extend(content)
            elif kind == LOCATE:
                target, location = content
                self._locations[target] = location
                self._functions.pop(target, None)
            elif kind == QUIT:
                return False
        if self._retired:
            self._return_rest()
        return True

    def _run(self, slot: int, order: Order) -> None:
        live = LiveAttempt(order, None, self._report_progress)
        live.started_at = time.time_ns() // 1_000
        function = self._functions.get(order.target)
        if function is None:
            function, error = guarded(lambda: self._load(order.target))  # imports the user's module
            if function is None:
                self._put(_not_loaded(live, error))
                return
        live.function = function
        if not self._marks.set(slot, order.run_id, order.fence):
            self._put(not_started(order, live.started_at))
            return
        self._put(self._call(live))
        if live.told:
            self._retired = True  # the parent ends this process, and what else it may have left running
            self._return_rest()

    def _call(self, live: LiveAttempt) -> Outcome:
        try:
            self._live = live  # from here on a stop raises `Cancelled`
            outcome = copy_context().run(call, live)
            self._live = None
        except Cancelled as error:  # the stop came between the end of the job and the line above
            self._live = None
            outcome = failed(live, error, time.time_ns() // 1_000)
        return outcome

    def _load(self, target: str) -> Function:
        location = self._locations.get(target)
        if location is None:
            raise NotFound(f"no location was sent for {target!r}")
        function = Function(target, load(location))
        self._functions[target] = function
        return function

    def _put(self, outcome: Outcome) -> None:
        self._outbox.put(OUTCOME, outcome, self._end)

    def _report_progress(self, progress: Progress) -> None:
        self._outbox.put(PROGRESS, progress, self._end)

    def _return_rest(self) -> None:
        fences = []
        with contextlib.suppress(IndexError):
            while True:
                fences.append(self._tasks.popleft()[1].fence)
        if fences:
            self._outbox.put(RETURNED, fences, self._end)

    def _on_term(self, _number: int, _frame: FrameType | None) -> None:
        """Raise in the job that the parent names; nobody's TERM is everybody's."""
        if os.getpid() != self._process:  # a job's own fork
            _end_by_term()
        fences = self._announced()
        live = self._live
        if fences:
            self._was_told = True
        elif not self._was_told:  # else two of the parent's came as one, and this is what is left of them
            _end_by_term()
        if live is not None and live.order.fence in fences and live.stop is None:
            live.stop = "cancelled"  # the parent knows the reason
            live.told = True
            raise Cancelled(f"run {live.order.run_id} of job {live.order.job!r} is to end")

    def _announced(self) -> set[int]:
        fences: set[int] = set()
        with contextlib.suppress(OSError):
            while packed := self._control.recv(FENCE.size):
                fences.add(FENCE.unpack(packed)[0])
        return fences

    def _watch(self) -> None:
        watched = select.poll()
        watched.register(self._end, 0)  # only the hang-up, which is always told
        watched.register(self._doorbell[0], select.POLLIN)
        seen: LiveAttempt | None = None
        quiet = 0
        while True:
            self._dozing = quiet >= DOZE_AFTER_TICKS
            for file, _ in watched.poll(None if self._dozing and not self._busy() else TICK_MS):
                if file == self._doorbell[0]:
                    os.read(file, 64)
                else:
                    os.killpg(0, signal.SIGKILL)
            quiet = 0 if self._busy() else quiet + 1
            seen = self._tick(seen)

    def _busy(self) -> bool:
        return self._live is not None or bool(self._tasks) or self._outbox.waiting

    def _tick(self, seen: LiveAttempt | None) -> LiveAttempt | None:
        live = self._live
        with contextlib.suppress(OSError):  # the parent is gone: the next poll says so
            if live is not None and live is seen:
                self._give_way()
            self._outbox.flush(self._end)
        return live

    def _give_way(self) -> None:
        """The job takes long: what has been sent and not begun goes back."""
        if self._reading.acquire(blocking=False):
            try:
                self._read_waiting()
            finally:
                self._reading.release()
        self._return_rest()

    def _read_waiting(self) -> None:
        while select.select([self._end], [], [], 0)[0]:
            frames = self._channel.receive()
            if frames is None:
                os.killpg(0, signal.SIGKILL)
            elif not self._take(frames):
                self._retired = True
                return


def _not_loaded(live: LiveAttempt, error: BaseException | None) -> Outcome:
    """`unknown_target` if the function is not where it should be, `failed` if the module's own code raised."""
    assert error is not None
    order = live.order
    now = time.time_ns() // 1_000
    outcome: Any = "unknown_target" if isinstance(error, NotFound | ModuleNotFoundError) else "failed"
    info = describe(error)
    text = f"job {order.job!r}: a worker process cannot load {order.target!r}: {info.text or info.type}"
    return Outcome(
        order.fence, order.run_id, order.attempt, outcome, live.started_at, now, error=_with_text(info, text)
    )


def _with_text(info: Any, text: str) -> Any:
    return type(info)(info.type, info.bases, text, info.traceback)


def _end_by_term() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGTERM)


def _die_with_parent(parent: int) -> None:
    """Ask the kernel for KILL when the parent's thread that made this process ends; where it cannot, the hang-up must do."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before
        os._exit(1)
