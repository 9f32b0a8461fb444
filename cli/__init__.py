"""The command `callsheet`. It needs the extra `cli` (typer and rich); without them it says so."""

from __future__ import annotations

import io
import os
import sys
from typing import Final

_NEEDED: Final = ("typer", "rich", "click")


def main() -> None:
    """Run the command with the process's arguments, and exit with one of the codes of `callsheet.cli.outcome`."""
    _prepare_streams()
    try:
        from .application import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        text = f"callsheet: the command needs {error.name}, which is not installed; install it: pip install 'callsheet[cli]'"
        print(text, file=sys.stderr)
        sys.exit(1)
    sys.exit(run(sys.argv[1:]))


def _prepare_streams() -> None:
    """Let streams that were closed lead nowhere, and show what a terminal's encoding has no character for as an escape."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115, PTH123 - it stays until the process ends
        elif mode == "w" and isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
