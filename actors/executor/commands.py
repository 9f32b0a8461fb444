"""Commands: a line for `/bin/sh -c`, or an argument vector, in a session and process group of its own.

What it prints is kept as the attempt's logs, standard output and error as they come. Exit status 0 is success, and the
result is `{"exit_status": 0}`; any other, and an end by a signal, is a failure that says so. A stop sends TERM to the whole
group, and KILL when the grace is over; what is left of the group of a stopped command when its first process has ended is
killed at once. A command that ends by itself may leave processes behind, as under cron; they no longer reach the logs.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from typing import Final, Self

from ...data import pack
from ...errors import CallsheetError
from ...triggers import to_datetime
from ..records import Command
from .call import Wall, describe, ended, failed, stopped
from .capture import Log
from .live import LiveAttempt
from .runner import Outcome
from .warden import MARK, Warden
from .watch import Watch

SHELL: Final = "/bin/sh"
READ_BYTES: Final = 65_536
DRAIN_S: Final = 0.25
"""How long output is still read when the command has ended but something holds its pipe open."""
SLACK_US: Final = 2_000_000
"""What KILL and the last read may take before a stopped command counts as stuck."""

_POLL_S: Final = 0.05
_RESULT: Final = pack({"exit_status": 0})


class CommandFailed(CallsheetError):
    """A command ended with another exit status than 0."""


class Commands:
    """Runs commands, and ends them: TERM to the process group, KILL when the grace is over."""

    def __init__(self, watch: Watch, warden: Warden) -> None:
        self._watch = watch
        self._warden = warden

    def run(self, live: LiveAttempt, wall: Wall) -> Outcome:
        """Run the command of an attempt that has begun, and wait for its end; never raises."""
        try:
            status = self._run(live)
        except (OSError, ValueError) as error:  # no such folder or program, too many processes, a NUL in an argument
            return failed(live, error, wall() // 1_000)
        now = wall() // 1_000
        if live.stop is not None:
            return stopped(live, now)
        if status:
            return ended(live, "failed", now, error=describe(CommandFailed(_explain(live, status))))
        order = live.order
        return Outcome(
            order.fence, order.run_id, order.attempt, "succeeded", live.started_at, now, _RESULT, None, live.logs()
        )

    def interrupt(self, live: LiveAttempt, grace_us: int) -> None:
        """Ask a command to end; make it end when the grace is over."""
        live.told = True
        signal_group(live.handle, signal.SIGTERM)
        self._watch.after(grace_us, lambda: signal_group(live.handle, signal.SIGKILL))

    def _run(self, live: LiveAttempt) -> int:
        process = self._start(live)
        try:
            live.handle = process
            if live.stop is not None:  # it came while the process was being made
                signal_group(process, signal.SIGTERM)
            assert live.order.command is not None
            stdin = live.order.command.stdin.encode("utf-8", "surrogateescape")
            assert live.log is not None
            with _Conversation(process, stdin, live.log) as conversation:
                conversation.hold()
            if live.stop is not None:
                signal_group(process, signal.SIGKILL)  # before the wait: until then nobody else can have the number
            return process.wait()
        finally:
            self._warden.release(process.pid)

    def _start(self, live: LiveAttempt) -> subprocess.Popen[bytes]:
        mark = self._warden.announce()
        try:
            process = _start(live, {MARK: mark})
            self._warden.watch(process.pid)
        finally:
            self._warden.cancel(mark)
        return process


def signal_group(process: subprocess.Popen[bytes] | None, number: signal.Signals) -> None:
    """Send a signal to a process and all its group; one that has ended and was waited for is left alone."""
    if process is not None and process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)


def _start(live: LiveAttempt, marked: dict[str, str]) -> subprocess.Popen[bytes]:
    command = live.order.command
    assert command is not None
    live.log = Log()
    return subprocess.Popen(
        list(command.argv) or [SHELL, "-c", command.line],
        stdin=subprocess.PIPE if command.stdin else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=command.folder or None,
        env={**_environment(live, command), **marked},
        start_new_session=True,
    )


class _Conversation:
    """Feeds a process its input and reads its output, until it has ended."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: bytes, log: Log) -> None:
        self._process = process
        self._rest = memoryview(stdin)
        self._log = log
        self._is_silent = False
        self._selector = selectors.DefaultSelector()
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        self._selector.register(process.stdout, selectors.EVENT_READ)
        if process.stdin is not None:
            os.set_blocking(process.stdin.fileno(), False)
            self._selector.register(process.stdin, selectors.EVENT_WRITE)
        self._exit = _open_exit(process.pid)
        if self._exit is not None:
            self._selector.register(self._exit, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()
        if self._exit is not None:
            os.close(self._exit)

    def hold(self) -> None:
        """Talk until the process has ended and its output is read, or nothing more comes of it."""
        process = self._process
        patience: float | None = None
        assert process.stdout is not None
        while patience is None or time.monotonic() < patience:
            self._turn(_POLL_S if self._exit is None or patience is not None else None)
            if self._is_silent and not self._rest:
                self._await_exit()
                return
            if patience is None and _has_ended(process):
                patience = time.monotonic() + DRAIN_S
                if self._exit is not None:
                    self._selector.unregister(self._exit)

    def _turn(self, timeout: float | None) -> None:
        """Do what can be done now."""
        process = self._process
        for key, _ in self._selector.select(timeout):
            if key.fileobj is process.stdin:
                self._feed()
            elif key.fileobj is process.stdout:
                assert process.stdout is not None
                packed = os.read(process.stdout.fileno(), READ_BYTES)
                self._log.add(packed)
                if not packed:  # it has ended, or goes elsewhere from now on
                    self._is_silent = True
                    self._selector.unregister(process.stdout)

    def _feed(self) -> None:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            self._rest = self._rest[os.write(stdin.fileno(), self._rest[:READ_BYTES]) :]
        except BrokenPipeError:  # it does not read all of its input: its own affair
            self._rest = self._rest[:0]
        if not self._rest:
            self._selector.unregister(stdin)
            stdin.close()

    def _await_exit(self) -> None:
        """Nothing more is to be read or written: wait for the end without taking the exit status."""
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
        else:
            self._process.wait()


def _open_exit(pid: int) -> int | None:
    """A descriptor that is readable when the process has ended; None where the system has none."""
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended; its number is its own until it is waited for, where the system can look without taking."""
    if not hasattr(os, "waitid"):
        return process.poll() is not None
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _environment(live: LiveAttempt, command: Command) -> dict[str, str]:
    order = live.order
    slot = "" if order.slot is None else to_datetime(order.slot).isoformat()
    ours = {
        "CALLSHEET_JOB": order.job,
        "CALLSHEET_TENANT": order.tenant,
        "CALLSHEET_RUN_ID": str(order.run_id),
        "CALLSHEET_ATTEMPT": str(order.attempt),
        "CALLSHEET_FENCE": str(order.fence),
        "CALLSHEET_IDEMPOTENCY_KEY": order.key,
        "CALLSHEET_SLOT": slot,
    }
    return {**os.environ, **ours, **command.environment}


def _explain(live: LiveAttempt, status: int) -> str:
    lines = live.logs().decode("utf-8", "replace").rstrip().rsplit("\n", 1)
    last = f"; its last line: {lines[-1][:500]}" if lines[-1] else "; it printed nothing"
    if status < 0:
        name = signal.Signals(-status).name if -status in set(signal.Signals) else "unknown"
        return f"job {live.order.job!r}: the command was ended by signal {-status} ({name}){last}"
    return f"job {live.order.job!r}: the command ended with exit status {status}{last}"
