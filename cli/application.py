"""The command's table of contents, and what its errors look like: one line on standard error, and an exit code."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import Annotated, Any, Final

import typer

from .. import __version__
from . import change_command, keys_command, query_command
from .cluster_command import cluster_command, drain_command
from .import_command import import_crontab_command
from .node_command import node_command
from .outcome import DONE, EXPECTED, INTERRUPTED, REFUSED, USAGE, code_of
from .output import one_line
from .preview_command import preview_command
from .run_command import run_command
from .submit_command import submit_command

EPILOG: Final = (
    "Exit codes: 0 done; 1 refused or failed; 2 wrong usage; 3 the store cannot be used; 4 not found; "
    "5 no answer in time; 130 interrupted."
)

UsageError: Any = typer.BadParameter.__mro__[1]
"""The root of what is wrong with a command line; the parser it comes from differs by the version of typer."""

application = typer.Typer(
    name="callsheet",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
importing = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
keys = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

application.command("run", epilog=EPILOG)(run_command)
application.command("node", epilog=EPILOG)(node_command)
application.command("cluster", epilog=EPILOG)(cluster_command)
application.command("drain", epilog=EPILOG)(drain_command)
application.command("jobs", epilog=EPILOG)(query_command.jobs_command)
application.command("runs", epilog=EPILOG)(query_command.runs_command)
application.command("logs", epilog=EPILOG)(query_command.logs_command)
application.command("explain", epilog=EPILOG)(query_command.explain_command)
application.command("submit", epilog=EPILOG)(submit_command)
application.command("trigger", epilog=EPILOG)(change_command.trigger_command)
application.command("pause", epilog=EPILOG)(change_command.pause_command)
application.command("resume", epilog=EPILOG)(change_command.resume_command)
application.command("cancel", epilog=EPILOG)(change_command.cancel_command)
application.command("remove", epilog=EPILOG)(change_command.remove_command)
application.command("preview", epilog=EPILOG)(preview_command)
application.add_typer(importing, name="import", help="Bring jobs in from elsewhere.", epilog=EPILOG)
importing.command("crontab", epilog=EPILOG)(import_crontab_command)
application.add_typer(keys, name="keys", help="Say who may connect to a cluster, and as what.", epilog=EPILOG)
keys.command("new", epilog=EPILOG)(keys_command.new_command)
keys.command("list", epilog=EPILOG)(keys_command.list_command)
keys.command("allow", epilog=EPILOG)(keys_command.allow_command)
keys.command("revoke", epilog=EPILOG)(keys_command.revoke_command)


@importing.callback()
def _importing() -> None:
    """Bring jobs in from elsewhere."""


@keys.callback()
def _keys() -> None:
    """Say who may connect to a cluster, and as what."""


def _tell_version(wanted: bool) -> None:
    if wanted:
        print(f"callsheet {__version__}")
        raise typer.Exit


@application.callback(epilog=EPILOG)
def _callsheet(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """Run jobs on time, durably, and see what became of them."""


def run(arguments: list[str]) -> int:
    """Do what the arguments say and return the exit code."""
    debug = "--debug" in arguments
    try:
        code = _obey(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        return _abandon_output()
    except SystemExit as error:  # how the parser ends on a broken pipe of its own accord
        if isinstance(error.__context__, BrokenPipeError):
            return _abandon_output()
        raise
    except (typer.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except EXPECTED as error:
        _tell(str(error), debug=debug)
        return code_of(error)
    except Exception as error:  # noqa: BLE001 - a fault of ours is told in a line too, with what to do to see where
        _tell(_unexpected(error), debug=debug)
        return REFUSED
    return code


def _obey(arguments: list[str]) -> int:
    try:
        code = application(arguments, prog_name="callsheet", standalone_mode=False)
    except UsageError as error:
        return _tell_usage(error)
    return code if isinstance(code, int) else DONE


def _unexpected(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"there is no room for what is to be written ({error.strerror}); make some, or write it elsewhere"
    return f"unexpected {type(error).__name__}: {error}; this is a fault of callsheet, --debug shows where"


def _tell(text: str, *, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    print(f"callsheet: {one_line(text)}", file=sys.stderr)


def _tell_usage(error: Any) -> int:
    text = error.format_message()
    if "\n" in text:  # no command was said: this is the help
        print(text)
        return USAGE
    path = error.ctx.command_path if error.ctx is not None else "callsheet"
    print(f"{path}: {text.rstrip('.')}; see `{path} --help`", file=sys.stderr)
    return USAGE


def _abandon_output() -> int:
    """Whoever read our output has gone: let the interpreter find nothing to flush there. That is no failure."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return DONE
