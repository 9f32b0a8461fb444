"""`callsheet import crontab`: a crontab's lines as jobs, all or none."""

from __future__ import annotations

import os
import pwd
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import typer

from ..actors.messages import JobsAdded
from ..actors.records import DEFAULT_TENANT
from ..client.vocabulary import Vocabulary
from .crontab import MAX_FILE_BYTES, Crontab, Entry, Problem, read_crontab
from .crontab_job import CRONTAB_TAG, Imported, Plan, make_jobs, source_tag
from .local_zone import local_zone
from .option import DebugOption, JsonOption, StoreOption, TenantOption
from .outcome import REFUSED, CommandError, NotFound, WrongUsage
from .output import Column, is_terminal, show_json, show_table
from .reach import changing

SYSTEM_PLACES: Final = ("/etc/crontab", "/etc/cron.d/")
MAX_JOBS: Final = 100_000

Overlap = Literal["skip", "allow_all"]
CatchUpPolicy = Literal["latest", "earliest", "all", "none"]

COLUMNS: Final = [
    Column("line", lambda made: made.line, right=True),
    Column("schedule", lambda made: made.schedule),
    Column("zone", lambda made: made.zone),
    Column("job", lambda made: made.job.name, wide=True),
]


def import_crontab_command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="The crontab; - is standard input.")],
    store: StoreOption = None,
    tenant: TenantOption = DEFAULT_TENANT,
    system: Annotated[
        bool | None,
        typer.Option(
            "--system/--no-system",
            help="Whether a column for the user follows the schedule. [default: for /etc/crontab and /etc/cron.d]",
            show_default=False,
        ),
    ] = None,
    user: Annotated[str | None, typer.Option("--user", help="With --system: only the lines of this user.")] = None,
    zone: Annotated[
        str | None,
        typer.Option("--zone", metavar="ZONE", help="Of schedules without CRON_TZ. [default: the machine's]"),
    ] = None,
    folder: Annotated[
        str | None, typer.Option("--folder", help="Where commands run, if the file sets no HOME. [default: your home]")
    ] = None,
    prefix: Annotated[
        str | None, typer.Option("--prefix", help="What the names of the jobs begin with. [default: the file's name]")
    ] = None,
    overlap: Annotated[Overlap, typer.Option("--overlap", help="When the last run has not ended.")] = "skip",
    catchup: Annotated[CatchUpPolicy, typer.Option("--catchup", help="What passed while nothing ran.")] = "latest",
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove jobs that came from this file and are not in it.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be imported, and import nothing.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Import the lines of a crontab as jobs, all or none. A second time it changes what has changed, and nothing else.

    They run where a scheduler allows commands: `callsheet run --allow-shell`, or Scheduler(…, allow_shell=True).
    """
    del debug
    source, text = _read_file(file)
    form = _is_system(file) if system is None else system
    read = _only(read_crontab(text, system=form), user)
    plan = Plan(
        source=source,
        prefix=prefix or _stem(file),
        tenant=tenant,
        zone=zone or local_zone(),
        folder=str(Path(folder).resolve()) if folder else str(Path.home()),
        user=_my_name(),
        root=os.getuid() == 0,
        overlap=overlap,
        catchup=catchup,
    )
    made, problems, notes = make_jobs(read, plan)
    problems = sorted([*read.problems, *problems, *_doubts(read, system)], key=lambda problem: problem.line)
    notes = sorted([*read.notes, *notes], key=lambda note: note.line)
    report = Report(file, made, problems, notes)
    if not problems and not dry_run and (made or prune):
        _store(report, plan, store, prune=prune)
    report.show(as_json=as_json, dry_run=dry_run)
    if problems:
        raise typer.Exit(REFUSED)


@dataclass
class Report:
    """What became of a file."""

    file: str
    made: list[Imported]
    problems: list[Problem]
    notes: list[Problem]
    stored: JobsAdded | None = None
    removed: Sequence[str] = ()

    def show(self, *, as_json: bool, dry_run: bool) -> None:
        """Print it: problems and notes on standard error, what was imported on standard output."""
        if as_json:
            show_json(self._as_object(dry_run=dry_run))
        for problem in self.problems:
            print(f"{self.file}:{problem.line}: {problem.text}", file=sys.stderr)
        if self.problems:
            lines = len({problem.line for problem in self.problems})
            text = f"{lines} line{'' if lines == 1 else 's'} cannot be imported, so nothing was"
            print(f"callsheet: {self.file}: {text}", file=sys.stderr)
        elif not as_json:
            for note in self.notes:
                print(f"{self.file}:{note.line}: note: {note.text}", file=sys.stderr)
            self._show_made(dry_run=dry_run)

    def _show_made(self, *, dry_run: bool) -> None:
        show_table(self.made, COLUMNS, f"{self.file}: no line runs anything")
        print(self._sentence(dry_run=dry_run), file=sys.stdout if is_terminal() else sys.stderr)

    def _sentence(self, *, dry_run: bool) -> str:
        if dry_run or self.stored is None:
            return f"{len(self.made)} jobs would be imported; nothing was" if dry_run else "nothing was imported"
        it = self.stored
        gone = f", {len(self.removed)} removed" if self.removed else ""
        return f"{len(self.made)} jobs: {it.added} new, {it.changed} changed, {it.same} as they were{gone}"

    def _as_object(self, *, dry_run: bool) -> dict[str, Any]:
        it = self.stored
        return {
            "file": self.file,
            "imported": not self.problems and not dry_run,
            "added": it.added if it else 0,
            "changed": it.changed if it else 0,
            "same": it.same if it else 0,
            "removed": list(self.removed),
            "jobs": [
                {"line": made.line, "job": made.job.name, "schedule": made.schedule, "zone": made.zone}
                for made in self.made
            ],
            "problems": [{"line": problem.line, "text": problem.text} for problem in self.problems],
            "notes": [{"line": note.line, "text": note.text} for note in self.notes],
        }


def _store(report: Report, plan: Plan, store: str | None, *, prune: bool) -> None:
    tag = source_tag(plan.source)
    with changing(store, plan.tenant, make=True) as scheduler:
        _refuse_strangers(scheduler, report, tag)
        report.stored = scheduler.add_definitions([made.job for made in report.made])
        if prune:
            kept = {made.job.name for made in report.made}
            gone = [job.name for job in scheduler.jobs(tag=tag, limit=MAX_JOBS) if job.name not in kept]
            for name in gone:
                scheduler.remove(name)
            report.removed = gone


def _refuse_strangers(scheduler: Vocabulary, report: Report, tag: str) -> None:
    """Refuse to change jobs that bear our names and came from elsewhere."""
    there = {job.name: job for job in scheduler.jobs(limit=MAX_JOBS)}
    for made in report.made:
        found = there.get(made.job.name)
        if found is not None and tag not in found.tags:
            whose = "another crontab" if CRONTAB_TAG in found.tags else "a program"
            raise CommandError(
                f"{report.file}:{made.line}: there is a job {found.name!r} already, from {whose}; choose other names by "
                f"--prefix. Nothing was imported"
            )


def _my_name() -> str:
    """Return whose process this is; in a container that may be a number that no name is known of."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _read_file(file: str) -> tuple[str, str]:
    """Return where a file is, and its text."""
    path = Path(file)
    try:
        packed = sys.stdin.buffer.read(MAX_FILE_BYTES + 1) if file == "-" else path.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"{file}: there is no such file") from None
    except OSError as error:
        raise CommandError(f"{file} cannot be read: {error.strerror}") from None
    if len(packed) > MAX_FILE_BYTES:
        raise CommandError(f"{file} has more than {MAX_FILE_BYTES:,} bytes; that is no crontab")
    try:
        return ("-" if file == "-" else str(path.resolve())), packed.decode("utf-8")
    except UnicodeDecodeError as error:
        line = packed[: error.start].count(b"\n") + 1
        raise CommandError(f"{file}:{line}: not UTF-8 text; nothing was imported") from None


