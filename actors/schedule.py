"""Where the actors meet the triggers: a job's trigger as steps from one high-water mark to the next. Pure functions."""

from __future__ import annotations

from typing import Final

from msgspec import Struct

from ..triggers import (
    CatchUp,
    Constrained,
    DecisionKind,
    Difference,
    FixedDelay,
    Manual,
    Schedule,
    Trigger,
    Union,
    compile_trigger,
    decide,
)
from ..triggers.compiler import check_dates
from .records import Decision, Job, JobState

_FIRED: Final = DecisionKind.FIRED


class Step(Struct, frozen=True, gc=False):
    """What became of the slots that have passed, and where the trigger stands now. `next_due` None: never, or not yet known."""

    decisions: tuple[Decision, ...]
    mark: int
    fires: int
    next_due: int | None
    exhausted: bool


def compile_job(job: Job, state: JobState | None = None) -> Schedule:
    """Return the schedule of a job; one that counts from the end of its last run goes on from where its state says."""
    schedule = compile_trigger(job.trigger, key=f"{job.tenant}/{job.name}", anchor=job.anchor)
    if state is not None and schedule.needs_end and state.mark >= job.anchor and state.next_due is not None:
        delay = delay_of(job.trigger)
        counted = schedule.after_end(state.next_due - delay)
        jitter = counted.due(state.next_due) - state.next_due  # what is stored has it already
        return schedule.after_end(state.next_due - jitter - delay) if jitter else counted
    return schedule


def step_job(job: Job, schedule: Schedule, mark: int, fires: int, now: int) -> Step:
    """Decide what has passed of a job at `now`."""
    limit = schedule.limit
    if limit is not None and fires >= limit:
        return Step((), mark, fires, None, True)
    missed = decide(schedule, mark, now, job.catchup)
    decisions: list[Decision] = []
    mark = missed.mark
    for it in missed.decisions:
        if limit is not None and fires >= limit:
            break
        if it.kind is _FIRED:
            fires += 1
        decisions.append(Decision(job.tenant, job.name, it.first, it.last, it.count, it.kind, now, None, it.into))
    spent = limit is not None and fires >= limit
    if spent:
        mark = max((it.last for it in decisions), default=mark)
    upcoming = None if spent else missed.next
    next_due = None if upcoming is None else upcoming.due
    # one that counts from the end of a run is armed by who knows whether one lives
    is_over = next_due is None and (spent or not schedule.needs_end)
    return Step(tuple(decisions), mark, fires, next_due, is_over)


def first_state(job: Job, before: JobState | None = None) -> JobState:
    """Return the state of a job that was just added or whose trigger was just changed: it never judges the past.

    Slots up to the mark of the state `before` are decided, also if the clock was set back since. Whatever is wrong with a trigger
    is found out here.
    """
    schedule = compile_job(job)
    check_dates(job.trigger)
    mark = schedule.first_mark if before is None else max(schedule.first_mark, before.mark)
    slot = schedule.next(mark)
    never = slot is None and not schedule.needs_end and not is_manual(job)
    return JobState(
        tenant=job.tenant,
        name=job.name,
        version=job.version,
        status="exhausted" if never else "active",
        mark=mark,
        next_due=None if slot is None else slot.due,
        removed=0 if before is None else before.removed,
    )


def pass_pause(job: Job, state: JobState, now: int) -> Step:
    """Decide what passed while a job was paused: all of it is SKIPPED_PAUSED."""
    schedule = compile_job(job, state)
    if schedule.limit is not None and state.fires >= schedule.limit:
        return Step((), state.mark, state.fires, None, True)
    missed = decide(schedule, state.mark, now, CatchUp(), paused=True)
    decisions = tuple(
        Decision(job.tenant, job.name, it.first, it.last, it.count, it.kind, now, None, it.into)
        for it in missed.decisions
    )
    next_due = None if missed.next is None else missed.next.due
    if next_due is None and schedule.needs_end:
        next_due = next_after_end(job, max(now, missed.mark))
    return Step(decisions, missed.mark, state.fires, next_due, next_due is None and not is_manual(job))


def counts_from_end(job: Job) -> bool:
    """Tell whether a job's next slot depends on when its last run ends (a fixed delay)."""
    return type(job.trigger) in _MAY_HAVE_DELAY and delay_of(job.trigger) > 0


def next_after_end(job: Job, end: int) -> int | None:
    """Return when a job that counts from the end of its last run is due after one that ended at `end`; None: never again."""
    slot = compile_job(job).next_after_end(end)
    return None if slot is None else slot.due


def delay_of(trigger: Trigger) -> int:
    """Return the fixed delay (µs) within a trigger; 0 when it has none."""
    match trigger:
        case FixedDelay():
            return trigger.delay_us
        case Constrained():
            return delay_of(trigger.trigger)
        case Union():
            return max(delay_of(member) for member in trigger.members)
        case Difference():
            return delay_of(trigger.trigger)
        case _:
            return 0


_MAY_HAVE_DELAY: Final = (FixedDelay, Constrained, Union, Difference)


def is_manual(job: Job) -> bool:
    """Tell whether a job has no trigger of its own: it is submitted, or follows others."""
    trigger = job.trigger.trigger if isinstance(job.trigger, Constrained) else job.trigger
    return isinstance(trigger, Manual)
