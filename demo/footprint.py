"""Footprints: what the demo's jobs leave behind, one line for each beginning and each end.

A line is written by a single `write` to a file that was opened with O_APPEND, so neither other processes nor SIGKILL can
tear or mix lines, and what was written before a kill is there after it. Nothing but the jobs writes this file; the verdict
is counted from it.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from callsheet import Context

FILE: Final = "footprints.jsonl"
CRON_FILE: Final = "crontab.log"
MICROSECONDS: Final = 1_000_000

Kind = Literal["begin", "end", "failed"]


@dataclass(frozen=True)
class Footprint:
    """One line: a function began, reached its end, or raised. Instants are microseconds UTC."""

    kind: Kind
    at: int
    job: str
    run_id: int
    attempt: int
    fence: int
    slot: int | None
    process: int
    key: str = ""


@contextmanager
def leave_footprints(ctx: Context, key: str = "") -> Iterator[None]:
    """Leave a footprint when a job's function begins, and when it ends or raises."""
    _leave("begin", ctx, key)
    try:
        yield
    except Exception:
        _leave("failed", ctx, key)
        raise
    _leave("end", ctx, key)


def _leave(kind: Kind, ctx: Context, key: str) -> None:
    slot = None if ctx.slot is None else microseconds(ctx.slot)
    found = Footprint(kind, now(), ctx.job, ctx.run_id, ctx.attempt, ctx.fence, slot, os.getpid(), key)
    append(Path(FILE), asdict(found))


def append(file: Path, line: dict[str, Any]) -> None:
    """Append one line of JSON by a single write."""
    descriptor = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, json.dumps(line).encode() + b"\n")
    finally:
        os.close(descriptor)


def read(folder: Path) -> list[Footprint]:
    """Return the footprints in a folder in the order in which they were left, those of the crontab's commands last."""
    file = folder / FILE
    lines = file.read_text().splitlines() if file.exists() else []
    return [Footprint(**json.loads(line)) for line in lines] + _read_cron(folder / CRON_FILE)


def _read_cron(file: Path) -> list[Footprint]:
    """The notes of the crontab's commands, as `noted` writes them."""
    found = []
    for line in file.read_text().splitlines() if file.exists() else []:
        kind, run_id, attempt, fence, slot, seconds, job = line.split(maxsplit=6)
        instant = None if slot == "-" else microseconds(datetime.fromisoformat(slot))
        at = int(seconds) * MICROSECONDS
        assert kind in ("begin", "end")
        found.append(Footprint(kind, at, job, int(run_id), int(attempt), int(fence), instant, 0))  # type: ignore[arg-type] # checked
    return found


def now() -> int:
    """The wall clock, in microseconds UTC."""
    return time.time_ns() // 1_000


def microseconds(moment: datetime) -> int:
    """An aware datetime as microseconds UTC, exactly."""
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * MICROSECONDS + since.microseconds


def to_datetime(instant: int) -> datetime:
    """Microseconds UTC as an aware datetime."""
    return datetime.fromtimestamp(instant / MICROSECONDS, tz=UTC)
