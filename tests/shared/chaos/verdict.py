"""The verdict: what was lost or doubled, counted from what the jobs left and what the client was told.

What the store says is asked for four things only: the state of a run that left no end, which slots became which runs, the
decisions about slots, and that no run is open at the end. It can excuse nothing but this:

- A run that may begin once, had begun in a process that was struck, and left no recorded end stands there as LOST, visibly.
  It may have left no line at all: its start mark is set just before its first line, and a kill may fall between the two. Few
  do, and more than `silent_limit` are lost.
- A run that may be repeated began again after the process in which it was in flight was struck.

    lost       an acknowledged run, or one that a slot became, that is open, or unknown, or never began, or did not end well
    doubled    a run that may begin once and began twice; an attempt that began twice; a key or a slot that became two runs;
               a repetition of what was not in flight in a process that was struck
    undecided  a slot between the first and the last one without a decision
    disobeyed  a node that was cut off, and started something later than it may, or did not say so
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

from msgspec import Struct, field

from callsheet.actors.persistence.sqlite import SQLiteReader
from callsheet.actors.persistence.store import MAX_PAGE, ListDecisions, ListRuns
from callsheet.actors.records import DEFAULT_TENANT, Decision
from chaos.blow import Blow
from chaos.cluster import Cluster
from chaos.load import ACKNOWLEDGED
from chaos.trace import Line
from chaos.workload import AT_LEAST_ONCE, AT_MOST_ONCE, PERIOD_US, STORE, TICK_NAMES, first_slot_us

UNRECORDED_US: Final = 500_000
"""For so long after its end an outcome may still be on its way to the store; what ended so shortly before a blow was in flight."""
QUIET_AFTER_US: Final = 2_500_000
"""From a cut to the last start there: the others notice (0.4 s), take over, and a second without a leader is over; with room."""
SILENT_SHARE: Final = 0.25
FEWEST_SILENT: Final = 3


class Row(Struct, frozen=True, gc=False):
    """What the store says of a run."""

    job: str
    state: str
    slot: int | None


class Evidence(Struct):
    """All that is known after an act.

    `start_us` is the first slot, `ready_us` when all nodes had declared the ticks, `ended_us` when these were ended (UTC).
    `said` are the nodes' logs.
    """

    lines: Sequence[Line]
    acknowledged: Sequence[tuple[str, int]]
    rows: Mapping[int, Row]
    decisions: Mapping[str, Sequence[Decision]]
    blows: Sequence[Blow]
    start_us: int
    ready_us: int
    ended_us: int
    said: Mapping[str, str] = {}


class Verdict(Struct):
    """A line for each fault, and what there was to judge."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    undecided: list[str] = field(default_factory=list)
    disobeyed: list[str] = field(default_factory=list)
    acknowledged: int = 0
    begun: int = 0
    slots: int = 0
    fired: int = 0
    cut_short: int = 0
    silent: int = 0
    repeated: int = 0
    in_flight: int = 0

    @property
    def good(self) -> bool:
        """Whether there is no fault."""
        return not (self.lost or self.doubled or self.undecided or self.disobeyed)


def gather(cluster: Cluster, lines: Sequence[Line], blows: Sequence[Blow]) -> Evidence:
    """Read what a cluster has left that has been stopped."""
    folder = cluster.folder
    told = (line.split("\t") for line in (folder / ACKNOWLEDGED).read_text().splitlines())
    acknowledged = [(key, int(run_id)) for key, run_id in told]
    reader = SQLiteReader(folder / STORE)
    reader.open()
    try:
        rows = _rows(reader)
        decisions = {job: _decisions(reader, job) for job in TICK_NAMES}
    finally:
        reader.close()
    said = {name: (folder / "logs" / name).read_text() for name in cluster.names}
    instants = (cluster.start_us, cluster.ready_us, cluster.ended_us)
    return Evidence(lines, acknowledged, rows, decisions, blows, *instants, said)


def _rows(reader: SQLiteReader) -> dict[int, Row]:
    found: dict[int, Row] = {}
    before = None
    while page := reader.read(ListRuns(tenant=DEFAULT_TENANT, before=before, limit=MAX_PAGE)):
        for record in page:
            found[record.run.run_id] = Row(record.run.job, str(record.state), record.run.slot)
        before = page[-1].run.run_id
    return found


