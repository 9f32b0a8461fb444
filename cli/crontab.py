r"""Reading crontab files: the form of users (`crontab -e`) and that of /etc/crontab and /etc/cron.d, with a column for the user.

What a line may be, as crontab(5) has it (Vixie cron and its descendants in Debian, Fedora, FreeBSD):

    # comment                      only at the beginning of a line
    NAME = value                   the environment of the lines below it; quotes keep blanks at the ends; nothing is expanded
    30 6 * * mon-fri  command      five fields, then in the /etc form the user, then the command up to the end of the line
    @daily  command                @reboot @yearly @annually @monthly @weekly @daily @midnight @hourly

In a command the first `%` ends it; what follows is its standard input, where each further `%` is a line end. `\%` is a `%`.

Reading is pure: text in, entries, problems and notes out, each with the number of its line. Nothing is decided here about
what becomes of an entry.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from ..triggers import TriggerError, cron

MAX_FILE_BYTES: Final = 1024 * 1024
MAX_ENTRIES: Final = 10_000

REBOOT: Final = "@reboot"
NICKNAMES: Final = (REBOOT, "@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")
ABOUT_MAIL: Final = ("MAILTO", "MAILFROM", "CONTENT_TYPE", "CONTENT_TRANSFER_ENCODING")

_QUOTED: Final = r"\"[^\"]*\"|'[^']*'"
_SETTING: Final = re.compile(rf"({_QUOTED}|[A-Za-z_][A-Za-z0-9_.-]*)\s*=\s*(.*)")
_USER: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*\$?")


@dataclass(frozen=True)
class Problem:
    """What is wrong with a line, or what is to be known of it."""

    line: int
    text: str


@dataclass(frozen=True)
class Entry:
    """A line that runs something. `schedule` is five fields or a nickname; `user` is empty in the form of users."""

    line: int
    schedule: str
    user: str
    command: str
    stdin: str
    environment: dict[str, str]


@dataclass(frozen=True)
class Crontab:
    """A file that was read. It is usable if `problems` is empty; `notes` are what a person should know all the same."""

    entries: list[Entry] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Problem] = field(default_factory=list)


def read_crontab(text: str, *, system: bool) -> Crontab:
    """Read a crontab; `system` is the form with a column for the user."""
    read = Crontab()
    environment: dict[str, str] = {}
    if "\r\n" in text:
        read.notes.append(Problem(1, "the lines end as on Windows; the carriage returns are left out"))
    for number, line in _lines(text):
        setting = _SETTING.fullmatch(line)
        try:
            if setting is not None:
                name, value = _unquote(setting[1]), _unquote(setting[2])
                environment = {**environment, name: value}
                read.notes.extend(_notes_on(number, name, value))
            else:
                read.entries.append(_read_entry(number, line, environment, system=system))
        except _Unreadable as error:
            read.problems.append(Problem(number, str(error)))
    if len(read.entries) > MAX_ENTRIES:
        read.problems.append(
            Problem(read.entries[MAX_ENTRIES].line, f"more than {MAX_ENTRIES:,} entries; split the file")
        )
    return read


class _Unreadable(ValueError):
    """What is wrong with a line."""


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that say something, with their numbers, without blanks before them and line ends behind."""
    for number, line in enumerate(text.split("\n"), start=1):
        bare = line.removesuffix("\r").lstrip(" \t")
        if bare.strip() and not bare.startswith("#"):
            yield number, bare


def _unquote(text: str) -> str:
    text = text.strip()
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "\"'":
        return text[1:-1]
    return text


def _notes_on(number: int, name: str, value: str) -> Iterator[Problem]:
    if name in ABOUT_MAIL and value:
        yield Problem(number, f"{name}: no mail is sent; what a command prints is kept as the logs of its run")
    elif name == "TZ":
        yield Problem(number, "TZ is given to the commands; the schedule goes by CRON_TZ, or by --zone")
    elif "$" in value:
        yield Problem(number, f"{name}: crontabs expand nothing, so {value!r} is taken as it is written, here as there")


def _read_entry(number: int, line: str, environment: dict[str, str], *, system: bool) -> Entry:
    schedule, rest = _split_schedule(line)
    _check_schedule(schedule)
    user = ""
    if system:
        user, _, rest = _partition(rest)
        if not user:
            raise _Unreadable("there is no user and no command after the schedule")
        if not _USER.fullmatch(user):
            raise _Unreadable(f"expected a user's name after the schedule, found {user!r}; is this the form of users?")
    if not rest.strip():
        raise _Unreadable(f"there is no command after the {'user' if system else 'schedule'}")
    command, stdin = split_percent(rest)
    if not command.strip():
        raise _Unreadable("the command is empty: it begins with %")
    if "\0" in line:
        raise _Unreadable("there is a zero byte in it")
    return Entry(number, schedule, user, command, stdin, environment)


def _split_schedule(line: str) -> tuple[str, str]:
    """Take the schedule off a line: a nickname, or five fields."""
    if line.startswith("@"):
        nickname, _, rest = _partition(line)
        return nickname.lower(), rest
    fields: list[str] = []
    rest = line
    while len(fields) < 5:
        word, _, rest = _partition(rest)
        if not word:
            raise _Unreadable(f"expected five fields and a command, found {len(fields)} word(s)")
        fields.append(word)
    return " ".join(fields), rest


def _partition(text: str) -> tuple[str, str, str]:
    """Split off the first word; what follows begins with its own first word."""
    found = re.match(r"(\S*)([ \t]*)(.*)", text, re.DOTALL)
    assert found is not None, "each part may be empty"
    return found[1], found[2], found[3]


def _check_schedule(schedule: str) -> None:
    if schedule.startswith("@"):
        if schedule not in NICKNAMES:
            raise _Unreadable(f"{schedule} is no schedule; there are {', '.join(NICKNAMES)}")
        return
    fault = next((word for word in schedule.split() if "~" in word), None)
    if fault is not None:
        raise _Unreadable(f"{fault}: a random instant within a range is not supported; write a fixed one")
    try:
        cron(schedule)
    except TriggerError as error:
        raise _Unreadable(str(error)) from None


def split_percent(text: str) -> tuple[str, str]:
    """Split what follows the schedule into command and standard input, as cron's do_command.c does.

    A backslash before `%` is left out, other backslashes stay. Input that is there ends in a line end.
    """
    command, position = _take_command(text)
    return (command, "") if position is None else (command, _translate_input(text[position:]))


def _take_command(text: str) -> tuple[str, int | None]:
    """The command, and where its input begins, None when there is none."""
    taken: list[str] = []
    escaped = False
    for position, char in enumerate(text):
        if char == "%" and not escaped:
            return "".join(taken), position + 1
        if char == "%":
            taken[-1] = "%"
        else:
            taken.append(char)
        escaped = char == "\\" and not escaped
    return "".join(taken), None


def _translate_input(text: str) -> str:
    taken: list[str] = []
    escaped = False
    for char in text:
        if char == "%":
            if escaped:
                taken[-1] = "%"
            else:
                taken.append("\n")
        else:
            taken.append(char)
        escaped = char == "\\" and not escaped
    translated = "".join(taken)
    return translated if not translated or translated.endswith("\n") else translated + "\n"
