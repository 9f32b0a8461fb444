"""`callsheet cluster` and `callsheet drain`: which nodes there are, how they do, and taking one out of work."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from msgspec import Struct
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from ..client.leadership import Leader
from ..client.remote import Client
from ..client.view import MemberView
from ..errors import Refused
from .option import DebugOption, JsonOption, KeyOption, StoreOption, ToOption, key_file, store_url
from .outcome import NotFound, WrongUsage
from .output import Column, fields, is_terminal, make_table, seconds_text, show_json, show_json_line, show_table

ANSWER_S: Final = 10.0
"""How long the cluster may take to answer, unless it is said otherwise."""
WATCH_ANSWER_S: Final = 1.0
"""How long a look may take while it is watched; what was seen last is shown meanwhile."""
REFRESH_S: Final = 0.5
LINE_S: Final = 5.0
"""How often a line is written where nobody draws."""
LEAST_ANSWER_S: Final = 0.1
WAIT_LOOK_S: Final = 0.1
ASK_AGAIN_S: Final = 1.0
"""How often a node is asked again to drain, until it is seen to: the first word may be lost."""

TimeoutOption = Annotated[
    float, typer.Option("--timeout", metavar="SECONDS", min=0.1, help="Wait so long for an answer; then exit code 5.")
]


class Look(Struct, frozen=True):
    """What was seen of a cluster. `leader` is None while nobody is known to lead; `members` are those seen last then."""

    leader: Leader | None
    members: Sequence[MemberView]
    trouble: str = ""


def cluster_command(
    to: ToOption = None,
    store: StoreOption = None,
    key: KeyOption = None,
    timeout: TimeoutOption = ANSWER_S,
    watch: Annotated[bool, typer.Option("--watch", help="Look again and again, until Ctrl-C.")] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the nodes of a cluster: who leads, how each does, and what it has to do."""
    del debug
    with _client(to, store, key, timeout) as client:
        if watch:
            _watch(client, as_json=as_json)
            return
        members = client.members()
        leader = client.leader
    if as_json:
        show_json(_told(Look(leader, members)))
        return
    if is_terminal():
        print(_headline(Look(leader, members)))
    show_table(members, COLUMNS, "No node is there.")


