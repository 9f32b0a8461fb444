"""The program that the test of kills starts again and again, and kills: submitters, recurring jobs, chains, retries.

    killed_program.py STORE TRACE SEED DRAIN

Every function leaves its trace itself, by one write to a file that all processes append to: what began or ended, for which
run, attempt and fence. What was acknowledged is written to standard output, a line for each run.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from itertools import count

from callsheet import CallsheetError, Context, Scheduler, every, fixed, manual

STORE, TRACE, SEED, DRAIN = (*sys.argv[1:5], "", "", "", "0", "0")[:4]
TRACE = TRACE or os.environ.get("CALLSHEET_TRACE", "")
os.environ["CALLSHEET_TRACE"] = TRACE  # worker processes load this file without its arguments
# opened once: between the first line of a function and its trace lies one system call, in which a kill may fall
FILE = os.open(TRACE, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)


def leave(word: str, ctx: Context) -> None:
    """Append one line, by one write: it is there whole or not at all, whatever happens next."""
    slot = ctx.slot.isoformat() if ctx.slot is not None else "-"
    line = f"{word}\t{ctx.run_id}\t{ctx.attempt}\t{ctx.fence}\t{ctx.job}\t{slot}\n".encode()
    os.write(FILE, line)


def work(ctx: Context, milliseconds: int = 0) -> int:
    leave("begin", ctx)
    if milliseconds:
        time.sleep(milliseconds / 1000)
    leave("end", ctx)
    return ctx.run_id


async def work_async(ctx: Context) -> int:
    leave("begin", ctx)
    leave("end", ctx)
    return ctx.run_id


def flaky(ctx: Context, fails: int = 1) -> int:
    leave("begin", ctx)
    if ctx.attempt <= fails:
        leave("fail", ctx)
        raise ValueError("not yet")
    leave("end", ctx)
    return ctx.attempt


def first(ctx: Context) -> int:
    return work(ctx)


def second(ctx: Context, given: int) -> int:
    work(ctx)
    return given


def third(ctx: Context, one: int, two: int) -> int:
    assert one == two
    return work(ctx)


def declare(scheduler: Scheduler, *, recurring: bool) -> None:
    tick = every(0.1, start="now") if recurring else None
    tock = every(0.13, start="now") if recurring else None
    scheduler.add(work, name="once")
    scheduler.add(work, name="once slowly", args=[10], executor="thread")
    scheduler.add(work, name="once in a process", executor="process")
    scheduler.add(work_async, name="once async")
    scheduler.add(work, tick, name="once every", catchup="all", overlap="allow_all")
    scheduler.add(work, name="often", idempotent=True, max_crashes=1_000)
    scheduler.add(flaky, name="flaky", retry=fixed(0.02, attempts=6), max_crashes=1_000)
    scheduler.add(work, name="often in a process", executor="process", idempotent=True, max_crashes=1_000)
    scheduler.add(work, tock, name="often every", args=[5], catchup="all", idempotent=True, max_crashes=1_000)
    scheduler.add(first, tock, name="first", idempotent=True, catchup="all", overlap="allow_all", max_crashes=1_000)
    scheduler.add(second, name="second", after=["first"], idempotent=True, overlap="allow_all", max_crashes=1_000)
    scheduler.add(
        third, name="third", after=["first", "second"], idempotent=True, overlap="allow_all", max_crashes=1_000
    )


def submit_on(scheduler: Scheduler, seed: int) -> None:
    """Submit until the end, and say what was acknowledged."""
    chance = random.Random(seed)
    jobs = ("once", "once slowly", "once in a process", "once async", "often", "flaky", "often in a process")
    for _ in count():
        try:
            if chance.random() < 0.1:
                handles = [scheduler.trigger("third")]
            else:
                job = chance.choice(jobs)
                handles = scheduler.submit_many([(job,)] * chance.choice((1, 1, 1, 2, 5)))
        except CallsheetError:
            return
        said = "".join(f"{handle.run_id}\t{handle.job}\n" for handle in handles)
        os.write(1, said.encode())
        # mostly none: so a kill often falls just behind an acknowledgement
        time.sleep(0.0 if chance.random() < 0.7 else chance.random() * 0.02)


def main() -> None:
    scheduler = Scheduler(f"sqlite:///{STORE}", threads=4, processes=1)
    draining = DRAIN == "1"
    declare(scheduler, recurring=True)
    scheduler.start()
    if draining:
        for job in ("once every", "often every", "first"):
            scheduler.reschedule(job, manual())  # what has passed still runs, and nothing new comes
        wait_until_all_ended(scheduler)
        scheduler.stop()
        return
    os.write(1, b"started\n")
    for number in range(2):
        threading.Thread(target=submit_on, args=(scheduler, int(SEED) + number), daemon=True).start()
    time.sleep(60)


def wait_until_all_ended(scheduler: Scheduler) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if all(run.ended_at is not None for run in scheduler.runs(limit=100_000)):
            return
        time.sleep(0.1)


if __name__ == "__main__":
    main()