def _is_system(file: str) -> bool:
    return str(Path(file).resolve()).startswith(SYSTEM_PLACES)


def _stem(file: str) -> str:
    return "crontab" if file == "-" else Path(file).name.removesuffix(".crontab") or "crontab"


def _only(read: Crontab, user: str | None) -> Crontab:
    """Leave out the lines of other users, if one was named."""
    if user is None:
        return read
    if any(not entry.user for entry in read.entries):
        raise WrongUsage("--user is for the form with a column for the user: --system")
    left_out = [Problem(entry.line, f"left out: it is {entry.user}'s") for entry in read.entries if entry.user != user]
    return Crontab([entry for entry in read.entries if entry.user == user], read.problems, [*read.notes, *left_out])


def _doubts(read: Crontab, system: bool | None) -> list[Problem]:
    """What looks like the other form: commands that all begin with the name of a user of this machine."""
    if system is not None or not read.entries or any(entry.user for entry in read.entries):
        return []
    if not all(_begins_with_user(entry) for entry in read.entries):
        return []
    first = read.entries[0].command.split()[0]
    return [
        Problem(
            read.entries[0].line,
            f"{first!r} looks like the column for the user; say --system, or --no-system if it is the command",
        )
    ]


def _begins_with_user(entry: Entry) -> bool:
    words = entry.command.split()
    try:
        pwd.getpwnam(words[0])
    except KeyError:
        return False
    return len(words) > 1
