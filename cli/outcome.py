"""Exit codes, and which error means which.

0: done. 1: refused or failed, that is, the scheduler said no, a program raised, a file was not imported, a run that was waited
for did not succeed. 2: wrong usage: an unknown command or option, a value that cannot be read. 3: the store cannot be used:
not there, another program's, newer, busy, full. 4: not found: no such job, run, file, or scheduler in it. 5: no answer in
time. 130: interrupted.
"""

from __future__ import annotations

from typing import Final

from ..errors import CallsheetError, DefinitionError, StoreError, UnknownJob, UnknownRun

DONE: Final = 0
REFUSED: Final = 1
USAGE: Final = 2
STORE: Final = 3
NOT_FOUND: Final = 4
NO_ANSWER: Final = 5
INTERRUPTED: Final = 130


class CommandError(CallsheetError):
    """The command cannot do what was asked; `code` is the exit code."""

    def __init__(self, text: str, code: int = REFUSED) -> None:
        super().__init__(text)
        self.code = code


class WrongUsage(CommandError):
    """What stands on the command line cannot be."""

    def __init__(self, text: str) -> None:
        super().__init__(text, USAGE)


class NotFound(CommandError):
    """What was named is not there."""

    def __init__(self, text: str) -> None:
        super().__init__(text, NOT_FOUND)


EXPECTED: Final = (CallsheetError, TimeoutError)
"""Errors that a person is told in one line."""


def code_of(error: BaseException) -> int:
    """Return the exit code that an error means."""
    match error:
        case CommandError():
            return error.code
        case UnknownJob() | UnknownRun():
            return NOT_FOUND
        case StoreError():
            return STORE
        case DefinitionError():
            return USAGE
        case TimeoutError():
            return NO_ANSWER
        case KeyboardInterrupt():
            return INTERRUPTED
        case _:
            return REFUSED
