"""A live view of a scheduler: runs by state, jobs by what is due next, the newest runs.

On a terminal it is drawn again twice a second; in a pipe it is a line every few seconds.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ..client.questions import Questions
from ..client.view import JobView, RunView
from ..client.vocabulary import Vocabulary
from ..errors import CallsheetError, NotRunning
from .output import COLOURS, Column, is_terminal, make_table, seconds_text, show_json_line
from .query_command import took_s

REFRESH_S: Final = 0.5
LINE_S: Final = 5.0
SHOWN: Final = 10
"""Jobs, and runs, that are shown."""
MAX_JOBS: Final = 500
COUNTED_RUNS: Final = 1_000
"""Runs that are counted by state where nobody keeps count."""

_SAMPLE: Final = re.compile(r'^callsheet_(runs_finished_total|level)\{\w+="(\w+)"\} (\S+)', re.MULTILINE)


class Snapshot(Struct, frozen=True):
    """A moment of a scheduler. `levels` says how full it is, `ended` how many runs have ended by state."""

    at: datetime
    levels: dict[str, int]
    ended: dict[str, int]
    jobs: list[JobView]
    runs: list[RunView]


def live(
    source: Questions,
    *,
    until: threading.Event,
    title: str = "callsheet",
    as_json: bool = False,
    console: Console | None = None,
) -> None:
    """Show a scheduler until an event is set, or until it has stopped.

    source: a scheduler, a connection to one, or a store that is read. console: where to, instead of standard output.
    """
    try:
        if as_json:
            _lines(source, until, title, as_json=True)
        elif console is not None or is_terminal():
            _draw(source, until, title, console or Console())
        else:
            _lines(source, until, title, as_json=False)
    except NotRunning:
        return  # it has stopped, and so has what there is to see
    except OSError:
        return  # whoever looked has gone: the reader of a pipe, a terminal


def take(source: Questions) -> Snapshot:
    """Ask for what is to be shown now."""
    jobs = sorted(source.jobs(limit=MAX_JOBS), key=_by_next_due)
    runs = source.runs(limit=SHOWN)
    if not isinstance(source, Vocabulary):
        states = Counter(str(run.state) for run in source.runs(limit=COUNTED_RUNS))
        return Snapshot(datetime.now(UTC), {}, dict(states), jobs, runs)
    levels: dict[str, int] = {}
    ended: dict[str, int] = {}
    for kind, label, number in _SAMPLE.findall(source.metrics()):
        (levels if kind == "level" else ended)[label] = int(float(number))
    return Snapshot(datetime.now(UTC), levels, ended, jobs, runs)


def render(moment: Snapshot, title: str) -> Group:
    """Return a snapshot as it is drawn."""
    counts = Text()
    for name, number in _counts(moment).items():
        counts.append(f"{number:,} ", style="bold")
        counts.append(f"{name.lower()}   ", style=COLOURS.get(name.upper(), ""))
    more = len(moment.jobs) - SHOWN
    jobs = make_table(
        moment.jobs[:SHOWN], _job_columns(moment.at), "Jobs" + (f" (and {more} more)" if more > 0 else "")
    )
    runs = make_table(moment.runs, _RUNS, "Newest runs")
    return Group(Text(title, style="bold"), counts, Text(), jobs, runs)


def line(moment: Snapshot) -> str:
    """Return a snapshot as one line."""
    parts = [f"{name.lower()} {number}" for name, number in _counts(moment).items()]
    upcoming = next((job for job in moment.jobs if job.next_due is not None), None)
    if upcoming is not None:
        parts.append(f"next {upcoming.name} {_until(upcoming, moment.at)}")
    return f"{moment.at:%H:%M:%S}Z  " + "  ".join(parts)


_RUNS: Final = [
    Column("run", lambda run: run.run_id, right=True),
    Column("job", lambda run: run.job),
    Column("state", lambda run: run.state),
    Column("created", lambda run: run.created_at),
    Column("took", took_s, right=True),
    Column("what", lambda run: run.error or run.reason, wide=True),
]


def _draw(source: Questions, until: threading.Event, title: str, console: Console) -> None:
    with Live(console=console, auto_refresh=False, transient=False) as drawn:
        while True:
            moment = _look(source)
            if moment is not None:
                drawn.update(render(moment, title), refresh=True)
            if until.wait(REFRESH_S):
                return


def _lines(source: Questions, until: threading.Event, title: str, *, as_json: bool) -> None:
    while True:
        moment = _look(source)
        if moment is None:
            pass
        elif as_json:
            show_json_line({"event": "state", "at": moment.at, "title": title, **_counts(moment)})
        else:
            print(line(moment), flush=True)
        if until.wait(LINE_S):
            return


def _look(source: Questions) -> Snapshot | None:
    """Look once; None when there was no answer, because nobody leads or the store is busy: the next look may get one."""
    try:
        return take(source)
    except NotRunning:
        raise
    except (CallsheetError, TimeoutError):
        return None


def _counts(moment: Snapshot) -> dict[str, int]:
    """What is to be counted: what runs and waits now, then what has ended, by state."""
    levels = moment.levels
    now = {"running": levels.get("running", 0), "waiting": max(0, levels.get("live", 0) - levels.get("running", 0))}
    return {**(now if levels else {}), **dict(sorted(moment.ended.items()))}


def _job_columns(now: datetime) -> list[Column]:
    return [
        Column("job", lambda job: job.name),
        Column("status", lambda job: job.status),
        Column("next", lambda job: _until(job, now), right=True),
        Column("fires", lambda job: job.fires, right=True),
        Column("trigger", lambda job: job.trigger, wide=True),
    ]


def _until(job: JobView, now: datetime) -> str:
    if job.next_due is None:
        return "–"
    left = (job.next_due - now).total_seconds()
    return "now" if left < 0.1 else f"in {left:.1f} s" if left < 1 else f"in {seconds_text(left)}"


def _by_next_due(job: JobView) -> tuple[bool, Any, str]:
    return job.next_due is None, job.next_due or 0, job.name
