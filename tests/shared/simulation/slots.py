"""Judges marks by the brute-force calendar: what lies between the old mark and the new one was decided, slot by slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from callsheet.actors.records import Decision, JobRecord
from callsheet.actors.schedule import delay_of
from callsheet.triggers import Constrained
from simulation.trigger import brute_force, is_excluded

if TYPE_CHECKING:
    from simulation.world import World

LATE_US = 3_000_000
"""How long after its instant a slot may wait for its decision when nothing is wrong."""


class Slots:
    """Compares decisions with the calendar."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.checked = 0

    def judge(self, record: JobRecord, mark: int, decisions: list[Decision]) -> None:
        """A job's mark moved from `mark` to where it stands now, with these decisions."""
        job, fail = record.job, self._world.referee.fail
        if delay_of(job.trigger) or record.state.mark <= mark:
            return
        instants = brute_force(job.trigger, job.anchor, max(mark, job.anchor - 1), record.state.mark)
        told: list[int] = []
        for decision in sorted(decisions, key=lambda it: it.slot):
            covered = [at for at in instants if decision.slot <= at <= decision.last]
            if len(covered) != decision.count:
                fail(
                    "23",
                    f"{job.name}: {decision.kind} of {decision.count} slots from {decision.slot} to {decision.last}; there are {len(covered)}",
                )
            excluded = [at for at in covered if is_excluded(job.trigger, at)]
            if excluded and decision.kind not in ("SKIPPED_CALENDAR", "SKIPPED_PAUSED"):
                fail("23", f"{job.name}: slot {excluded[0]} is excluded, and was decided {decision.kind}")
            told.extend(covered)
        if told != instants:
            missing = sorted(set(instants) - set(told))
            fail(
                "18",
                f"{job.name} (version {job.version}): the mark moved from {mark} to {record.state.mark}, past {missing[:3]} without a decision",
            )
        self.checked += len(told)

    def judge_end(self) -> None:
        """At the end every past slot of an active job has its decision."""
        now = self._world.wall()
        for record in self._world.disk.tables.jobs.values():
            job, state = record.job, record.state
            if state.status != "active" or job.hook is not None:
                continue
            if delay_of(job.trigger):
                self._judge_delay(record, now)
                continue
            jitter = job.trigger.jitter_us if isinstance(job.trigger, Constrained) else 0
            instants = brute_force(job.trigger, job.anchor, state.mark, now - LATE_US - jitter)
            if instants:
                self._world.referee.fail(
                    "18",
                    f"{job.name}: {len(instants)} slots from {instants[0]} on passed without a decision; the mark is {state.mark}, now {now}",
                )

    def _judge_delay(self, record: JobRecord, now: int) -> None:
        """A job that counts from the end of its last run has a next slot, or a run whose end will say when."""
        job, state, tables = record.job, record.state, self._world.disk.tables
        self._world.count("fixed delays judged")
        if any(run.slot is not None and (run.tenant, run.job) == job.key for run in tables.live.values()):
            return
        jitter = job.trigger.jitter_us if isinstance(job.trigger, Constrained) else 0
        if state.next_due is None or state.next_due < now - LATE_US - jitter:
            self._world.referee.fail(
                "18", f"{job.name}: no run of it lives, and its next slot is due at {state.next_due}; now {now}"
            )
