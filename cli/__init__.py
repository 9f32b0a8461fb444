"""The command `callsheet`. It needs the extra `cli` (typer and rich); without them it says so."""

from __future__ import annotations

import sys
from typing import Final

_NEEDED: Final = ("typer", "rich", "click")


def main() -> None:
    """Run the command with the process's arguments, and exit with one of the codes of `callsheet.cli.outcome`."""
    try:
        from .application import run
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        text = f"callsheet: the command needs {error.name}, which is not installed; install it: pip install 'callsheet[cli]'"
        print(text, file=sys.stderr)
        sys.exit(1)
    sys.exit(run(sys.argv[1:]))
