"""`callsheet trigger`, `pause`, `resume`, `cancel` and `remove`: what changes something."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ..actors.records import DEFAULT_TENANT, RunState
from ..client.handle import Handle
from ..client.vocabulary import Vocabulary
from .option import DebugOption, JsonOption, StoreOption, TenantOption
from .outcome import REFUSED
from .output import fields, one_line, show_json
from .reach import changing, is_running
from .waiting import STORED, WaitOption, WaitTimeoutOption, check_wait

JobsArgument = Annotated[list[str], typer.Argument(metavar="JOB", help="Names of jobs.")]
RunsArgument = Annotated[list[int], typer.Argument(metavar="RUN", help="Numbers of runs.")]


def trigger_command(
    jobs: JobsArgument,
    store: StoreOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
    wait: WaitOption = False,
    timeout: WaitTimeoutOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Fire jobs by hand, now. What waits for them runs after them."""
    del debug
    with changing(store, tenant) as scheduler:
        runs = is_running(scheduler)
        check_wait(wait, runs, "triggered")
        for job in jobs:
            scheduler.job_view(job)
        handles = [scheduler.trigger(job) for job in jobs]
        ends = scheduler.wait(handles, timeout) if wait else []
        told = [_told(scheduler, handle) for handle in handles]
    if as_json:
        show_json(told)
    else:
        for each in told:
            state = f" {each['state']}{': ' + one_line(each['error']) if each['error'] else ''}" if wait else ""
            print(f"{each['job']}: run {each['run_id']}{state}{'' if runs else '; ' + STORED}")
    if any(end is not RunState.SUCCEEDED for end in ends):
        raise typer.Exit(REFUSED)


def pause_command(
    jobs: JobsArgument,
    store: StoreOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Hold jobs until they are resumed.

    No slot of them fires and none of their runs begins; what passes is SKIPPED_PAUSED.
    """
    del debug
    _change_jobs(jobs, "pause", store, tenant, as_json)


def resume_command(
    jobs: JobsArgument,
    store: StoreOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Let paused jobs go on, from now."""
    del debug
    _change_jobs(jobs, "resume", store, tenant, as_json)


def remove_command(
    jobs: JobsArgument,
    store: StoreOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Remove jobs; their history stays.

    Runs that have not begun are cancelled.
    """
    del debug
    _change_jobs(jobs, "remove", store, tenant, as_json)


def cancel_command(
    runs: RunsArgument,
    store: StoreOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Cancel runs, and what waits for them."""
    del debug
    told: list[dict[str, Any]] = []
    with changing(store, tenant) as scheduler:
        for run_id in runs:
            scheduler.run_view(run_id)
        told.extend({"run_id": run_id, "state": str(scheduler.cancel(run_id))} for run_id in runs)
    if as_json:
        show_json(told)
    else:
        for each in told:
            print(f"run {each['run_id']}: {each['state']}")


def _change_jobs(jobs: list[str], action: str, store: str | None, tenant: str, as_json: bool) -> None:
    """Do the same to each job; none when one of them is unknown."""
    told: list[dict[str, Any]] = []
    with changing(store, tenant) as scheduler:
        for job in jobs:
            scheduler.job_view(job)
        told.extend({"job": job, "status": _change(scheduler, job, action)} for job in jobs)
    if as_json:
        show_json(told)
    else:
        for each in told:
            print(f"{each['job']}: {each['status']}")


def _change(scheduler: Vocabulary, job: str, action: str) -> str:
    match action:
        case "pause":
            scheduler.pause(job)
        case "resume":
            scheduler.resume(job)
        case _:
            scheduler.remove(job)
            return "removed"
    return scheduler.job_view(job).status


def _told(scheduler: Vocabulary, handle: Handle) -> dict[str, Any]:
    view = fields(scheduler.run_view(handle.run_id))
    return {name: view[name] for name in ("run_id", "job", "state", "reason", "error")}
