"""Kill -9 at any moment loses nothing that was acknowledged, and starts no at-most-once run twice.

A program runs a scheduler on an SQLite file, submits, and is killed at a random moment: the whole of its process group, or
the main process alone. It is started again on the same file, 100 times and more, and then once to drain. The verdict is
taken from what the jobs themselves left behind (see `killed_program.py`) and from what was acknowledged to the submitters;
the store is then asked whether it says the same.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pytest

from callsheet.actors.executor.marks import read_begun
from callsheet.actors.persistence.sqlite.store import SQLiteStore
from callsheet.actors.persistence.store import ListDecisions, ListRuns
from callsheet.actors.records import RunRecord

PROGRAM = Path(__file__).with_name("killed_program.py")
KILLS = 100
SHORTEST_S, LONGEST_S = 0.02, 0.4
ONCE = {"once", "once slowly", "once in a process", "once every", "once async"}
MOST_SILENT = KILLS // 10
RECURRING = ("once every", "often every", "first")


class Trace(NamedTuple):
    """A line that a job left."""

    word: str
    run_id: int
    attempt: int
    fence: int
    job: str
    slot: str


class Lives:
    """What all lives of the program left behind."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.store = folder / "jobs.db"
        self.trace = folder / "trace"
        self.errors = folder / "errors"
        self.chance = random.Random(seed)
        self.seed = seed
        self.acknowledged: dict[int, str] = {}
        self.cuts: list[int] = []
        self.marked: set[int] = set()
        self.started = 0

    def live(self, number: int) -> None:
        """One life: it starts, works for a moment, and is killed."""
        process = self._start(number, drain=False)
        assert process.stdout is not None
        try:
            # some are killed while they start, most when they work
            if self.chance.random() < 0.85:
                self._wait_started(process)
            time.sleep(self.chance.uniform(SHORTEST_S, LONGEST_S))
        finally:
            if self.chance.random() < 0.5:
                os.killpg(process.pid, signal.SIGKILL)
            else:
                os.kill(process.pid, signal.SIGKILL)
        said, _ = process.communicate(timeout=30)
        self._take(said)
        self.cuts.append(self.trace.stat().st_size if self.trace.exists() else 0)
        self._read_marks()

    def drain(self) -> None:
        """The last life: it starts nothing new, and ends when all has ended."""
        process = self._start(0, drain=True)
        said, _ = process.communicate(timeout=90)
        assert process.returncode == 0, self.errors.read_text()[-5_000:]
        self._take(said)

    def _start(self, number: int, *, drain: bool) -> subprocess.Popen[bytes]:
        command: list[str | Path] = [
            sys.executable,
            PROGRAM,
            self.store,
            self.trace,
            str(self.seed + number * 2),
            "1" if drain else "0",
        ]
        with self.errors.open("ab") as errors:
            return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, start_new_session=True)

    def _wait_started(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == b"started\n", (line, self.errors.read_text()[-5_000:])
        self.started += 1

    def _take(self, said: bytes) -> None:
        for line in said.decode().splitlines(keepends=True):
            if line.endswith("\n") and "\t" in line:
                number, job = line.strip().split("\t")
                self.acknowledged[int(number)] = job

    def _read_marks(self) -> None:
        """Note the fences whose functions were about to be called when the life ended."""
        folder = Path(f"{self.store}.marks")
        for file in sorted(folder.glob("*.marks")) if folder.exists() else ():
            begun = read_begun(folder, unquote(file.name.removesuffix(".marks")))
            self.marked |= begun.fences

    def traces(self) -> list[Trace]:
        found = []
        for line in self.trace.read_text().splitlines():
            word, run_id, attempt, fence, job, slot = line.split("\t")
            found.append(Trace(word, int(run_id), int(attempt), int(fence), job, slot))
        return found

    def in_flight(self) -> set[int]:
        """The runs of which some attempt had begun and not ended when a life was cut off."""
        found: set[int] = set()
        text = self.trace.read_bytes()
        begun: set[tuple[int, int]] = set()
        start = 0
        for cut in self.cuts:
            for line in text[start:cut].decode().splitlines():
                word, run_id, _, fence, *_ = line.split("\t")
                if word == "begin":
                    begun.add((int(run_id), int(fence)))
            start = cut
            found |= {run_id for run_id, _ in begun}
            begun.clear()
        return found


@pytest.fixture(scope="module")
def lives(tmp_path_factory: pytest.TempPathFactory) -> Lives:
    seed = int(os.environ.get("CALLSHEET_KILL_SEED") or "0") or random.SystemRandom().randrange(1, 1_000_000)
    print(f"kills: repeat with CALLSHEET_KILL_SEED={seed}")  # noqa: T201 - shown when a test fails
    made = Lives(tmp_path_factory.mktemp("kill"), seed)
    for number in range(1, KILLS + 1):
        made.live(number)
    made.drain()
    return made


@pytest.fixture(scope="module")
def runs(lives: Lives) -> dict[int, RunRecord]:
    """All runs, as the store says."""
    store = SQLiteStore(lives.store)
    store.open()
    found: dict[int, RunRecord] = {}
    before = None
    while page := store.read(ListRuns(tenant="default", limit=1_000, before=before)):
        found.update({record.run.run_id: record for record in page})
        before = page[-1].run.run_id
    store.close()
    return found


def begins(lives: Lives) -> dict[int, list[Trace]]:
    found: dict[int, list[Trace]] = defaultdict(list)
    for trace in lives.traces():
        if trace.word == "begin":
            found[trace.run_id].append(trace)
    return found


def test_there_was_enough_to_judge(lives: Lives) -> None:
    words = Counter(trace.word for trace in lives.traces())
    jobs = {trace.job for trace in lives.traces()}

    assert len(lives.cuts) >= 100
    assert lives.started >= 60
    assert len(lives.acknowledged) > 1_000
    assert words["begin"] > words["end"] > 1_000
    assert len(jobs) == 12


def test_every_acknowledged_run_has_ended_and_has_begun(lives: Lives, runs: dict[int, RunRecord]) -> None:
    begun = begins(lives)
    lost = [run_id for run_id in lives.acknowledged if run_id not in runs]
    open_still = [run_id for run_id in lives.acknowledged if run_id in runs and runs[run_id].end is None]
    never = [run_id for run_id in lives.acknowledged if run_id not in begun]

    assert (lost, open_still) == ([], [])
    # what waited for a run that was lost has ended without having begun; of the LOST see below
    assert [run_id for run_id in never if runs[run_id].state not in {"UPSTREAM_FAILED", "LOST"}] == []


def test_no_at_most_once_run_began_twice(lives: Lives) -> None:
    twice = {run_id: found for run_id, found in begins(lives).items() if found[0].job in ONCE and len(found) > 1}

    assert twice == {}


def test_only_runs_that_had_begun_are_lost(lives: Lives, runs: dict[int, RunRecord]) -> None:
    begun = begins(lives)
    lost = {run_id: record.end for run_id, record in runs.items() if record.state == "LOST" and record.end is not None}

    assert lost, "100 kills must have cut something off"
    assert {runs[run_id].run.job for run_id in lost} <= ONCE
    # A mark is set before its function is called, and a kill may fall between the mark and the function's first line: that is
    # the one way in which a LOST run has left no trace. It is rare, and the mark must be there.
    silent = {run_id: end.fence for run_id, end in lost.items() if run_id not in begun}
    assert {run_id: fence for run_id, fence in silent.items() if fence not in lives.marked} == {}
    assert len(silent) <= MOST_SILENT
    assert len(silent) < len(lost) / 4


def test_what_ended_well_left_an_end_and_what_left_an_end_and_was_not_cut_ended_well(
    lives: Lives, runs: dict[int, RunRecord]
) -> None:
    ended = {trace.run_id for trace in lives.traces() if trace.word == "end"}
    well = {run_id for run_id, record in runs.items() if record.state == "SUCCEEDED"}

    assert well - ended == set()
    others = {run_id: str(runs[run_id].state) for run_id in ended - well}
    assert set(others.values()) <= {"LOST"}
    assert {state for record in runs.values() if (state := str(record.state)) != "SUCCEEDED"} <= {
        "LOST",
        "UPSTREAM_FAILED",
    }


def test_no_attempt_began_twice_and_fences_only_grow(lives: Lives) -> None:
    for run_id, found in begins(lives).items():
        fences = [trace.fence for trace in found]
        assert fences == sorted(set(fences)), f"run {run_id}: {found}"


def test_only_what_was_in_flight_at_a_kill_began_more_often_than_it_failed(lives: Lives) -> None:
    failed = Counter(trace.run_id for trace in lives.traces() if trace.word == "fail")
    in_flight = lives.in_flight()
    more = {run_id for run_id, found in begins(lives).items() if len(found) > 1 + failed[run_id]}

    assert more, "100 kills must have had something repeated"
    assert more - in_flight == set()


def test_no_slot_fired_twice(lives: Lives, runs: dict[int, RunRecord]) -> None:
    slots = Counter((record.run.job, record.run.slot) for record in runs.values() if record.run.slot is not None)
    assert {slot: times for slot, times in slots.items() if times > 1} == {}

    traced: dict[tuple[str, str], set[int]] = defaultdict(set)
    for trace in lives.traces():
        if trace.slot != "-":
            traced[(trace.job, trace.slot)].add(trace.run_id)
    assert {slot: found for slot, found in traced.items() if len(found) > 1} == {}
    assert len(traced) > 100


def test_each_slot_has_exactly_one_decision_and_none_is_missing(lives: Lives) -> None:
    store = SQLiteStore(lives.store)
    store.open()
    periods = {"once every": 100_000, "often every": 130_000, "first": 130_000}
    for job in RECURRING:
        decisions = []
        before = None
        while page := store.read(ListDecisions(tenant="default", job=job, before=before, limit=1_000)):
            decisions += page
            before = page[-1].slot
        decisions.reverse()
        assert len(decisions) > 50
        for earlier, later in pairwise(decisions):
            assert later.slot == earlier.last + periods[job], f"{job}: {earlier} is followed by {later}"
        for decision in decisions:
            assert decision.last - decision.slot == (decision.count - 1) * periods[job]
    store.close()