def _decisions(reader: SQLiteReader, job: str) -> list[Decision]:
    """All decisions about a job's slots, oldest first."""
    found: list[Decision] = []
    before = None
    while page := reader.read(ListDecisions(tenant=DEFAULT_TENANT, job=job, before=before, limit=MAX_PAGE)):
        found += page
        before = page[-1].slot
    return found[::-1]


# ---- judging ------------------------------------------------------------------------------------------------------------


def judge(evidence: Evidence) -> Verdict:
    """Hold what was left behind against what was promised."""
    trail = Trail(evidence)
    verdict = Verdict(acknowledged=len(evidence.acknowledged), begun=len(trail.begins))
    _judge_runs(evidence, trail, verdict)
    _judge_beginnings(evidence, trail, verdict)
    _judge_slots(evidence, trail, verdict)
    _judge_decisions(evidence, verdict)
    _judge_obedience(evidence, trail, verdict)
    return verdict


class Trail:
    """The lines, by what they are about."""

    def __init__(self, evidence: Evidence) -> None:
        self.begins: dict[int, list[Line]] = defaultdict(list)
        self.ends: dict[int, list[Line]] = defaultdict(list)
        self.runs_of_key: dict[str, set[int]] = defaultdict(set)
        self.runs_of_slot: dict[tuple[str, int], set[int]] = defaultdict(set)
        for line in evidence.lines:
            (self.begins if line.word == "begin" else self.ends)[line.run_id].append(line)
            if line.key:
                self.runs_of_key[line.key].add(line.run_id)
            if line.slot:
                self.runs_of_slot[line.job, line.slot].add(line.run_id)
        for begins in self.begins.values():
            begins.sort(key=lambda line: line.steady_us)
        self.blows: dict[int, list[Blow]] = defaultdict(list)
        for blow in evidence.blows:
            self.blows[blow.process].append(blow)

    def was_struck(self, begin: Line, *, deadly: bool = False) -> bool:
        """Whether what began there was in flight when its process was struck; with `deadly`, so that it died."""
        ended = next((line.steady_us for line in self.ends.get(begin.run_id, ()) if line.fence == begin.fence), None)
        return any(
            begin.steady_us <= _over(blow)
            and (ended is None or ended >= blow.begun_us - UNRECORDED_US)
            and (not deadly or blow.kind == "kill" or blow.died)
            for blow in self.blows[begin.process]
        )


def _over(blow: Blow) -> int:
    """When a process that was struck was well again."""
    return (blow.mended_us or blow.begun_us) + UNRECORDED_US


def _judge_runs(evidence: Evidence, trail: Trail, verdict: Verdict) -> None:
    """What was acknowledged, and what slots became, has begun and ended."""
    owed = {run_id: f"run {run_id} of a slot of {row.job}" for run_id, row in evidence.rows.items() if row.slot}
    owed |= {run_id: f"run {run_id}, acknowledged for {key}" for key, run_id in evidence.acknowledged}
    for run_id, what in sorted(owed.items()):
        row = evidence.rows.get(run_id)
        begins = trail.begins.get(run_id, [])
        if row is None:
            verdict.lost.append(f"{what}: the store does not know it")
        elif row.state == "LOST" and row.job in AT_MOST_ONCE and not begins:
            verdict.silent += 1
        elif row.state == "LOST" and row.job in AT_MOST_ONCE and trail.was_struck(begins[0], deadly=True):
            verdict.cut_short += 1
        elif row.state != "SUCCEEDED":
            verdict.lost.append(f"{what}: {row.job} is {row.state}, begun {len(begins)} times")
        elif not begins:
            verdict.lost.append(f"{what}: {row.job} never began, and the store says {row.state}")
        elif run_id not in trail.ends:
            verdict.lost.append(f"{what}: {row.job} began and never ended, and the store says {row.state}")
    for key, run_id in evidence.acknowledged:
        if run_id in trail.begins and run_id not in trail.runs_of_key[key]:
            verdict.lost.append(f"run {run_id}, acknowledged for {key}, did the work of another key")
    deadly = sum(blow.kind == "kill" or blow.died for blow in evidence.blows)
    if verdict.silent > max(FEWEST_SILENT, deadly * SILENT_SHARE):
        verdict.lost.append(f"{verdict.silent} runs are LOST that left no line; {deadly} processes were killed")


