"""Loading somebody's program for the scheduler in it: `FILE_OR_MODULE[:NAME]`.

A file is loaded under the name that worker processes know the program by, not as `__main__`: its guard holds, its jobs have
the names that they have when the file is run by itself, and workers find its functions. A program without the guard is loaded
up to its `scheduler.run()`, and that scheduler is the one that is meant.
"""

from __future__ import annotations

import importlib.util
import sys
import traceback
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Final

from ..actors.executor.processes.loading import MAIN_NAME
from ..client.launch import ProgramReachedRun, loading_program
from ..client.scheduler import Scheduler
from .outcome import CommandError, NotFound

EXAMPLE: Final = "scheduler = Scheduler(…)"


def load_scheduler(target: str) -> Scheduler:
    """Return the scheduler of a program, not started.

    Raises:
        NotFound: no such file or module, no scheduler in it, several and no name said, or none of this name.
        CommandError: the program raised, or starts its scheduler by itself.
    """
    place, name = _split(target)
    spec = _spec_of_file(place) if _is_file(place) else _spec_of_module(place)
    module = importlib.util.module_from_spec(spec)
    reached = _execute(spec, module, place)
    if name:
        return _named(module, name, place)
    return reached if reached is not None else _only_one(module, place)


def _split(target: str) -> tuple[str, str]:
    if Path(target).is_file():
        return target, ""
    place, _, name = target.partition(":")
    return place, name


def _is_file(place: str) -> bool:
    return place.endswith(".py") or "/" in place or Path(place).is_file()


def _spec_of_file(place: str) -> ModuleSpec:
    path = Path(place).resolve()
    if not path.is_file():
        raise NotFound(f"{place}: there is no such file")
    sys.path.insert(0, str(path.parent))
    sys.argv = [place]
    loader = SourceFileLoader(MAIN_NAME, str(path))
    spec = importlib.util.spec_from_file_location(MAIN_NAME, path, loader=loader)
    assert spec is not None, "a loader was given"
    return spec


def _spec_of_module(name: str) -> ModuleSpec:
    sys.path.insert(0, str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise CommandError(f"{name}: it imports {error.name}, which is not installed") from error
        spec = None
    except ValueError:
        spec = None
    if spec is None or spec.loader is None:
        raise NotFound(f"{name}: there is no such module here or among the installed ones; a file ends in .py")
    return spec


def _execute(spec: ModuleSpec, module: ModuleType, place: str) -> Scheduler | None:
    """Run the program's top level; return the scheduler whose `run()` it came to, None when it came to its end."""
    assert spec.loader is not None
    sys.modules[spec.name] = module
    try:
        with loading_program():
            spec.loader.exec_module(module)
    except ProgramReachedRun as reached:
        if reached.by == "run":
            return reached.scheduler
        raise CommandError(
            f"{place} starts its scheduler by itself while it is loaded; run it by `python {place}`, or put that "
            f'under `if __name__ == "__main__":`'
        ) from None
    except SystemExit as error:
        raise CommandError(f"{place} exited while it was loaded, with {error.code!r}") from error
    except Exception as error:
        raise CommandError(f"{place} could not be loaded: {_blame(error, spec)}") from error
    return None


def _blame(error: Exception, spec: ModuleSpec) -> str:
    """Return what was raised, and the line of the program where."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == spec.origin]
    where = f" (line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{where}"


def _named(module: ModuleType, name: str, place: str) -> Scheduler:
    found: object = module
    for part in name.split("."):
        found = getattr(found, part, None)
        if found is None:
            raise NotFound(f"{place} has no {name}{_known(module)}")
    if not isinstance(found, Scheduler):
        raise NotFound(f"{name} in {place} is no Scheduler, but of type {type(found).__name__}{_known(module)}")
    return found


def _only_one(module: ModuleType, place: str) -> Scheduler:
    found = {id(value): value for value in vars(module).values() if isinstance(value, Scheduler)}
    match list(found.values()):
        case [scheduler]:
            return scheduler
        case []:
            raise NotFound(f"{place} has no scheduler at its top level; expected something like {EXAMPLE}")
        case _:
            raise NotFound(f"{place} has several schedulers; say which: {place}:NAME{_known(module)}")


def _known(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, Scheduler)]
    return f"; its schedulers are {', '.join(names)}" if names else ""
