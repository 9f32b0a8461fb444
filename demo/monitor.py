"""The monitor: looks at the store, at the footprints and at the cluster while the demo runs; from outside, also while nobody leads."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import footprint
from callsheet import Client
from callsheet.actors.actor import COORDINATOR
from callsheet.actors.lifecycle import FINAL
from callsheet.actors.messages import ListMembers, MembersListed, MemberStatus
from callsheet.actors.records import Job, JobRecord, RunRecord
from callsheet.client.gateway import Pending
from callsheet.errors import StoreError
from callsheet.triggers import Manual, describe
from crontab_lines import REBOOT
from evidence import Reader
from footprint import Footprint
from plan import CHAIN, STORE
from verdict import ROOTS, percentile

CRONTAB: Final = "crontab"
"""The tag of jobs that were imported."""
NEWEST: Final = 1_000
"""Runs that are counted while it goes on; at the end all are."""
FRESH_S: Final = 0.5
"""How long the leader's word about the nodes is shown; without a newer one nobody leads."""


@dataclass
class JobRow:
    """A job as it is shown. Instants are microseconds UTC."""

    name: str
    when: str
    next_due: int | None
    runs: int
    late: int | None


@dataclass
class RunRow:
    """A run as it is shown."""

    run_id: int
    job: str
    at: int
    state: str
    attempt: int


@dataclass
class NodeRow:
    """A node as its leader tells it. `running` is how many attempts it has in hand."""

    name: str
    leads: bool
    state: str
    running: int


@dataclass
class Scene:
    """One look at the demo. Without `nodes` nobody leads just now."""

    now: int
    epoch: int = 0
    nodes: list[NodeRow] = field(default_factory=list)
    states: Counter[str] = field(default_factory=Counter)
    jobs: list[JobRow] = field(default_factory=list)
    recent: list[RunRow] = field(default_factory=list)
    begun: int = 0
    p50: int = 0
    p99: int = 0
    live: int = 0


class Monitor:
    """Looks at a demo's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._reader: Reader | None = None
        self._offset = 0
        self._begins: list[int] = []
        self._fired: list[tuple[int, int]] = []
        self._latest: dict[str, int] = {}
        self._lateness: list[int] = []
        self._client: Client | None = None
        self._asked: Pending | None = None
        self._told: MembersListed | None = None
        self._told_at = 0.0

    def connect(self) -> None:
        """Connect to the cluster, as any client does."""
        self._client = Client(f"sqlite:///{self._folder / STORE}").open()

    def close(self) -> None:
        """Let go of the store and the cluster."""
        if self._reader is not None:
            self._reader.close()
        if self._client is not None:
            self._client.close()
            self._client = None

    def look(self) -> Scene:
        """Return how things stand now."""
        self._follow()
        scene = Scene(footprint.now(), begun=len(self._begins))
        self._ask_members(scene)
        scene.p50, scene.p99 = percentile(self._lateness, 0.5), percentile(self._lateness, 0.99)
        try:
            self._reader = self._reader or Reader(self._folder)
            runs, jobs = self._reader.runs(NEWEST), self._reader.jobs()
        except StoreError:  # it is not there yet, or busy for a moment
            return scene
        scene.states = Counter(str(run.state) for run in runs)
        scene.live = sum(run.state not in FINAL for run in runs)
        counts = Counter(run.run.job for run in runs)
        scene.jobs = [self._job_row(job, counts) for job in sorted(jobs, key=_place)]
        scene.recent = [_run_row(run) for run in runs]
        return scene

    def leader(self) -> str:
        """The node that leads by the lease in the store; empty for nobody.

        Raises:
            StoreError: the store cannot be read just now.
        """
        self._reader = self._reader or Reader(self._folder)
        return self._reader.leader()

    def _ask_members(self, scene: Scene) -> None:
        """Take the last answer, and ask again; nobody waits for it."""
        if self._client is None:
            return
        gateway = self._client.gateway
        if self._asked is not None and self._asked.future.done() and self._asked.future.exception() is None:
            self._told, self._told_at = self._asked.future.result(), time.monotonic()
            gateway.forget(self._asked)
            self._asked = None
        if self._asked is None:
            self._asked = gateway.begin(ListMembers(gateway.key()), to=COORDINATOR)
        scene.nodes = self._rows()
        scene.epoch = self._told.epoch if self._told is not None else 0

    def _rows(self) -> list[NodeRow]:
        if self._told is None or time.monotonic() - self._told_at > FRESH_S:
            return []
        return [_node_row(member) for member in self._told.members]

    def has_begun(self, job: str) -> bool:
        """Whether a job has left a footprint."""
        self._follow()
        return job in self._latest

    def fired_after(self, instant: int) -> int | None:
        """When the first function began whose slot was due after an instant; None if none has."""
        self._follow()
        return next((at for at, slot in self._fired if slot > instant), None)

    def _follow(self) -> None:
        """Read the footprints that are new, as far as the lines are whole."""
        file = self._folder / footprint.FILE
        if not file.exists():
            return
        with file.open("rb") as lines:
            lines.seek(self._offset)
            new = lines.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self._take(Footprint(**json.loads(line)))

    def _take(self, found: Footprint) -> None:
        if found.kind != "begin":
            return
        self._begins.append(found.at)
        late = 0 if found.slot is None else found.at - found.slot
        self._latest[found.job] = late
        if found.job in ROOTS and found.attempt == 1 and found.slot is not None:
            self._lateness.append(late)
            self._fired.append((found.at, found.slot))

    def _job_row(self, record: JobRecord, counts: Counter[str]) -> JobRow:
        job = record.job
        when = f"after {', '.join(job.after)}" if job.after else _when(job)
        due = record.state.next_due if record.state.status == "active" else None
        name = f"$ {job.command.line.removeprefix('./noted ')}" if job.command is not None else job.name
        return JobRow(name, when, due, counts[job.name], self._latest.get(job.name) if job.name in ROOTS else None)


def _node_row(member: MemberStatus) -> NodeRow:
    return NodeRow(member.node, member.leads, member.state, sum(member.out.values()))


def _place(record: JobRecord) -> tuple[int, str]:
    """Where a job stands: the chain in its order, then the others by name, the crontab last."""
    name = record.job.name
    if name in CHAIN:
        return CHAIN.index(name), name
    return len(CHAIN) + (CRONTAB in record.job.tags), name


def _when(job: Job) -> str:
    """A trigger in few words."""
    if isinstance(job.trigger, Manual):
        return "at the start" if REBOOT in job.tags else "when asked for"
    return describe(job.trigger).partition(", the first on")[0].partition(" (")[0]


def _run_row(record: RunRecord) -> RunRow:
    run, end = record.run, record.end
    at = end.ended_at if end is not None else run.created_at
    attempt = end.attempt if end is not None else record.attempts + 1
    return RunRow(run.run_id, run.job, at, str(record.state), attempt)
