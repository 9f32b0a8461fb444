"""`callsheet submit`: asks for runs of a job, also of a cluster elsewhere."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from itertools import repeat
from typing import Annotated, Any

import typer

from ..actors.records import DEFAULT_TENANT, RunState
from ..client.handle import Handle
from ..errors import RunError
from .option import DebugOption, JsonOption, KeyOption, StoreOption, TenantOption, ToOption
from .outcome import REFUSED
from .output import is_terminal, one_line, show_json
from .reach import is_running, submitting
from .waiting import STORED, WaitOption, WaitTimeoutOption, check_wait


def submit_command(
    job: Annotated[str, typer.Argument(metavar="JOB", help="The name of a job.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ARGS",
            help="Its arguments, each as JSON; what is none is text. Behind -- one may begin with -, as in -- -5.",
        ),
    ] = None,
    to: ToOption = None,
    store: StoreOption = None,
    key: KeyOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
    count: Annotated[int, typer.Option("--count", metavar="N", min=1, help="How many runs to ask for.")] = 1,
    wait: WaitOption = False,
    timeout: WaitTimeoutOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Ask for runs of a job, now, with these arguments."""
    del debug
    given = tuple(_read(text) for text in arguments or ())
    with submitting(to or (), store, key, tenant) as scheduler:
        runs = is_running(scheduler)
        check_wait(wait, runs, "submitted")
        began = time.monotonic()
        handles = scheduler.submit_many(repeat((job, *given), count))
        took_s = time.monotonic() - began
        states = scheduler.wait(handles, timeout) if wait else []
        if as_json:
            show_json([_told(handle, ended=wait) for handle in handles])
        else:
            _tell(job, handles, states, took_s, runs=runs)
    if any(state is not RunState.SUCCEEDED for state in states):
        raise typer.Exit(REFUSED)


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _tell(job: str, handles: Sequence[Handle], states: Sequence[RunState], took_s: float, *, runs: bool) -> None:
    if len(handles) == 1:
        said = f"run {handles[0].run_id}"
        said += f" {states[0]}{_outcome(handles[0])}" if states else ""
    else:
        said = f"{len(handles):,} runs, {handles[0].run_id} to {handles[-1].run_id}"
        said += "".join(f"; {count:,} {state}" for state, count in Counter(map(str, states)).most_common())
        said += f"; stored in {took_s:.3f} s, {len(handles) / max(took_s, 1e-6):,.0f} a second" if is_terminal() else ""
    print(f"{job}: {said}{'' if runs else '; ' + STORED}")


def _outcome(handle: Handle) -> str:
    told = _told(handle, ended=True)
    return (
        f": {one_line(told['error'])}"
        if told["error"]
        else f" {json.dumps(told['result'], default=str, ensure_ascii=False)}"
    )


def _told(handle: Handle, *, ended: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"run_id": handle.run_id, "job": handle.job}
    if not ended:
        return told
    try:
        result = handle.result()
    except RunError as error:
        return {**told, "state": error.state, "result": None, "error": str(error)}
    return {**told, "state": str(RunState.SUCCEEDED), "result": result, "error": ""}
