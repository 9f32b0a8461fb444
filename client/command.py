"""Commands as jobs."""

from __future__ import annotations

from collections.abc import Sequence

from ..actors.records import Command
from ..errors import DefinitionError
from .option import check_text


def shell(
    line: str = "", *, argv: Sequence[str] = (), env: dict[str, str] | None = None, folder: str = "", stdin: str = ""
) -> Command:
    """A command as a job's target: a line for `/bin/sh -c`, or `argv` to run as it is.

    Raises:
        DefinitionError: neither or both were given, or something is no text.
    """
    if bool(line) == bool(argv):
        raise DefinitionError("shell(…) takes a line, or argv=[…]; exactly one of them")
    for text in (line, *argv, *(env or {}), *(env or {}).values(), folder, stdin):
        check_text(text, "each part of a command")
    return Command(line=line, argv=tuple(argv), environment=dict(env or {}), folder=folder, stdin=stdin)
