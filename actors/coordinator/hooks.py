"""Hooks: jobs that run at moments of other jobs' runs.

A hook's call is a run like any other, made in the transaction of what it follows. So it happens after a kill -9 too, it is
seen in the history, its function may be unknown for a while (then it is PARKED), and when it fails nothing else is harmed.
Hooks of hooks are not called.
"""

from __future__ import annotations

from typing import Final

from ...data import pack_call
from ..records import MAX_ARGUMENT_BYTES, Decision, End, ErrorInfo, Hook, HookMoment, Job, Run, RunState

MAX_TOLD_TEXT: Final = 4_096
"""Characters of an error's text that a hook is told."""


class Hooks:
    """The hooks in force, by moment."""

    def __init__(self) -> None:
        self._hooks: dict[HookMoment, list[Job]] = {}

    def __bool__(self) -> bool:
        return bool(self._hooks)

    def put(self, job: Job) -> None:
        """Put a hook in force, in place of older versions of it; the same again, or an older one, changes nothing."""
        assert job.hook is not None
        if any(it.key == job.key and it.version >= job.version for jobs in self._hooks.values() for it in jobs):
            return
        self.drop(job.key, job.version)
        self._hooks.setdefault(job.hook.moment, []).append(job)

    def drop(self, key: tuple[str, str], version: int) -> None:
        """Take a hook out of force, up to this version of it; none is no error."""
        kept = {
            moment: [job for job in jobs if job.key != key or job.version > version]
            for moment, jobs in self._hooks.items()
        }
        self._hooks = {moment: jobs for moment, jobs in kept.items() if jobs}

    def matching(self, moment: HookMoment, job: Job) -> list[Job]:
        """The hooks of this moment that match a job, in the order they were put."""
        return [hook for hook in self._hooks.get(moment, ()) if _matches(hook, job)]


def moments_of(state: RunState) -> tuple[HookMoment, ...]:
    """The moments that the end of a run in this state is."""
    match state:
        case RunState.SUCCEEDED:
            return ("on_success", "after")
        case RunState.SKIPPED:
            return ("on_skip", "after")
        case RunState.CANCELLED:
            return ("after",)
        case _:
            return ("on_failure", "after")


def tell_run(moment: HookMoment, run: Run, *, state: str, attempt: int, error: ErrorInfo | None, reason: str) -> bytes:
    """The argument of a hook's call: one map of plain data about a run."""
    return _pack(
        {
            "moment": moment,
            "job": run.job,
            "tenant": run.tenant,
            "run": run.run_id,
            "slot": run.slot,
            "state": str(state),
            "attempt": attempt,
            "error_type": "" if error is None else error.type,
            "error": "" if error is None else error.text[:MAX_TOLD_TEXT],
            "reason": reason,
        }
    )


def tell_end(moment: HookMoment, run: Run, end: End) -> bytes:
    """The argument of a hook that follows a run's end."""
    return tell_run(moment, run, state=end.state, attempt=end.attempt, error=end.error, reason=end.reason)


def tell_skip(decision: Decision) -> bytes:
    """The argument of a hook that follows a slot (or a row of slots) that was skipped."""
    return _pack(
        {
            "moment": "on_skip",
            "job": decision.job,
            "tenant": decision.tenant,
            "run": decision.run_id,
            "slot": decision.slot,
            "last_slot": decision.last,
            "count": decision.count,
            "state": str(decision.kind),
            "attempt": 0,
            "error_type": "",
            "error": "",
            "reason": str(decision.kind),
        }
    )


def _pack(told: dict[str, object]) -> bytes:
    return pack_call((told,), {}, what="what a hook is told", limit=MAX_ARGUMENT_BYTES)


def _matches(hook: Job, job: Job) -> bool:
    rule = hook.hook
    assert isinstance(rule, Hook)
    if hook.tenant != job.tenant:
        return False
    return (not rule.job or rule.job == job.name) and (not rule.tag or rule.tag in job.tags)