def drain_command(
    node: Annotated[str, typer.Argument(metavar="NODE", help="The name of a node; `callsheet cluster` shows them.")],
    to: ToOption = None,
    store: StoreOption = None,
    key: KeyOption = None,
    stop: Annotated[
        bool, typer.Option("--stop", help="Also end the node, when nothing runs there any more or after ten seconds.")
    ] = False,
    undo: Annotated[bool, typer.Option("--undo", help="Give it work again.")] = False,
    wait: Annotated[
        bool, typer.Option("--wait", help="Wait until nothing runs there any more; with --stop, until it has gone.")
    ] = False,
    timeout: TimeoutOption = ANSWER_S,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Give a node no more work; what runs there may end.

    A leader hands over first, if another node can lead. With --wait, --timeout is for the whole of the wait.
    """
    del debug
    until = time.monotonic() + timeout
    if undo and (stop or wait):
        raise WrongUsage("--undo gives a node work again; it goes with neither --stop nor --wait")
    with _client(to, store, key, timeout) as client:
        try:
            running = client.drain(node, not undo, stop=stop, timeout=_left_s(until))
        except Refused as error:
            if error.code == "unknown_node":
                raise NotFound(str(error)) from None
            raise
        if wait:
            running = _wait(client, node, until, timeout, stop=stop)
    if as_json:
        show_json({"node": node, "draining": not undo, "stop": stop, "running": running})
    else:
        print(f"{node}: {_outcome(running, undo=undo, stop=stop, waited=wait)}")


def _client(to: Sequence[str] | None, store: str | None, key: Path | None, timeout_s: float) -> Client:
    if to and store is not None:
        raise WrongUsage("say --to ENDPOINT or --store URL, not both")
    return Client(to or store_url(store), key=key_file(key), timeout=timeout_s)


# ---- draining -----------------------------------------------------------------------------------------------------------


def _left_s(until: float) -> float:
    """How long an answer may still take; a little always, because who has come so far may as well ask."""
    return max(LEAST_ANSWER_S, until - time.monotonic())


def _wait(client: Client, node: str, until: float, timeout_s: float, *, stop: bool) -> int:
    """Wait until a node has nothing left to do, or has gone; how many attempts are with it still, which is none."""
    ask_again_at = time.monotonic() + ASK_AGAIN_S
    while True:
        found = next((it for it in client.members(timeout=_left_s(until)) if it.node == node), None)
        if found is None or found.state == "gone":
            return 0
        running = sum(taken for taken, _ in found.places.values())
        if found.state == "draining" and not running and not stop:
            return 0
        now = time.monotonic()
        if now >= until:
            left = f"{running} attempts are with it" if running else "it is there"
            raise TimeoutError(f"{node} was told to drain, and {left} still after {timeout_s:g} s; it goes on draining")
        if found.state not in ("draining", "suspect") and now >= ask_again_at:
            ask_again_at = now + ASK_AGAIN_S
            client.drain(node, stop=stop, timeout=_left_s(until))
        time.sleep(WAIT_LOOK_S)


def _outcome(running: int, *, undo: bool, stop: bool, waited: bool) -> str:
    if undo:
        return "takes work again"
    if waited:
        return "has gone" if stop else "drained, nothing runs there"
    attempts = f"{running} attempt{'' if running == 1 else 's'} still with it" if running else "nothing runs there"
    return f"{'stopping' if stop else 'draining'}, {attempts}"


# ---- watching -----------------------------------------------------------------------------------------------------------


def _watch(client: Client, *, as_json: bool) -> None:
    """Show the cluster again and again, also over a change of the leader; Ctrl-C ends it."""
    eye = Eye(client)
    pause = threading.Event()
    try:
        if as_json:
            _repeat(lambda: show_json_line(_told(eye.look())), REFRESH_S, pause)
        elif is_terminal():
            with Live(render(eye.look()), auto_refresh=False, console=Console(highlight=False)) as drawn:
                _repeat(lambda: drawn.update(render(eye.look()), refresh=True), REFRESH_S, pause)
        else:
            _repeat(lambda: print(_line(eye.look()), flush=True), LINE_S, pause)
    except KeyboardInterrupt:
        return


def _repeat(show: Callable[[], None], pause_s: float, pause: threading.Event) -> None:
    while True:
        show()
        pause.wait(pause_s)


class Eye:
    """Looks at a cluster, and remembers what it saw last."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._members: Sequence[MemberView] = ()

    def look(self) -> Look:
        """What is there now; while nobody answers, what was there last, and why there is nothing newer."""
        leader = self._client.leader
        if leader is None:
            return Look(None, self._members, "nobody leads")
        try:
            self._members = self._client.members(timeout=WATCH_ANSWER_S)
        except TimeoutError:
            leader = self._client.leader
            why = "nobody leads" if leader is None else f"{leader.node} leads and does not answer"
            return Look(leader, self._members, why)
        return Look(self._client.leader or leader, self._members)


# ---- what is shown ------------------------------------------------------------------------------------------------------


def role_of(member: MemberView) -> str:
    """What a node is: leader, follower (may lead), worker (never leads)."""
    return "leader" if member.leads else "follower" if member.candidate else "worker"


def _load(member: MemberView) -> str:
    return " ".join(f"{kind} {taken}/{room}" for kind, (taken, room) in member.places.items()) or "no places"


def _skew(member: MemberView) -> str:
    if member.leads:
        return "–"
    return f"{'-' if member.skew_s < 0 else '+'}{seconds_text(abs(member.skew_s))}"


COLUMNS: Final = [
    Column("node", lambda it: it.node),
    Column("role", role_of),
    Column("state", lambda it: it.state),
    Column("load", _load),
    Column("silent", lambda it: "–" if it.leads else seconds_text(it.silent_s), right=True),
    Column("skew", _skew, right=True),
    Column("labels", lambda it: it.labels),
    Column("address", lambda it: it.address, wide=True),
]


def render(look: Look) -> Group:
    """Return a look as it is drawn on a terminal."""
    style = "bold yellow" if look.trouble else "bold"
    table = make_table(look.members, COLUMNS)
    if look.trouble:
        table.style = "dim"
    return Group(Text(_headline(look), style=style), table)


def _headline(look: Look) -> str:
    count = len(look.members)
    nodes = f"{count} node{'' if count == 1 else 's'}"
    if look.leader is None:
        return f"{look.trouble}; {nodes} when somebody last did"
    led = look.trouble or f"{look.leader.node} leads"
    return f"{led}, epoch {look.leader.epoch}; {nodes}"


def _line(look: Look) -> str:
    each = ", ".join(f"{it.node} {it.state} {_load(it)}" for it in look.members)
    return f"{datetime.now(UTC):%H:%M:%S}Z  {_headline(look)}: {each}"


def _told(look: Look) -> dict[str, Any]:
    leader = look.leader
    rows = [fields(member) | {"role": role_of(member)} for member in look.members]
    for row in rows:
        row["places"] = {kind: {"taken": taken, "room": room} for kind, (taken, room) in row["places"].items()}
    told = {"leader": leader and leader.node, "epoch": leader and leader.epoch, "members": rows}
    return told | ({"trouble": look.trouble} if look.trouble else {})
