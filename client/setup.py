"""What a scheduler is made with, checked: the words of `Scheduler(…)`, which a command may say otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypedDict

from msgspec import Struct

from ..actors.persistence.absent import AbsentStore
from ..actors.persistence.store import Store
from ..actors.persistence.urls import open_store
from ..actors.requirement import check_labels, check_resources
from ..errors import DefinitionError
from ..node import NodeOptions
from .endpoint import endpoints_of
from .option import check_name, duration_us
from .running import Doors

DEFAULT_STORE: Final = "sqlite:///callsheet.db"


class SetupOptions(TypedDict, total=False):
    """The words of `Scheduler(…)` that say where and how it runs, with the meanings they have there."""

    store: str | Store | None
    threads: int
    processes: int | None
    asynchronous: int
    commands: int
    allow_shell: bool
    name: str
    listen: Sequence[str] | str
    join: Sequence[str] | str
    worker_only: bool
    labels: Iterable[str]
    resources: Mapping[str, int] | None
    keys: str | Path | None
    insecure: bool
    http: str | None
    http_token: str | None
    drain_timeout: float
    stop_timeout: float


class Setup(Struct, frozen=True, kw_only=True):
    """The same, checked: `places` is what a runner takes; the times are in seconds."""

    store: Store
    node: NodeOptions
    doors: Doors
    places: dict[str, Any]
    allow_shell: bool
    drain_s: float
    stop_s: float


def set_up(given: SetupOptions) -> Setup:
    """Check what a scheduler is made with; all words must be there.

    Raises:
        DefinitionError: one cannot be, or two contradict each other.
    """
    places = {word: _number(given, word) for word in ("threads", "processes", "asynchronous", "commands")}
    allow_shell = given["allow_shell"]
    if not allow_shell:
        places["commands"] = 0  # what may not run here waits for a scheduler where it may
    drain_s, stop_s = (
        duration_us(length, word) / 1e6
        for word, length in (("drain_timeout", given["drain_timeout"]), ("stop_timeout", given["stop_timeout"]))
    )
    keys = given["keys"]
    return Setup(
        store=_store_of(given["store"], worker_only=given["worker_only"]),
        node=NodeOptions(
            name=check_name(given["name"], "a node's name") if given["name"] else "",
            listen=endpoints_of(given["listen"], "listen"),
            join=endpoints_of(given["join"], "join"),
            labels=check_labels(given["labels"]),
            resources=check_resources(given["resources"] or {}),
            worker_only=given["worker_only"],
        ),
        doors=Doors(
            keys=None if keys is None else str(keys),
            insecure=given["insecure"],
            http=given["http"],
            http_token=given["http_token"],
        ),
        places={**places, "allow_commands": allow_shell},
        allow_shell=allow_shell,
        drain_s=drain_s,
        stop_s=stop_s,
    )


def _number(given: SetupOptions, word: str) -> int | None:
    number: object = given.get(word)
    if number is None and word == "processes":
        return None
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise DefinitionError(f"{word} is a number of places, 0 or more; {number!r} was given")
    return number


def _store_of(given: str | Store | None, *, worker_only: bool) -> Store:
    if worker_only:
        if given is not None:
            raise DefinitionError(
                "a node that only works has no store; leave the store out, and say which nodes to join"
            )
        return AbsentStore()
    if given is None:
        given = DEFAULT_STORE
    return open_store(given) if isinstance(given, str) else given
