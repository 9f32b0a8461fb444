"""Options that several commands have, and the store they mean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Final

import typer

from ..client.setup import DEFAULT_STORE
from ..log import LogFormat

STORE_VARIABLE: Final = "CALLSHEET_STORE"

KEY_VARIABLE: Final = "CALLSHEET_KEY"

StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help=f"Where the state is kept. [default: ${STORE_VARIABLE}, else {DEFAULT_STORE}]",
        show_default=False,
    ),
]
ToOption = Annotated[
    list[str] | None,
    typer.Option("--to", metavar="ENDPOINT", help="A node of the cluster, tcp://host:port; several may be said."),
]
KeyOption = Annotated[
    Path | None,
    typer.Option(
        "--key",
        metavar="FILE",
        help=f"This client's key, as `callsheet keys new` made it. [default: ${KEY_VARIABLE}]",
        show_default=False,
    ),
]
TenantOption = Annotated[str, typer.Option("--tenant", metavar="NAME", help="The tenant that is meant.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Answer with JSON.")]
DebugOption = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
LimitOption = Annotated[int, typer.Option("--limit", "-n", metavar="N", min=1, help="How many at most.")]
TagOption = Annotated[str | None, typer.Option("--tag", metavar="TAG", help="Only what bears this tag.")]
HttpOption = Annotated[
    str | None,
    typer.Option(
        "--http",
        metavar="HOST:PORT",
        help="Serve health and metrics there; a token, for other machines, is taken from $CALLSHEET_HTTP_TOKEN.",
        show_default=False,
    ),
]
LogFormatOption = Annotated[LogFormat, typer.Option("--log-format", help="How the log is written.")]


def key_file(given: Path | None = None) -> Path | None:
    """Return the key of this client: what was given, or what the environment says, or none."""
    named = os.environ.get(KEY_VARIABLE)
    return given or (Path(named).expanduser() if named else None)


def store_url(given: str | None) -> str:
    """Return the address of the store: what was given, or what the environment says, or the default."""
    return given or os.environ.get(STORE_VARIABLE) or DEFAULT_STORE
