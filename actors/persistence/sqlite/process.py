"""Another process of this machine, as Linux shows it in /proc; elsewhere nothing is known, and nothing is done.

A process that was stopped (SIGSTOP, a debugger, Ctrl-Z) in the middle of a transaction holds the write lock for as long as it
is stopped, and the kernel frees no lock of a process that is not dead. So it is ended, as a database server ends the session
of a client that froze. All of this must be true of it, or it is left alone:

    it is the very process that holds the lease which is to be taken over (number and start, so a number that came again
        means nobody), and not this one
    the kernel says that it holds the lock that is in the way
    it is this user's, and each of its threads is stopped
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_STOPPED: Final = frozenset({"T", "t"})
"""Stopped by a signal, or by a debugger: proc(5), /proc/pid/stat, field 3."""


def started_at(process: int) -> int:
    """The tick of the machine's clock at which a process started, 0 if that cannot be known."""
    fields = _stat(_PROC / str(process))
    return int(fields[19]) if len(fields) > 19 else 0


def end_if_frozen(process: int, started: int, lock: int) -> bool:
    """End a process with SIGKILL if it is stopped and holds the lock on the open file `lock`; answers whether that was done."""
    if sys.platform != "linux" or process == os.getpid() or not started:
        return False
    try:
        handle = os.pidfd_open(process)  # a number may come again, a handle means this process for ever
    except OSError:
        return False
    try:
        if started_at(process) != started or not _is_ours(process):
            return False
        if not _holds(process, lock) or not _is_stopped(process):
            return False
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(handle)


def _is_ours(process: int) -> bool:
    return (_PROC / str(process)).stat().st_uid == os.geteuid()


def _is_stopped(process: int) -> bool:
    threads = list((_PROC / str(process) / "task").iterdir())
    return bool(threads) and all(_STOPPED.issuperset(_stat(thread)[:1] or ["?"]) for thread in threads)


def _holds(process: int, lock: int) -> bool:
    """Whether the process holds a lock on this file: proc(5), /proc/pid/fdinfo, "lock"."""
    wanted = os.fstat(lock)
    for file in (_PROC / str(process) / "fd").iterdir():
        try:
            if not os.path.samestat(file.stat(), wanted):
                continue
            lines = (_PROC / str(process) / "fdinfo" / file.name).read_text().splitlines()
        except OSError:
            continue
        if any(line.startswith("lock:") and {"FLOCK", "WRITE"} <= set(line.split()) for line in lines):
            return True
    return False


def _stat(folder: Path) -> list[str]:
    """The fields of a process or thread from the third on: the second is its name, in brackets, and may hold anything."""
    try:
        return (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
