"""`callsheet run`: a program's scheduler, or one for what is in a store."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.logging import RichHandler

from ..actors.executor.local_runner import DEFAULT_COMMANDS
from ..actors.records import DEFAULT_TENANT
from ..client.scheduler import Scheduler
from ..log import LogFormat, LogLevel, configure_logging
from .crontab_job import REBOOT_TAG
from .live import live
from .node_command import http_options
from .option import DebugOption, HttpOption, JsonOption, LogFormatOption, StoreOption, TenantOption, store_url
from .outcome import WrongUsage
from .output import is_terminal, show_json_line
from .program import load_scheduler


def run_command(
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="FILE_OR_MODULE[:NAME]",
            help="The program with the scheduler. Without one: run the commands that are in the store.",
        ),
    ] = None,
    store: StoreOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
    allow_shell: Annotated[bool, typer.Option("--allow-shell", help="Let commands run; without a program.")] = False,
    commands: Annotated[
        int, typer.Option("--commands", metavar="N", min=1, help="How many commands run at once; without a program.")
    ] = DEFAULT_COMMANDS,
    show_live: Annotated[bool, typer.Option("--live", help="Show jobs and runs while it runs.")] = False,
    http: HttpOption = None,
    log_format: LogFormatOption = "text",
    log_level: Annotated[LogLevel, typer.Option("--log-level", help="From where on is logged.")] = "warning",
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run a program's scheduler, or a store's.

    It runs until Ctrl-C or TERM: the first stops in order, the second hurries, the third exits.
    """
    del debug
    if target is None:
        scheduler = _of_store(store, tenant, commands, allow_shell=allow_shell)
        title = f"callsheet on {store_url(store)}"
    else:
        if store is not None or allow_shell:
            raise WrongUsage(
                "--store and --allow-shell are for `run` without a program; the program's Scheduler(…) says them, "
                "or `callsheet node`, which takes both"
            )
        scheduler = load_scheduler(target)
        title = f"callsheet {target}"
    scheduler.configure(**http_options(http))
    console = Console() if show_live and is_terminal() and not as_json else None
    _log(log_format, log_level, console)
    with _watching(scheduler, title, show_live, as_json, console) as started:
        scheduler.run(started=started)


def _of_store(store: str | None, tenant: str, commands: int, *, allow_shell: bool) -> Scheduler:
    """Return a scheduler without functions: jobs of a program wait for that program."""
    return Scheduler(
        store_url(store),
        threads=0,
        processes=0,
        asynchronous=0,
        commands=commands,
        allow_shell=allow_shell,
        tenant=tenant,
    )


@contextmanager
def _watching(
    scheduler: Scheduler, title: str, show_live: bool, as_json: bool, console: Console | None
) -> Iterator[Any]:
    """Yield what is to be done once it runs: say so, fire what fires at the start, and show what goes on."""
    ended = threading.Event()
    viewer = threading.Thread(
        target=live,
        args=(scheduler,),
        kwargs={"until": ended, "title": title, "as_json": as_json, "console": console},
        name="live",
        daemon=True,
    )

    def started() -> None:
        rebooted = fire_reboot_jobs(scheduler)
        _tell_start(scheduler, title, rebooted, as_json=as_json)
        if show_live:
            viewer.start()

    began = time.monotonic()
    try:
        yield started
    finally:
        ended.set()
        if viewer.ident is not None:
            viewer.join(2.0)
    if as_json:
        show_json_line({"event": "stopped", "after_s": round(time.monotonic() - began, 3)})
    else:
        print(f"{title}: stopped", flush=True)


def fire_reboot_jobs(scheduler: Scheduler) -> list[str]:
    """Trigger each active job with the tag `@reboot` that can run here, once for this start; return their names."""
    found = scheduler.jobs(tag=REBOOT_TAG)
    names = [job.name for job in found if job.status == "active" and scheduler.can_run(job.executor)]
    for name in names:
        scheduler.trigger(name)
    return names


def _tell_start(scheduler: Scheduler, title: str, rebooted: list[str], *, as_json: bool) -> None:
    jobs = scheduler.jobs()
    waiting = [job.name for job in jobs if not scheduler.can_run(job.executor)]
    if as_json:
        told = {"event": "started", "title": title, "jobs": len(jobs), "reboot": rebooted, "cannot_run": waiting}
        show_json_line(told | ({"http": scheduler.http_address} if scheduler.http_address else {}))
        return
    at_start = f", {len(rebooted)} of them at this start" if rebooted else ""
    served = f"; http://{scheduler.http_address}" if scheduler.http_address else ""
    count = f"{len(jobs)} job{'' if len(jobs) == 1 else 's'}"
    print(f"{title}: running {count}{at_start}{served}; Ctrl-C stops", flush=True)
    if waiting:
        shown = ", ".join(waiting[:3]) + ("" if len(waiting) <= 3 else f" and {len(waiting) - 3} more")
        print(
            f"{title}: these wait for a scheduler that can run them (a program, or --allow-shell): {shown}", flush=True
        )


def _log(log_format: LogFormat, level: LogLevel, console: Console | None) -> None:
    if console is None:
        configure_logging(log_format, level)
        return
    logger = logging.getLogger("callsheet")  # a line must not tear what is drawn
    logger.addHandler(RichHandler(console=console, show_path=False))
    logger.setLevel(level.upper())
