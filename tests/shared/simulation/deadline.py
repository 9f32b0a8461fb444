"""Judges deadlines: invariant 25.

    deadline          of all attempts: once it has passed none begins, and what waits or runs comes to its end
    start deadline    of the wait for a place, until the first attempt begins. It binds a run that is READY: not one that is
                      parked, nor one that waits for others; who has only now what it waited for may begin at once
    wait deadline     of the wait for upstreams

What has passed is known by the leader's clock; whether something is late, by true time too, for as long as it was calm.
Nothing expires before its time, and nothing that has begun.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from callsheet.actors.coordinator.book import Live
from callsheet.actors.executor.runner import Order
from callsheet.actors.records import End, Job, Run, RunState
from simulation.calm import SLACK_US

if TYPE_CHECKING:
    from simulation.world import World

GRACE_US: Final = 5_000_000
"""How long a function that is told to stop may go on."""
MOST_HOOKS: Final = 64
"""The hooks that come before a run are numbered so soon after it."""
IN_HAND: Final = (RunState.CLAIMED, RunState.RUNNING, RunState.CANCELLING)


class Deadlines:
    """Sees what begins and what ends, and when."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._ended: dict[int, int] = {}

    def on_begin(self, order: Order, run: Run, *, is_first: bool) -> None:
        """A function was called."""
        job = self._definition(run)
        name = f"run {run.run_id} of {run.job} (fence {order.fence})"
        late_us = self._late_us(_run_by(run, job))
        if self._world.calm.is_late(late_us):
            self._fail(f"{name} began {late_us / 1e6} s after its deadline had passed")
        if is_first and not self._has_come_back(run):
            late_us = self._start_late_us(run, job)
            if self._world.calm.is_late(late_us):
                self._fail(f"{name} began {late_us / 1e6} s after its start deadline had passed")

    def on_end(self, end: End) -> None:
        """An end is about to be stored."""
        run = self._world.disk.tables.runs.get(end.run_id)
        if run is None:  # made in the same commit
            return
        job = self._definition(run)
        name = f"run {run.run_id} of {run.job} ended {end.state} ({end.reason})"
        self._judge_early(end, run, job, name)
        self._judge_late(end, run, job, name)
        self._ended[run.run_id] = self._world.time.now

    def ended_at(self, run_id: int) -> int:
        """When the end of a run was stored (true µs); 0 if it was made in the same commit."""
        return self._ended.get(run_id, 0)

    def judge_live(self, live: Live) -> None:
        """At the end of the world: nothing that has not ended should have."""
        run, job = live.run, live.job
        name = f"run {run.run_id} of {run.job} is {live.state} ({live.reason})"
        is_late, grace_us = self._world.calm.is_late, GRACE_US if live.state in IN_HAND else 0
        late_us = self._late_us(_run_by(run, job))
        if is_late(late_us, SLACK_US + grace_us):
            self._fail(f"{name}, its deadline passed {late_us / 1e6} s ago")
        late_us = self._late_us(_wait_by(run, job))
        if live.state is RunState.BLOCKED and live.waits and is_late(late_us) and self._waited_on(run, job, late_us):
            self._fail(f"{name}, the deadline of its wait passed {late_us / 1e6} s ago")
        if live.state is RunState.READY and not self._has_come_back(run) and not self._has_begun(run):
            late_us = self._start_late_us(run, job)
            if is_late(late_us):
                self._fail(f"{name}, its start deadline passed {late_us / 1e6} s ago")

    def _fail(self, text: str) -> None:
        self._world.referee.fail("25", text)

    # ---- ends -----------------------------------------------------------------------------------------------------------

    def _judge_early(self, end: End, run: Run, job: Job, name: str) -> None:
        highest = self._world.highest_wall()
        run_by = _run_by(run, job)
        if end.state is RunState.EXPIRED:
            known = [at for at in (run_by, _start_by(run, job), _wait_by(run, job)) if at is not None]
            if min(known, default=highest + 1) > highest:
                self._fail(f"{name}; its deadlines are {known}, no clock has shown more than {highest}")
            if self._has_begun(run):
                self._fail(f"{name}, and had begun")
        is_by_deadline = end.state is RunState.TIMED_OUT and (not end.fence or job.attempt_timeout_us is None)
        if is_by_deadline and (run_by is None or run_by > highest):
            self._fail(f"{name}; its deadline is {run_by}, no clock has shown more than {highest}")

    def _judge_late(self, end: End, run: Run, job: Job, name: str) -> None:
        is_late = self._world.calm.is_late
        late_us = self._late_us(_run_by(run, job))
        if is_late(late_us, SLACK_US + (GRACE_US if end.fence else 0)):
            self._fail(f"{name} {late_us / 1e6} s after its deadline had passed")
        if end.fence or self._has_begun(run) or self._has_come_back(run):
            return
        late_us = self._late_us(_wait_by(run, job))
        if is_late(late_us) and self._waited_on(run, job, late_us):
            self._fail(f"{name} {late_us / 1e6} s after the deadline of its wait had passed")
        late_us = self._start_late_us(run, job)
        if end.state is RunState.EXPIRED and is_late(late_us):
            self._fail(f"{name} {late_us / 1e6} s after its start deadline had passed")

    # ---- what is known of a run -----------------------------------------------------------------------------------------

    def _definition(self, run: Run) -> Job:
        job = self._world.definition(run.run_id)
        assert job is not None, f"the definition of run {run.run_id} is not stored"
        return job

    def _late_us(self, by: int | None) -> int:
        return 0 if by is None else self._world.wall() - by

    def _start_late_us(self, run: Run, job: Job) -> int:
        """How long ago the start deadline passed of a run that nothing stood before by then; 0: it may begin still."""
        late_us = self._late_us(_start_by(run, job))
        if late_us <= SLACK_US:
            return 0
        tables = self._world.disk.tables
        freed_at = 0
        for number in self._before(run, job):
            if number is None or number in tables.live:
                return 0
            freed_at = max(freed_at, self._ended.get(number, 0))
        return min(late_us, self._world.time.now - freed_at)

    def _before(self, run: Run, job: Job) -> list[int | None]:
        """The runs that may have stood before a run: of its upstreams, of its job, and hooks of it; None is one to come."""
        tables = self._world.disk.tables
        own = tables.by_job.get((run.tenant, run.job), ()) if run.slot is not None else ()
        hooks = (number for number in range(run.run_id + 1, run.run_id + MOST_HOOKS) if self._is_hook_of(run, number))
        return [
            *(self._upstreams(run, job) if _wait_by(run, job) is not None else ()),
            *(number for number in own if number < run.run_id),
            *hooks,
        ]

    def _is_hook_of(self, run: Run, number: int) -> bool:
        other = self._world.disk.tables.runs.get(number)
        return other is not None and other.parent == run.run_id

    def _waited_on(self, run: Run, job: Job, late_us: int) -> bool:
        """Whether an upstream had not ended when the deadline of the wait had passed, `late_us` ago, and a moment more."""
        tables = self._world.disk.tables
        passed_at = self._world.time.now - late_us
        return any(
            number is None or number in tables.live or self._ended.get(number, 0) > passed_at + SLACK_US
            for number in self._upstreams(run, job)
        )

    def _upstreams(self, run: Run, job: Job) -> list[int | None]:
        """The runs that a run waits for, as `after` has them; None where there is none (yet)."""
        tables = self._world.disk.tables
        by_job = {tables.runs[number].job: number for number in tables.by_group.get((run.tenant, run.group), ())}
        return [by_job.get(name) for name in job.after]

    def _has_begun(self, run: Run) -> bool:
        trace = self._world.trace
        return any(not it.forgiven and not trace.is_given_up(it) for it in trace.by_run.get(run.run_id, ()))

    def _has_come_back(self, run: Run) -> bool:
        """Whether the store says that the run has begun once, or was put aside: the start deadline binds it no more."""
        facts = self._world.disk.tables.facts.get(run.run_id)
        if facts is None:
            return False
        is_spent = facts.progress is not None and facts.progress.next_at not in (0, run.not_before)
        return is_spent or facts.condition is not None


def _run_by(run: Run, job: Job) -> int | None:
    return None if job.run_deadline_us is None else run.created_at + job.run_deadline_us


def _start_by(run: Run, job: Job) -> int | None:
    if job.start_deadline_us is None:
        return None
    return max(run.created_at, run.not_before) + job.start_deadline_us


def _wait_by(run: Run, job: Job) -> int | None:
    waits = job.after and run.group and not run.arguments
    return run.created_at + job.wait_deadline_us if waits else None
