"""The workers of a web server: forked processes that each start the scheduler they have inherited are one cluster.

What happened is counted by what the jobs leave behind: each appends a line to a file by one write.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import pytest

from callsheet import Client, NotRunning, Scheduler
from callsheet.client.reading import StoreReading
from support.waiting import eventually

WITHIN_S = 60.0
PERIOD_US = 200_000
WORKERS = 4

PRELOADED = f"""
import os, sys
from callsheet import Scheduler, every

scheduler = Scheduler("sqlite:///jobs.db", threads=2, processes=0)
FILE = os.open("trace", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


@scheduler.job(every(0.2, start="now"), overlap="allow_all")
def tick(ctx):
    os.write(FILE, f"{{round(ctx.slot.timestamp() * 1e6)}} {{os.getpid()}}\\n".encode())


if __name__ == "__main__":
    for _ in range({WORKERS}):
        if not os.fork():
            scheduler.run(started=lambda: os.write(1, f"{{os.getpid()}}\\n".encode()))
            os._exit(0)
    codes = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range({WORKERS})]
    print("codes", *sorted(codes))
"""

FORKED_LATE = """
import os, sys
from callsheet import NotRunning, Scheduler

scheduler = Scheduler("sqlite:///jobs.db", threads=1, processes=0)


@scheduler.job()
def double(n):
    return 2 * n


def refused(what, *arguments):
    try:
        what(*arguments)
    except NotRunning as error:
        return str(error)
    return f"{what.__name__} was not refused"


scheduler.start()
handle = scheduler.submit(double, 1)
child = os.fork()
if not child:
    tried = [refused(scheduler.submit, double, 3), refused(scheduler.runs), refused(scheduler.start),
             refused(scheduler.add, len), refused(scheduler.run), refused(handle.cancel)]
    scheduler.stop()
    print(scheduler.running, *tried, sep="\\n")
    sys.exit(7)  # as a server's worker ends: by the interpreter's whole exit
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
print(handle.result(30), scheduler.submit(double, 21).result(30), len(scheduler.runs()), flush=True)
scheduler.stop()
"""


class Tick(NamedTuple):
    """A line that a job left."""

    slot: int
    process: int


class Workers:
    """A program that forks workers, and what they leave in its folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/jobs.db"
        (folder / "app.py").write_text(PRELOADED)
        with (folder / "said").open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, "app.py"], cwd=folder, stdout=said, stderr=said, start_new_session=True
            )

    def said(self) -> str:
        return (self.folder / "said").read_text()

    def pids(self) -> list[int]:
        """The workers that have started."""
        return [int(line) for line in self.said().splitlines() if line.isdecimal()]

    def ticks(self) -> list[Tick]:
        trace = self.folder / "trace"
        lines = trace.read_text().splitlines() if trace.exists() else []
        return [Tick(*map(int, line.split())) for line in lines]

    def leader(self) -> int:
        """The worker that leads: a node is named for its host and its process."""
        with Client(self.url, timeout=WITHIN_S) as client:
            assert client.leader is not None
            return int(client.leader.node.rpartition("-")[2])

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[Workers]:
    made = Workers(tmp_path)
    yield made
    made.end()


def test_forked_workers_fire_each_slot_once_and_share_the_work_and_go_on_when_their_leader_is_killed(
    workers: Workers,
) -> None:
    eventually(lambda: len(workers.pids()) == WORKERS, WITHIN_S)
    eventually(lambda: {tick.process for tick in workers.ticks()} == set(workers.pids()), WITHIN_S)

    leader = workers.leader()
    os.kill(leader, signal.SIGKILL)
    before = len(workers.ticks())
    others = set(workers.pids()) - {leader}
    eventually(lambda: {tick.process for tick in workers.ticks()[before + 10 :]} >= others, WITHIN_S)
    for pid in others:
        os.kill(pid, signal.SIGTERM)
    assert workers.process.wait(WITHIN_S) == 0, workers.said()

    assert "codes -9 0 0 0" in workers.said()
    judge(workers)


def judge(workers: Workers) -> None:
    """Each slot from the first to the last has one decision; each that fired has left one line, and no other has."""
    lines = Counter(tick.slot for tick in workers.ticks())
    with StoreReading(workers.folder / "jobs.db") as reading:
        rows = list(reversed(reading.decisions("tick", limit=1_000)))
        decided = [(row, round(row.slot.timestamp() * 1e6)) for row in rows]
        fired = {slot: row.run_id or 0 for row, slot in decided if row.decision == "FIRED"}
        silent = {reading.run_view(run_id).state for slot, run_id in fired.items() if slot not in lines}

    for (row, slot), (_, following) in pairwise(decided):
        assert following == slot + row.count * PERIOD_US, f"slots are missing behind {row}"
    assert max(lines.values()) == 1
    assert set(lines) <= set(fired)
    # a run that the killed one had begun and whose line it did not live to write is told as lost
    assert silent <= {"LOST"}
    assert len(fired) > 12


def test_a_fork_of_a_running_scheduler_is_refused_and_the_parent_goes_on(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED_LATE],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )

    assert (ran.returncode, ran.stderr) == (0, "")
    running, *refusals, results = ran.stdout.splitlines()
    assert (running, results) == ("False", "2 42 2")
    assert len(refusals) == 6
    for said in refusals:
        assert "was forked" in said, said
        assert "Start it after the fork" in said, said


def test_threads_that_submit_while_another_starts_are_refused_or_served(tmp_path: Path) -> None:
    scheduler = Scheduler(f"sqlite:///{tmp_path}/jobs.db", threads=2, processes=0)
    scheduler.add(abs, name="abs", overlap="allow_all")
    served: list[int] = []
    refused = threading.Barrier(9)

    def request() -> None:
        with pytest.raises(NotRunning):
            scheduler.submit("abs", -1)
        refused.wait(WITHIN_S)
        while True:
            try:
                handle = scheduler.submit("abs", -1)
            except NotRunning:
                continue
            served.append(handle.result(WITHIN_S))
            return

    threads = [threading.Thread(target=request) for _ in range(8)]
    for thread in threads:
        thread.start()
    refused.wait(WITHIN_S)
    starter = threading.Thread(target=scheduler.start)
    starter.start()
    for thread in (starter, *threads):
        thread.join(WITHIN_S)
    scheduler.stop()

    assert served == [1] * 8