def _judge_beginnings(evidence: Evidence, trail: Trail, verdict: Verdict) -> None:
    """Nothing begins again that may not."""
    for run_id, begins in sorted(trail.begins.items()):
        job = begins[0].job
        if len({line.fence for line in begins}) < len(begins):
            verdict.doubled.append(f"run {run_id} of {job}: an attempt began twice: {begins}")
        if len(begins) > 1 and job in AT_MOST_ONCE:
            verdict.doubled.append(f"run {run_id} of {job} may begin once and began {len(begins)} times: {begins}")
        if job in AT_LEAST_ONCE:
            verdict.in_flight += sum(trail.was_struck(begin) for begin in begins)
            verdict.repeated += len(begins) - 1
            for begin in begins[:-1]:
                if not trail.was_struck(begin):
                    verdict.doubled.append(f"run {run_id} of {job} was repeated, and not for a blow: {begins}")
    for key, runs in sorted(trail.runs_of_key.items()):
        if len(runs) > 1:
            verdict.doubled.append(f"key {key} became the runs {sorted(runs)}")


def _judge_slots(evidence: Evidence, trail: Trail, verdict: Verdict) -> None:
    """A slot became one run at most, by the traces and by the store."""
    stored: dict[tuple[str, int], set[int]] = defaultdict(set)
    for run_id, row in evidence.rows.items():
        if row.slot is not None:
            stored[row.job, row.slot].add(run_id)
    verdict.fired = len(trail.runs_of_slot)
    for (job, slot), runs in sorted(stored.items()):
        if len(runs | trail.runs_of_slot.get((job, slot), set())) > 1:
            verdict.doubled.append(f"slot {slot} of {job} became the runs {sorted(runs)}")
    for job, slot in sorted(trail.runs_of_slot.keys() - stored.keys()):
        verdict.doubled.append(f"slot {slot} of {job} began, and the store does not know it")


def _judge_decisions(evidence: Evidence, verdict: Verdict) -> None:
    """There is one decision for each slot, from the first to the last that was due."""
    for number, job in enumerate(TICK_NAMES):
        decisions = evidence.decisions.get(job, [])
        if not decisions:
            verdict.undecided.append(f"{job}: no slot was decided")
            continue
        verdict.slots += sum(decision.count for decision in decisions)
        if decisions[0].slot > max(first_slot_us(number, evidence.start_us), evidence.ready_us + PERIOD_US):
            verdict.undecided.append(f"{job}: the first decision is about slot {decisions[0].slot}")
        if decisions[-1].last < evidence.ended_us - UNRECORDED_US:
            verdict.undecided.append(f"{job}: nothing was decided after slot {decisions[-1].last}")
        for decision in decisions:
            if decision.last - decision.slot != (decision.count - 1) * PERIOD_US:
                verdict.undecided.append(f"{job}: {decision} does not count its slots")
        for earlier, later in pairwise(decisions):
            if later.slot != earlier.last + PERIOD_US:
                verdict.undecided.append(f"{job}: {earlier} is followed by {later}")


def _judge_obedience(evidence: Evidence, trail: Trail, verdict: Verdict) -> None:
    """Who is cut off starts nothing, and says so."""
    cuts = [blow for blow in evidence.blows if blow.kind == "cut"]
    begins = sorted((line.steady_us, line) for found in trail.begins.values() for line in found)
    for blow in cuts:
        first = bisect_left(begins, (blow.begun_us + QUIET_AFTER_US,))
        last = bisect_left(begins, (blow.mended_us,))
        late = [line for _, line in begins[first:last] if line.process == blow.process]
        if late:
            seconds = (late[-1].steady_us - blow.begun_us) / 1e6
            verdict.disobeyed.append(
                f"{blow.node} was cut off, and started {len(late)} more, {seconds:.1f} s later: {late[-1]}"
            )
    said = sum(text.count("node_cut_off ") for text in evidence.said.values())
    if said < len(cuts):
        verdict.disobeyed.append(f"nodes were cut off {len(cuts)} times, and said so {said} times")
