"""What was said of jobs, and whether it is gone by: invariants 24 and 26.

24  what was acknowledged of a job is stored as it was said, and what is made of the job a moment later is made by it: its runs
    are of that version, and a slot brings a run of each job that follows; no job waits for itself
26  a run that waits for a job that is removed, and of which it has no run, or one that ends by that, ends at once; it is not
    skipped

A word that got no answer, or was refused, may be carried out later, by a copy of it; for so long nothing is known of its job.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from msgspec import structs

from callsheet.actors.coordinator.book import Live
from callsheet.actors.persistence import store as contract
from callsheet.actors.persistence.store import Write
from callsheet.actors.records import End, Job, Run, RunState
from simulation.virtual import MILLION

if TYPE_CHECKING:
    from simulation.world import World

JobKey = tuple[str, str]
REMOVED: Final = "its job was removed"
"""Why a run is cancelled with its job."""
UNSURE_US: Final = 30 * MILLION
"""So long a copy of a request may lie somewhere."""


class Words:
    """The last word about each job."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._open: Counter[JobKey] = Counter()
        self._crossed: set[JobKey] = set()
        self._unsure_until: dict[JobKey, int] = {}
        self._standing: dict[JobKey, tuple[int, int]] = {}
        self._removed_at: dict[JobKey, int] = {}
        self._made_at: dict[int, int] = {}
        self._cut_at: dict[int, int] = {}

    # ---- what is said ---------------------------------------------------------------------------------------------------

    def ask(self, keys: Sequence[JobKey]) -> None:
        """Something is asked about jobs."""
        for key in keys:
            (self._crossed.add if self._open[key] else self._crossed.discard)(key)
            self._open[key] += 1
            self._standing.pop(key, None)

    def over(self, keys: Sequence[JobKey], *, is_done: bool) -> None:
        """It was answered that it is done; or it was refused, or never answered."""
        for key in keys:
            self._open[key] -= 1
            if not is_done:
                self._unsure_until[key] = self._world.time.now + UNSURE_US

    def stand(self, key: JobKey, said: Job | None = None) -> None:
        """A word about a job was acknowledged; a declaration with what was `said`."""
        if self._open[key] or key in self._crossed or self._unsure_until.get(key, 0) > self._world.time.now:
            return
        job = self._world.disk.tables.jobs[key].job
        if said is not None and structs.replace(said, version=job.version, anchor=job.anchor) != job:
            self._fail("24", f"{said.name} was acknowledged as {said}; stored is {job}")
        self._standing[key] = (job.version, self._world.time.now)

    def on_stored(self, writes: tuple[Write, ...]) -> None:
        """A commit is done."""
        for write in writes:
            match write:
                case contract.InsertJob(job=job) | contract.PutJob(job=job):
                    self._judge_cycle(job)
                case contract.SetJobStatus(tenant=tenant, job=name, status="removed"):
                    self._removed_at[tenant, name] = self._world.time.now
                    self._world.count("removed while others wait", int(self._is_waited_for(tenant, name)))
                case contract.AddRuns(runs=runs):
                    for run in runs:
                        self._judge_run(run)

    def forgive(self, key: JobKey) -> None:
        """What was stored of a job is lost, as it may be."""
        self._standing.pop(key, None)
        self._removed_at.pop(key, None)

    def _fail(self, invariant: str, text: str) -> None:
        self._world.referee.fail(invariant, text)

    # ---- 24 -------------------------------------------------------------------------------------------------------------

    def _judge_cycle(self, job: Job) -> None:
        if not job.after:
            return
        jobs = self._world.disk.tables.jobs
        seen: set[str] = set()
        frontier = list(job.after)
        while frontier:
            name = frontier.pop()
            if name == job.name:
                self._fail("24", f"{job.name} of {job.tenant} is stored, and waits for itself: {job.after}")
            record = jobs.get((job.tenant, name))
            if name not in seen and record is not None and record.state.status != "removed":
                seen.add(name)
                frontier.extend(record.job.after)

    def _judge_run(self, run: Run) -> None:
        if self._world.disk.tables.runs.get(run.run_id) is not run:
            return  # its token was there before
        self._made_at[run.run_id] = self._world.time.now
        version = self._version((run.tenant, run.job))
        if version is not None and run.version < version and not self._is_alike(run, version):
            self._fail(
                "24", f"run {run.run_id} of {run.job} is made by version {run.version}; the last word is {version}"
            )
        if run.cause == "slot":
            self._judge_followers(run)

    def _is_alike(self, run: Run, version: int) -> bool:
        """Whether a run that no slot made is what it would be by a later version: of another trigger only slots know."""
        definitions = self._world.disk.tables.definitions
        old, new = (definitions[run.tenant, run.job, it] for it in (run.version, version))
        return run.cause != "slot" and old == structs.replace(
            new, version=old.version, trigger=old.trigger, anchor=old.anchor
        )

    def _judge_followers(self, run: Run) -> None:
        """With a slot come the runs of what follows its job, directly or not, as far as it is certain what does."""
        tables = self._world.disk.tables
        present = {tables.runs[number].job for number in tables.by_group.get((run.tenant, run.group), ())}
        jobs = [record.job for key, record in tables.jobs.items() if key[0] == run.tenant and self._is_there(key)]
        alone = {job.name for job in jobs if job.name not in present and self._stood_alone(run, job.name)}
        following = {run.job: None}
        for _ in jobs:
            alone.update(job.name for job in jobs if job.name not in present and alone.intersection(job.after))
            more = [job.name for job in jobs if job.name not in following and any(it in following for it in job.after)]
            following.update(dict.fromkeys(name for name in more if name not in alone))
        self._world.count("followers judged", len(following) - 1)
        missing = [name for name in list(following)[1:] if name not in present]
        if missing:
            self._fail(
                "24", f"slot {run.slot} of {run.job} is run {run.run_id}; {missing} follow, and have no run with it"
            )

    def _stood_alone(self, run: Run, job: str) -> bool:
        """Whether a job had a slot of its own, of the instant of this run or a later one, when it was in no workflow yet."""
        tables = self._world.disk.tables
        runs = (tables.runs[number] for number in tables.by_job.get((run.tenant, job), ()))
        slots = (it.slot for it in runs if it.cause == "slot" and not it.group)
        return any(slot is not None and run.slot is not None and slot >= run.slot for slot in slots)

    def _is_there(self, key: JobKey) -> bool:
        return self._version(key) is not None and self._world.disk.tables.jobs[key].state.status != "removed"

    def _version(self, key: JobKey) -> int | None:
        """The version of the last word about a job, if everybody must know it by now."""
        version, at = self._standing.get(key, (0, 0))
        return version if version and self._world.calm.is_late(self._world.time.now - at) else None

    # ---- 26 -------------------------------------------------------------------------------------------------------------

    def judge_blocked(self, live: Live) -> None:
        """At the end of the world: a run that waits, waits for something that can come."""
        if live.waits:
            self._judge_waiting(live.run, live.job, "is BLOCKED")

    def on_end(self, end: End) -> None:
        """An end is about to be stored: nothing has waited until now for a job that was removed."""
        tables = self._world.disk.tables
        run, job = tables.runs.get(end.run_id), self._world.definition(end.run_id)
        self._cut_at.pop(end.run_id, None)  # an end may have been lost with the power
        if end.reason == REMOVED:
            self._cut_at[end.run_id] = self._world.time.now
        if run is None or job is None or not job.after or not run.group or run.arguments:
            return
        what = f"ended {end.state} ({end.reason})"
        if end.run_id not in tables.facts:
            self._judge_waiting(run, job, what)
        numbers = tables.by_group.get((run.tenant, run.group), ())
        cut = [number for number in numbers if tables.runs[number].job in job.after and number in self._cut_at]
        if cut and end.state is RunState.SKIPPED:
            self._fail("26", f"run {run.run_id} of {run.job} {what}; its upstream's run {cut[0]} ended with its job")

    def _judge_waiting(self, run: Run, job: Job, what: str) -> None:
        tables = self._world.disk.tables
        present = {tables.runs[number].job: number for number in tables.by_group.get((run.tenant, run.group), ())}
        for name in job.after:
            number = present.get(name)
            removed_us = self._removed_us(run, name) if number is None else self._cut_us(number)
            if self._world.calm.is_late(removed_us):
                self._fail(
                    "26",
                    f"run {run.run_id} of {run.job} {what}, and its upstream {name} was removed {removed_us / 1e6} s ago",
                )

    def _cut_us(self, number: int) -> int:
        """How long ago a run ended with its job; 0: it did not."""
        now = self._world.time.now
        return now - self._cut_at.get(number, now) if number in self._world.disk.tables.ends else 0

    def _removed_us(self, run: Run, name: str) -> int:
        """How long a run knows that an upstream of which it has no run was removed; 0: it was not, or before, and is there again."""
        key, now = (run.tenant, name), self._world.time.now
        removed_at = self._removed_at.get(key)
        record = self._world.disk.tables.jobs.get(key)
        if removed_at is None or record is None:
            return 0
        made_at = self._made_at.get(run.run_id, now)
        is_gone = record.state.status == "removed"
        return now - max(removed_at, made_at) if is_gone or removed_at > made_at else 0

    def _is_waited_for(self, tenant: str, name: str) -> bool:
        tables = self._world.disk.tables
        return any(
            run.tenant == tenant and run.group and name in getattr(self._world.definition(number), "after", ())
            for number, run in tables.live.items()
        )
