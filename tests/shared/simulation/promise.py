"""What clients were promised, and whether it is kept: acknowledged submissions, cancels, pauses, ends."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callsheet.actors.messages import Accepted, JobsAdded, Submit
from callsheet.actors.persistence import store as contract
from callsheet.actors.persistence.store import Write
from callsheet.actors.records import End, Run, RunState

if TYPE_CHECKING:
    from simulation.world import World


class Promises:
    """All that was acknowledged to any client."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.cancelled: set[int] = set()
        self.held: dict[tuple[str, str], str] = {}
        self._removed: dict[tuple[str, str], int] = {}
        self._gone: dict[tuple[str, str], tuple[int, int]] = {}
        self.accepted: dict[int, str] = {}
        self._by_key: dict[str, tuple[int, ...]] = {}
        self._by_token: dict[tuple[str, str], int] = {}
        self.ends: dict[int, RunState] = {}
        self._declared: set[tuple[str, str]] = set()

    # ---- what is promised -----------------------------------------------------------------------------------------------

    def on_accepted(self, request: Submit, answer: Accepted) -> None:
        """A submission was acknowledged: its runs are stored, each what was asked for; the same key gives the same runs."""
        fail = self._world.referee.fail
        before = self._by_key.setdefault(answer.key, answer.run_ids)
        if before != answer.run_ids:
            fail("15", f"submission {answer.key} was told {before}, and later {answer.run_ids}")
        for item, run_id in zip(request.items, answer.run_ids, strict=True):
            run = self._world.disk.tables.runs.get(run_id)
            if run is None or (run.tenant, run.job, run.arguments) != (request.tenant, item.job, item.arguments):
                fail("15", f"submission {answer.key} was told run {run_id} of {item.job}; stored is {run}")
            if item.token is not None:
                first = self._by_token.setdefault((request.tenant, item.token), run_id)
                if first != run_id:
                    fail("15", f"the idempotency key {item.token} gave run {first}, and later {run_id}")
            self._is_synced("runs", run_id, f"run {run_id} was acknowledged")
            self.accepted[run_id] = answer.key

    def on_declared(self, keys: list[tuple[str, str]], answer: JobsAdded) -> None:
        """Jobs were declared."""
        for key in keys:
            if key not in self._world.disk.tables.jobs:
                self._world.referee.fail("15", f"job {key} was acknowledged, and is not stored")
            self._is_synced("jobs", key, f"job {key} was acknowledged")
            self._declared.add(key)

    def on_cancelled(self, run_id: int, state: RunState) -> None:
        """A cancel was acknowledged: the run has ended CANCELLED, or is asked to."""
        end = self._world.disk.tables.ends.get(run_id)
        facts = self._world.disk.tables.facts.get(run_id)
        if end is None and (facts is None or facts.condition is None):
            self._world.referee.fail("15", f"the cancel of run {run_id} was acknowledged as {state}, and is not stored")
        self.cancelled.add(run_id)

    def on_stored(self, writes: tuple[Write, ...]) -> None:
        """Changes are stored: note which version of a job was removed, and when."""
        for write in writes:
            if isinstance(write, contract.SetJobStatus) and write.status == "removed":
                self._gone[write.tenant, write.job] = (write.version, self._world.time.now)

    def on_changed(self, key: tuple[str, str], action: str, asked_at: int) -> None:
        """A change of a job was acknowledged.

        One that was removed may have been declared anew while the answer, or its repetition, was on its way.
        """
        record = self._world.disk.tables.jobs[key]
        status, version = record.state.status, record.job.version
        wanted = {"pause": ("paused",), "remove": ("removed",), "resume": ("active", "exhausted")}.get(action)
        removed, removed_at = self._gone.get(key, (version, 0))
        is_anew = action == "remove" and removed_at >= asked_at and version > removed
        if wanted is not None and status not in wanted and not is_anew:
            self._world.referee.fail("15", f"{action} of {key} was acknowledged; the job is {status}")
        if action in ("pause", "remove"):
            self.held[key] = f"{action}d" if action == "remove" else "paused"
            self._removed[key] = removed
        if action == "pause":
            self._judge_waiting(key)

    def _judge_waiting(self, key: tuple[str, str]) -> None:
        """When a pause is acknowledged no executor has anything of the job left that it might begin."""
        if self._world.options.apart:
            return  # what is left with one that was given up cannot be revoked
        for life in self._world.lives():
            for fence, order in life.runner.waiting().items():
                if (order.tenant, order.job) == key:
                    name = f"run {order.run_id} of {order.job} (fence {fence})"
                    self._world.referee.fail("10", f"{name} waits on {life.holder} when its job is said to be paused")

    def on_word(self, key: tuple[str, str]) -> None:
        """Somebody has said that a job may go on."""
        self.held.pop(key, None)

    def is_held(self, run: Run) -> str:
        """Why nothing of this run may begin; empty when it may.

        A job that was removed may have been declared anew by who had asked for that before, and got no answer: that is another
        version of it.
        """
        key = (run.tenant, run.job)
        word = self.held.get(key, "")
        return "" if word == "removed" and run.version > self._removed[key] else word

    def on_end(self, end: End) -> None:
        """A run's end was told."""
        stored = self._world.disk.tables.ends.get(end.run_id)
        if stored is None or stored.state is not end.state:
            self._world.referee.fail("15", f"run {end.run_id} was told to have ended {end.state}; stored is {stored}")
        self._is_synced("ends", end.run_id, f"the end of run {end.run_id} was told")
        before = self.ends.setdefault(end.run_id, end.state)
        if before is not end.state:
            self._world.referee.fail("6", f"run {end.run_id} was told to have ended {before}, and later {end.state}")

    def _is_synced(self, table: str, key: object, what: str) -> None:
        if self._world.disk.durable and key not in getattr(self._world.disk.synced, table):
            self._world.referee.fail("15", f"{what} before it was durable")

    # ---- whether it is kept ---------------------------------------------------------------------------------------------

    def check(self) -> None:
        """After a crash: all that was acknowledged is there."""
        tables = self._world.disk.tables
        for run_id in self.accepted:
            if run_id not in tables.runs:
                self._world.referee.fail(
                    "15", f"run {run_id} was acknowledged ({self.accepted[run_id]}), and is gone after a crash"
                )
        for run_id, state in self.ends.items():
            if run_id not in tables.ends or tables.ends[run_id].state is not state:
                self._world.referee.fail(
                    "15", f"run {run_id} was told to have ended {state}: {tables.ends.get(run_id)} after a crash"
                )
        for key in self._declared:
            if key not in tables.jobs:
                self._world.referee.fail("15", f"job {key} was acknowledged, and is gone after a crash")

    def forgive(self, lost: list[Write]) -> None:
        """Commits were lost that this store may lose: what they promised is void."""
        runs: set[int] = set()
        for write in lost:
            match write:
                case contract.AddRuns(runs=added):
                    runs.update(run.run_id for run in added)
                case contract.AddClaim(claim=claim):
                    runs.update(entry.run_id for entry in claim.entries)
                case contract.AddEnds(ends=ends):
                    runs.update(end.run_id for end in ends)
                case contract.AddAttempts(attempts=attempts):
                    runs.update(attempt.run_id for attempt in attempts)
                case contract.PutConditions(conditions=conditions):
                    runs.update(condition.run_id for condition in conditions)
                case contract.InsertJob(job=job) | contract.PutJob(job=job):
                    self._declared.discard(job.key)
                    self.held.pop(job.key, None)
                    self._world.words.forgive(job.key)
                case contract.SetJobStatus(tenant=tenant, job=name):
                    self.held.pop((tenant, name), None)
                    self._world.words.forgive((tenant, name))
                case contract.AddSubmissions(submissions=submissions):
                    for submission in submissions:
                        self._by_key.pop(submission.key, None)
        for run_id in sorted(runs):
            self._forgive_run(run_id)

    def _forgive_run(self, run_id: int) -> None:
        self._world.trace.forgive(run_id)
        self.accepted.pop(run_id, None)
        self.ends.pop(run_id, None)
        self.cancelled.discard(run_id)
        self._by_token = {token: number for token, number in self._by_token.items() if number != run_id}
        self._by_key = {key: runs for key, runs in self._by_key.items() if run_id not in runs}
