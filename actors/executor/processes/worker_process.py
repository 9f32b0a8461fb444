"""A worker process as its pool sees it: how it is made, fed, told to stop, and killed.

    STARTING ──READY──▶ READY ──stop, enough jobs, too much memory──▶ RETIRING
        │                 │                                              │
        └────── the channel has ended, or it was killed ──▶ GONE ◀───────┘

A worker in RETIRING gets no more work; when it owes nothing it is ended, with its process group. The process is started by
exec, in a session of its own; it inherits its end of the channel, of the control socket and the outbox, and nothing else.
What this process forks otherwise closes its copies of the parent's ends: an end that stays open hides that the parent is dead.
"""

from __future__ import annotations

import contextlib
import enum
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from ....forks import forking, register
from ..live import LiveAttempt
from ..runner import Order
from .channel import FAILED, LOCATE, QUIT, WORK, Channel, Frame, Outbox, decode, encode
from .settings import Settings
from .worker import FENCE

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

# The child's first words. sys.path is the parent's before anything but sys is imported, so the package is found where the
# parent found it. What keeps the worker from being imported is told over the channel, by hand: nothing else may be there.
_BOOTSTRAP: Final = f"""
import sys
settings, channel, sys.path[:] = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
sys.argv[1:] = []
try:
    from callsheet.actors.executor.processes.worker import main
    run = main
except BaseException as error:
    import os
    text = f"{{type(error).__name__}}: {{error}}".encode("utf-8", "replace")[:4000]
    packed = b"\\xdb" + len(text).to_bytes(4, "big") + text
    os.write(channel, len(packed).to_bytes(4, "little") + bytes([{FAILED}]) + packed)
    sys.exit(1)
run(settings)
"""


class WorkerState(enum.Enum):
    """Where a worker stands; the moves are drawn in the module's text."""

    STARTING = "starting"
    READY = "ready"
    RETIRING = "retiring"
    GONE = "gone"


class WorkerProcess:
    """One worker. Belongs to the thread of its pool."""

    def __init__(self, settings: dict[str, Any]) -> None:
        self.state = WorkerState.STARTING
        self.held: dict[int, LiveAttempt] = {}
        """What it was sent and still owes, in the order it will be called."""
        self.backlog_us = 0
        self.jobs = 0
        self.occupied = False
        """Whether the job it runs takes long: it gets nothing behind it."""
        self.last_heard_ns = time.monotonic_ns()
        self.weighed_ns = self.last_heard_ns
        self.fault = ""
        self._located: dict[str, object] = {}
        with forking:
            self._make(settings)
            register(self)

    def _make(self, settings: dict[str, Any]) -> None:
        near, far = socket.socketpair()
        self.control, far_control = socket.socketpair()
        file = Outbox.make_file()
        try:
            self.process = _start(settings, far, far_control, file)
            self._outbox = Outbox(file)
        except BaseException:
            near.close()
            self.control.close()
            raise
        finally:
            far.close()
            far_control.close()
            os.close(file)
        near.setblocking(False)
        self.control.setblocking(False)
        self.channel = Channel(near)

    @property
    def idle(self) -> bool:
        """Whether it is ready and owes nothing."""
        return self.state is WorkerState.READY and not self.held

    def send(self, tasks: list[tuple[int, LiveAttempt]]) -> None:
        """Send attempts, each with the slot of its start mark; functions it has not seen are located first."""
        now = time.monotonic_ns()
        wall = time.time_ns() // 1_000
        work: list[tuple[int, Order]] = []
        frames = bytearray()
        for slot, live in tasks:
            function = live.function
            assert function is not None
            if self._located.get(function.name) is not function:
                frames += encode(LOCATE, (live.order.target, function.locate()))
                self._located[function.name] = function
            live.sent_ns = now
            live.started_at = wall
            self.held[live.order.fence] = live
            work.append((slot, live.order))
        frames += encode(WORK, work)
        self.channel.send(bytes(frames))

    def last_words(self) -> list[Frame]:
        """Answer what it had not sent when it ended."""
        with contextlib.suppress(ValueError, msgspec.DecodeError):
            return list(decode(self._outbox.rest()))
        return []

    def announce(self, fence: int) -> None:
        """Ask the job of this fence to end: the fence first, then TERM to the whole group."""
        with contextlib.suppress(OSError):
            self.control.send(FENCE.pack(fence))
            self.signal(signal.SIGTERM)

    def quit(self) -> None:
        """Let it end by itself."""
        self.channel.send(encode(QUIT, None))

    def signal(self, number: signal.Signals) -> None:
        """Signal its whole group; its number is its own until `reap`."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, number)

    def has_ended(self) -> bool:
        """Whether the process has ended; what is left of its group keeps its number until `reap`."""
        if not hasattr(os, "waitid"):
            return self.process.poll() is not None
        if self.process.returncode is not None:
            return True
        with contextlib.suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
        return True

    def reap(self) -> str:
        """Kill what is left of its group, take its exit status, let everything go; answers how it ended."""
        self.state = WorkerState.GONE
        self.signal(signal.SIGKILL)
        status = self.process.wait()
        self.channel.end.close()
        self.control.close()
        self._outbox.close()
        if status < 0:
            name = signal.Signals(-status).name if -status in set(signal.Signals) else "unknown"
            return f"was ended by signal {-status} ({name})"
        return f"ended with exit status {status}"

    def let_go(self) -> None:
        """In a forked child: the ends are the parent's."""
        self.channel.end.close()
        self.control.close()

    def memory_bytes(self) -> int:
        """Its resident memory; 0 where the system does not say."""
        try:
            return int(Path(f"/proc/{self.process.pid}/statm").read_text("ascii").split()[1]) * PAGE_BYTES
        except (OSError, IndexError, ValueError):
            return 0


def _start(
    settings: dict[str, Any], far: socket.socket, far_control: socket.socket, outbox: int
) -> subprocess.Popen[bytes]:
    told = Settings(parent=os.getpid(), channel=far.fileno(), control=far_control.fileno(), outbox=outbox, **settings)
    path = [str(Path(entry).absolute()) for entry in sys.path if isinstance(entry, str)]
    return subprocess.Popen(
        [sys.executable, *_flags(), "-c", _BOOTSTRAP, msgspec.json.encode(told).decode(), str(far.fileno()), *path],
        stdin=subprocess.DEVNULL,
        pass_fds=(far.fileno(), far_control.fileno(), outbox),
        start_new_session=True,
    )


def _flags() -> list[str]:
    """The interpreter options that a child needs to see the same world."""
    flags = [
        ("-I", sys.flags.isolated),
        ("-S", sys.flags.no_site),
        ("-s", sys.flags.no_user_site),
        ("-O", sys.flags.optimize),
    ]
    return [flag for flag, is_set in flags if is_set] + [f"-Xutf8={sys.flags.utf8_mode}"]
