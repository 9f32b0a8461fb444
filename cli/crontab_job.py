"""From the entries of a crontab to jobs: their names, triggers, commands and tags.

A job is named for its command, not for its line, so the same file gives the same jobs wherever a line has moved to, and another
schedule of a command is a change of its job. Whose jobs they are is told by a tag with the file.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Final

from ..actors.records import MAX_NAME_LENGTH, Command, Job
from ..client.option import JobOptions, define
from ..errors import DefinitionError
from ..triggers import Trigger, cron, manual
from .crontab import REBOOT, Crontab, Entry, Problem

REBOOT_TAG: Final = REBOOT
"""Jobs with this tag are triggered by `callsheet run` at each start."""
CRONTAB_TAG: Final = "crontab"
DEFAULT_SHELL: Final = "/bin/sh"
LABEL_LENGTH: Final = 48
ZONE_VARIABLE: Final = "CRON_TZ"
DELAY_VARIABLE: Final = "RANDOM_DELAY"

_NEEDS_QUOTES: Final = re.compile(r"[^A-Za-z0-9._/+@=:-]+")


@dataclass(frozen=True)
class Plan:
    """How a file is to become jobs.

    source: the file, as its tag shows it. prefix: what names begin with. zone: of schedules without CRON_TZ. folder: where
    commands run that have no HOME. user: who the commands run as; an entry for another goes through `runuser`.
    """

    source: str
    prefix: str
    tenant: str
    zone: str
    folder: str
    user: str
    root: bool
    overlap: str = "skip"
    catchup: str = "latest"


@dataclass(frozen=True)
class Imported:
    """A job, and the line that it was made from."""

    line: int
    schedule: str
    zone: str
    job: Job


def source_tag(source: str) -> str:
    """Return the tag of the jobs of a file."""
    tag = f"crontab:{source}"
    return tag if len(tag) <= MAX_NAME_LENGTH else f"crontab:{hashlib.sha256(source.encode()).hexdigest()[:32]}"


def make_jobs(read: Crontab, plan: Plan) -> tuple[list[Imported], list[Problem], list[Problem]]:
    """Return the jobs of a file, in its order, with the problems and the notes of making them."""
    made: list[Imported] = []
    problems: list[Problem] = []
    notes: list[Problem] = []
    taken: dict[str, int] = {}
    for entry in read.entries:
        try:
            made.append(_make(entry, plan, _name(entry, plan, taken), notes))
        except DefinitionError as error:
            problems.append(Problem(entry.line, str(error)))
    return made, problems, notes


def _make(entry: Entry, plan: Plan, name: str, notes: list[Problem]) -> Imported:
    zone = entry.environment.get(ZONE_VARIABLE) or plan.zone
    tags = [CRONTAB_TAG, source_tag(plan.source)]
    if entry.schedule == REBOOT:
        tags.append(REBOOT_TAG)
    if entry.user:
        tags.append(f"user:{entry.user}")
    options: JobOptions = {
        "tags": tags,
        "description": " ".join(f"{entry.schedule} {entry.command}".split())[:500],
        "catchup": plan.catchup,
        "overlap": plan.overlap,  # type: ignore[typeddict-item]  # define checks it
    }
    job = define(name, plan.tenant, _command(entry, plan, notes), _trigger(entry, zone), (), options)
    return Imported(entry.line, entry.schedule, zone, job)


def _trigger(entry: Entry, zone: str) -> Trigger:
    if entry.schedule == REBOOT:
        return manual()
    fires: Trigger = cron(entry.schedule, zone=zone)
    delay = entry.environment.get(DELAY_VARIABLE, "0")
    if not delay.isdecimal():
        raise DefinitionError(f"{DELAY_VARIABLE} is a number of minutes; {delay!r} was found")
    return fires.but(jitter=int(delay) * 60) if int(delay) else fires


def _command(entry: Entry, plan: Plan, notes: list[Problem]) -> Command:
    """Return the command as cron would run it: by the file's shell, in the home folder."""
    environment = {name: value for name, value in entry.environment.items() if name != ZONE_VARIABLE}
    shell = environment.get("SHELL", DEFAULT_SHELL)
    folder = environment.get("HOME", plan.folder)
    argv: tuple[str, ...] = () if shell == DEFAULT_SHELL else (shell, "-c", entry.command)
    if entry.user and entry.user != plan.user:
        if not plan.root:
            raise DefinitionError(
                f"it is to run as {entry.user}, and you are {plan.user}: import it as root, or leave it out by --user"
            )
        folder = environment.get("HOME", "/")
        argv = ("runuser", "-u", entry.user, "--", shell, "-c", entry.command)
        notes.append(
            Problem(entry.line, f"runs as {entry.user} by runuser, which takes a scheduler that root has started")
        )
    return Command(
        line="" if argv else entry.command, argv=argv, environment=environment, folder=folder, stdin=entry.stdin
    )


def _name(entry: Entry, plan: Plan, taken: dict[str, int]) -> str:
    """Name a job for its command: what of it needs no quotes in a shell, and a hash of the whole where that is not all."""
    label = _NEEDS_QUOTES.sub("-", entry.command)[:LABEL_LENGTH].strip("-")
    if label != entry.command or entry.stdin:
        whole = f"{entry.user}\0{entry.command}\0{entry.stdin}"
        label = f"{label}~{hashlib.sha256(whole.encode()).hexdigest()[:6]}"
    name = f"{plan.prefix}:{entry.user + ':' if entry.user else ''}{label}"
    taken[name] = taken.get(name, 0) + 1
    return name if taken[name] == 1 else f"{name}#{taken[name]}"
