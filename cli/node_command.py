"""`callsheet node`: a program's scheduler as a node of a cluster, as a service manager runs it.

What the program's `Scheduler(…)` says of where and how it runs, the options say otherwise; so one program serves on a laptop,
in a test and on twenty machines. A token for HTTP comes by the environment alone, because every user of a machine can read the
arguments of its processes.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Annotated, Any, Final, cast

import typer

from ..client.leadership import Leader
from ..client.scheduler import Scheduler
from ..client.setup import SetupOptions
from ..errors import NotRunning
from ..health import Health
from ..log import LogLevel, configure_logging
from .option import DebugOption, HttpOption, JsonOption, LogFormatOption
from .outcome import WrongUsage
from .output import show_json_line
from .program import load_scheduler

TOKEN_VARIABLE: Final = "CALLSHEET_HTTP_TOKEN"  # noqa: S105 - the name of a variable
LOOK_S: Final = 0.02
"""How often a node that has not joined yet is looked at."""

ROLES: Final = {"leader": "it leads", "follower": "it follows", "worker": "it works for"}


TargetArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="FILE_OR_MODULE[:NAME]",
        help="The program with the scheduler. Without one: a node without functions, which may lead.",
    ),
]
ListenOption = Annotated[
    list[str] | None,
    typer.Option("--listen", metavar="ENDPOINT", help="Where others connect, tcp://HOST:PORT; may be repeated."),
]
NodeStoreOption = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="Where the state is kept.", show_default=False)
]
JoinOption = Annotated[
    list[str] | None,
    typer.Option(
        "--join", metavar="ENDPOINT", help="A node of the cluster, for one without its store; may be repeated."
    ),
]
LabelsOption = Annotated[
    list[str] | None, typer.Option("--labels", metavar="A,B=C", help="What this node has that others may not.")
]
ResourcesOption = Annotated[
    list[str] | None,
    typer.Option("--resources", metavar="NAME=UNITS,…", help="What its runs share: memory_gb=8,gpu=1."),
]
NameOption = Annotated[
    str, typer.Option("--name", metavar="NAME", help="Its name in the cluster. [default: host and process]")
]
KeysOption = Annotated[
    str | None, typer.Option("--keys", metavar="FOLDER", help="The folder of keys, as `callsheet keys` makes it.")
]
ThreadsOption = Annotated[
    int | None, typer.Option("--threads", metavar="N", min=0, help="How many functions run at once.")
]
ProcessesOption = Annotated[
    int | None, typer.Option("--processes", metavar="N", min=0, help="How many worker processes run functions.")
]


def node_command(
    target: TargetArgument = None,
    listen: ListenOption = None,
    store: NodeStoreOption = None,
    join: JoinOption = None,
    labels: LabelsOption = None,
    resources: ResourcesOption = None,
    worker_only: Annotated[
        bool, typer.Option("--worker-only", help="Run what others decide: no store, never the lead. Needs --join.")
    ] = False,
    name: NameOption = "",
    keys: KeysOption = None,
    insecure: Annotated[
        bool,
        typer.Option(
            "--insecure", help="Listen without keys, serve HTTP without a token, where strangers can come in."
        ),
    ] = False,
    http: HttpOption = None,
    log_format: LogFormatOption = "text",
    log_level: Annotated[LogLevel, typer.Option("--log-level", help="From where on is logged.")] = "info",
    allow_shell: Annotated[bool, typer.Option("--allow-shell", help="Let commands run here.")] = False,
    threads: ThreadsOption = None,
    processes: ProcessesOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Run a program's scheduler as a node of a cluster.

    The options override what the program says. It runs until Ctrl-C or TERM, as `run` does, or until it is drained with --stop.
    """
    del debug
    configure_logging(log_format, log_level)
    scheduler = _load(target, (threads, processes), worker_only=worker_only, allow_shell=allow_shell)
    if worker_only and store is not None:
        raise WrongUsage("--worker-only: such a node has no store; leave --store out and say --join ENDPOINT")
    said = {
        "store": store,
        "listen": listen,
        "join": join,
        "labels": _parts(labels),
        "resources": dict(_read_resource(part) for part in _parts(resources)),
        "worker_only": worker_only,
        "name": name,
        "keys": keys,
        "insecure": insecure,
        "allow_shell": allow_shell,
        "threads": threads,
        "processes": processes,
    }
    options = cast("SetupOptions", {word: value for word, value in said.items() if _is_said(value)})
    options |= http_options(http)
    if worker_only:
        options["store"] = None  # whatever the program says
    scheduler.configure(**options)
    _run(scheduler, as_json=as_json)


