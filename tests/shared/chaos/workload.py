"""What the cluster has to do: jobs that are submitted, and ticks, which fire many times a second.

    once    submitted, at most once           tick-0, tick-2, …  at most once; what passed is coalesced, what overlaps skipped
    often   submitted, at least once          tick-1, tick-3, …  at least once; every slot that passed is caught up

Each tick fires every 50 ms, and their slots lie 5 ms apart: so after any instant the next slot is at most 5 ms away.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Final

from callsheet import Context, Scheduler, every
from chaos.trace import Pen

STORE: Final = "jobs.db"
TICKS: Final = 10
PERIOD_US: Final = 50_000
APART_US: Final = PERIOD_US // TICKS

TICK_NAMES: Final = tuple(f"tick-{number}" for number in range(TICKS))
AT_MOST_ONCE: Final = frozenset({"once", *TICK_NAMES[::2]})
AT_LEAST_ONCE: Final = frozenset({"often", *TICK_NAMES[1::2]})
MOST_CRASHES: Final = 1_000


def first_slot_us(number: int, start_us: int) -> int:
    """The first slot of a tick."""
    return start_us + number * APART_US


def declare(scheduler: Scheduler, pen: Pen, start_us: int) -> None:
    """Declare all jobs; the same words on each node."""

    def work(ctx: Context, key: str = "", milliseconds: int = 0) -> None:
        pen.leave("begin", ctx, key)
        if milliseconds:
            time.sleep(milliseconds / 1_000)
        pen.leave("end", ctx, key)

    scheduler.add(work, name="once", overlap="allow_all")
    scheduler.add(work, name="often", overlap="allow_all", idempotent=True, max_crashes=MOST_CRASHES)
    for number, name in enumerate(TICK_NAMES):
        start = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=first_slot_us(number, start_us))
        trigger = every(PERIOD_US / 1e6, start=start)
        if name in AT_MOST_ONCE:
            scheduler.add(work, trigger, name=name)
        else:
            scheduler.add(
                work,
                trigger,
                name=name,
                idempotent=True,
                catchup="all",
                overlap="allow_all",
                max_catchup=1_000,
                max_crashes=MOST_CRASHES,
            )
