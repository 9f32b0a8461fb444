"""What a declared job is against the one that is stored: new, changed, or the same. Pure."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from ..records import Job, JobRecord
from ..schedule import first_state


class Change(Struct, frozen=True):
    """What is to be stored of a declared job. `had_upstreams`: an earlier version waited for others."""

    kind: Literal["new", "changed", "same"]
    record: JobRecord
    had_upstreams: bool = False


def compare(job: Job, there: JobRecord | None, now: int) -> Change:
    """Return what becomes of a job that a program declares at `now`.

    A changed definition is a new version. Its trigger keeps anchor, mark and count of fires unless the trigger itself has
    changed, in which case it begins at `now` and never judges the past. A removed job that is declared again begins anew.
    """
    if there is None:
        fresh = replace(job, version=1, anchor=now)
        return Change("new", JobRecord(fresh, first_state(fresh)))
    old = there.job
    same = replace(job, version=old.version, anchor=old.anchor)
    if same == old and there.state.status != "removed":
        return Change("same", there)
    had_upstreams = bool(old.after) and not job.after
    version = old.version + 1
    if same.trigger == old.trigger and there.state.status != "removed":
        kept = replace(same, version=version)
        return Change("changed", JobRecord(kept, replace(there.state, version=version)), had_upstreams)
    fresh = replace(job, version=version, anchor=now)
    state = first_state(fresh, there.state)
    if there.state.status == "paused":
        state = replace(state, status="paused")
    return Change("changed", JobRecord(fresh, state), had_upstreams)