def http_options(address: str | None) -> SetupOptions:
    """Where HTTP is served, if it was said, and the token of the environment, if there is one."""
    given: SetupOptions = {}
    if address is not None:
        given["http"] = address
    token = os.environ.get(TOKEN_VARIABLE)
    if token is not None:
        given["http_token"] = token
    return given


def _load(
    target: str | None, places: tuple[int | None, int | None], *, worker_only: bool, allow_shell: bool
) -> Scheduler:
    if target is not None:
        return load_scheduler(target)
    if worker_only and not allow_shell:
        raise WrongUsage(
            "--worker-only without a program: such a node would have no functions to run and may not lead; name the program "
            "(callsheet node app.py --worker-only …), or let it run commands by --allow-shell"
        )
    if places != (None, None):
        raise WrongUsage("--threads and --processes are places for a program's functions; name the program")
    return Scheduler(threads=0, processes=0, asynchronous=0)


def _is_said(value: Any) -> bool:
    """Whether an option was given: 0 is something, nothing is not."""
    return not (value is None or value is False or value in ("", [], {}))


def _parts(given: Iterable[str] | None) -> list[str]:
    return [part.strip() for text in given or () for part in text.split(",") if part.strip()]


def _read_resource(part: str) -> tuple[str, int]:
    name, _, units = part.partition("=")
    if not units.strip().isdecimal():
        raise WrongUsage(f"--resources takes NAME=UNITS with whole units, such as memory_gb=8; {part!r} was given")
    return name.strip(), int(units)


def _run(scheduler: Scheduler, *, as_json: bool) -> None:
    name = ""

    def started() -> None:
        nonlocal name
        name = scheduler.node_name
        threading.Thread(target=_tell_when_ready, args=(scheduler, as_json), name="ready", daemon=True).start()

    scheduler.run(started=started)
    if as_json:
        show_json_line({"event": "stopped", "node": name})
    else:
        print(f"node {name}: stopped", flush=True)


def _tell_when_ready(scheduler: Scheduler, as_json: bool) -> None:
    """Say once that this node has joined its cluster; nothing if it ends before."""
    pause = threading.Event()
    try:
        while not scheduler.health().ready or (leader := scheduler.leader) is None:
            if pause.wait(LOOK_S) or not scheduler.running:
                return
        health, endpoints = scheduler.health(), scheduler.endpoints
        http = scheduler.http_address
    except NotRunning:
        return
    with suppress(OSError):  # nobody reads it
        _tell_ready(health, leader, endpoints, http, as_json=as_json)


def _tell_ready(health: Health, leader: Leader, endpoints: Sequence[str], http: str, *, as_json: bool) -> None:
    if as_json:
        told = {"event": "ready", "node": health.node, "role": health.role, "leader": leader.node}
        show_json_line({**told, "epoch": leader.epoch, "endpoints": list(endpoints), "http": http or None})
        return
    where = f"listens at {', '.join(endpoints)}" if endpoints else "listens nowhere"
    role = ROLES[health.role] + ("" if health.role == "leader" else f" {leader.node}")
    served = f"; http://{http}" if http else ""
    print(f"node {health.node}: ready; {where}; {role}, epoch {leader.epoch}{served}", flush=True)
