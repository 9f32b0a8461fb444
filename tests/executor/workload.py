"""Functions that the tests run as jobs: a module of its own, so that worker processes can load it by its file."""

# ruff: noqa: T201, BLE001, ASYNC110, ASYNC222, ASYNC240 - jobs print, wait for files and misbehave

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
import threading
import warnings
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from callsheet.actors.executor.context import Retry, Snooze

IMPORTED_AS = __name__

_pause = threading.Event().wait


class Teapot(ValueError):
    pass


def noop() -> None:
    pass


async def noop_async() -> None:
    pass


def add(a: int, b: int = 1, *, c: int = 0) -> int:
    return a + b + c


async def add_async(a: int, b: int = 1, *, c: int = 0) -> int:
    await asyncio.sleep(0)
    return a + b + c


def fail(text: str) -> None:
    raise Teapot(text)


async def fail_async(text: str) -> None:
    raise Teapot(text)


def leave(kind: str) -> None:
    raise {"SystemExit": SystemExit(3), "KeyboardInterrupt": KeyboardInterrupt(), "GeneratorExit": GeneratorExit()}[
        kind
    ]


async def leave_async(kind: str) -> None:
    leave(kind)


def answer_no_data() -> Any:
    return object()


async def answer_no_data_async() -> Any:
    return object()


class Nowhere(tzinfo):
    """A zone that answers nothing."""

    def utcoffset(self, when: datetime | None) -> timedelta:
        raise NotImplementedError

    dst = utcoffset

    def tzname(self, when: datetime | None) -> str:
        return "nowhere"


def answer_what_raises() -> Any:
    return datetime(2030, 1, 1, tzinfo=Nowhere())


async def answer_what_raises_async() -> Any:
    return answer_what_raises()


def answer_much() -> bytes:
    return bytes(2 * 1024 * 1024)


async def answer_much_async() -> bytes:
    return answer_much()


def recurse(n: int = 0) -> int:
    return recurse(n + 1) + 1


async def recurse_async() -> int:
    return recurse()


def talk(lines: int) -> None:
    for number in range(lines):
        print(f"line {number} " + "x" * 80)
    print("the last one", file=sys.stderr)


async def talk_async(lines: int) -> None:
    talk(lines)


def close_the_streams() -> None:
    print("before")
    sys.stdout.close()
    sys.stderr.close()
    print("after")


async def close_the_streams_async() -> None:
    close_the_streams()


def who(ctx: Any) -> dict[str, Any]:
    ctx.log("asked")
    ctx.progress(3, 10, "rows")
    return {
        "run_id": ctx.run_id,
        "job": ctx.job,
        "tenant": ctx.tenant,
        "attempt": ctx.attempt,
        "slot": ctx.slot,
        "fence": ctx.fence,
        "key": ctx.idempotency_key,
        "cancelled": ctx.cancelled,
    }


async def who_async(ctx: Any) -> dict[str, Any]:
    return who(ctx)


def touch(path: str) -> None:
    with Path(path).open("a") as file:
        file.write("called\n")


async def touch_async(path: str) -> None:
    touch(path)


def wait_for(path: str) -> None:
    """Run until a file is there."""
    touch(path + ".begun")
    while not Path(path).exists():
        _pause(0.002)


async def wait_for_async(path: str) -> None:
    touch(path + ".begun")
    while not Path(path).exists():
        await asyncio.sleep(0.002)


def ignore_stop(path: str) -> None:
    """Run until a file is there, whatever anybody says."""
    touch(path + ".begun")
    while not Path(path).exists():
        try:
            _pause(0.002)
        except BaseException:
            touch(path + ".asked")


async def ignore_stop_async(path: str) -> None:
    touch(path + ".begun")
    while not Path(path).exists():
        try:
            await asyncio.sleep(0.002)
        except BaseException:
            touch(path + ".asked")


def clean_up(ctx: Any, path: str) -> None:
    """Run until told to stop, and clean up behind."""
    try:
        touch(path + ".begun")
        while True:
            ctx.raise_if_cancelled()
            _pause(0.002)
    finally:
        touch(path + ".cleaned")


async def clean_up_async(ctx: Any, path: str) -> None:
    try:
        touch(path + ".begun")
        while True:
            await asyncio.sleep(0.002)
    finally:
        touch(path + ".cleaned")


def die(how: str) -> None:
    if how == "exit":
        os._exit(7)
    os.kill(os.getpid(), signal.SIGKILL)


def my_process() -> int:
    return os.getpid()


def spawn(path: str) -> None:
    """Start a child of its own, that ignores TERM, and wait for it."""
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    Path(path + ".pid").write_text(str(child.pid))
    touch(path + ".begun")
    child.wait()


def fork() -> int:
    """Fork, and answer the child's exit status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from 3.12 on: this process has threads
        child = os.fork()
    if child == 0:
        os._exit(5)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


async def fork_async() -> int:
    return fork()


def context_of_thread() -> str:
    return threading.current_thread().name


def imported_as() -> str:
    return IMPORTED_AS


def allocate(size: int) -> int:
    return len(bytearray(size))


def die_if_there(path: str) -> None:
    if Path(path).exists():
        os._exit(9)


def hold_interpreter_if_there(path: str) -> None:
    """Return at once; or, once, be in C code for as long that lets no other thread run."""
    if Path(path).exists():
        Path(path).unlink()
        touch(path + ".begun")
        ctypes.PyDLL(None).usleep(1_800_000)


def hang_if_there(path: str) -> None:
    """Return at once, or run for as long as a file is there."""
    if Path(path).exists():
        touch(path + ".begun")
        while Path(path).exists():
            _pause(0.002)


def nap(seconds: float) -> None:
    _pause(seconds)


def retry_in_a_minute() -> None:
    raise Retry(60, "the other side is down")


def snooze_for_an_hour() -> None:
    raise Snooze(timedelta(hours=1))


async def retry_in_a_minute_async() -> None:
    retry_in_a_minute()


async def snooze_for_an_hour_async() -> None:
    snooze_for_an_hour()


def finish_although_stopped(path: str) -> int:
    """Never look at anything, and end well."""
    touch(path + ".begun")
    while not Path(path).exists():
        _pause(0.002)
    return 42


def stop_early(ctx: Any, path: str) -> str:
    touch(path + ".begun")
    while not ctx.cancelled:
        _pause(0.002)
    return "half of it"


def block_the_loop(path: str) -> None:
    wait_for(path)


async def block_the_loop_async(path: str) -> None:
    wait_for(path)


def loop_of() -> int:
    raise NotImplementedError


async def loop_of_async() -> int:
    return id(asyncio.get_running_loop())


async def leave_from_a_task_async(kind: str) -> None:
    """Wait for a task of its own that leaves the program."""
    await asyncio.gather(leave_async(kind), asyncio.sleep(0))


async def stop_the_loop_async() -> None:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0)


async def fork_and_come_back_async(how: str) -> int:
    """Fork a child that does not leave by itself, and answer its exit status."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        if how == "sleeps":
            await asyncio.sleep(0)
        if how == "raises":
            raise SystemExit(0)
        return -1
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        await asyncio.sleep(0.002)
