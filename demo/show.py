"""The demo: a crontab and a small ETL on a cluster of three nodes, whose leader is killed with SIGKILL half-way.

    import the crontab ─▶ three nodes, a shop ──SIGKILL to the leader──▶ the next one leads ──SIGTERM──▶ verdict
                              └────────────── one store, the jobs' own footprints ──────────────┘

It exits 0 only if nothing that was owed is lost and nothing is doubled, counted from what the jobs left behind: see
`verdict.py`, which says precisely what the two words mean.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import crontab_lines
from callsheet.errors import CallsheetError, StoreError
from child import PATIENCE_S, Child, ChildFailed
from evidence import Life, gather
from footprint import MICROSECONDS, now, to_datetime
from monitor import Monitor
from plan import STORE, Plan
from screen import Screen
from verdict import judge

NODES: Final = ("node-1", "node-2", "node-3")
SECONDS: Final = 20
FEWEST_SECONDS: Final = 6
STRETCH: Final = 0.6
"""By which share it may take longer so that a full minute, when the crontab's lines fire, lies within."""
START_S: Final = 2.0
"""From the making of the plan to the first slot, at least."""
START_SHARE: Final = 0.5
"""The same as a share of the time that the loading of all programs took, on a machine that may be busy."""
REPLACED_AFTER_S: Final = 1.5
"""From the kill to the start of another node in its place; long enough to see that the others do without."""
LOOK_EACH_S: Final = 0.1
MINUTE_US: Final = 60 * MICROSECONDS


class Demo:
    """One run of the demo, in a folder of its own."""

    def __init__(self, folder: Path, screen: Screen, seconds: int, *, minute: bool = False) -> None:
        self._folder = folder
        self._screen = screen
        self._seconds = seconds
        self._minute = minute
        self._monitor = Monitor(folder)
        self._plan = Plan(0, seconds)
        self._lines: list[crontab_lines.Line] = []
        self._nodes: dict[str, Child] = {}
        self._killed: list[Child] = []

    def play(self) -> bool:
        """Play it; whether nothing was lost and nothing doubled.

        Raises:
            ChildFailed: a process did not do what it was asked for.
        """
        shop: Child | None = None
        try:
            began = now()
            self._load_nodes()
            self._import_crontab()
            self._start_nodes(now() - began)
            shop = Child(self._folder, "shop", "shop")
            self._watch(lambda: now() >= self._plan.kill and self._all_ready(), shop)
            self._kill_the_leader()
            self._replace_it(shop)
            self._close(shop)
        finally:
            self._monitor.close()
            for child in (*self._nodes.values(), *([shop] if shop is not None else [])):
                child.abandon()
        owed = [*self._plan.rhythms(), *crontab_lines.owed(self._lines, self._plan)]
        evidence = gather(self._folder, self._lives(), owed, shop.acknowledged)
        verdict = judge(evidence)
        self._screen.conclude(evidence, verdict)
        return verdict.good

    def _lives(self) -> list[Life]:
        killed = [Life(it.process, it.ready_at, it.ended_at, killed=True) for it in self._killed]
        return [*killed, *(Life(it.process, it.ready_at, it.ended_at) for it in self._nodes.values())]

    # ---- the acts -------------------------------------------------------------------------------------------------------

    def _load_nodes(self) -> None:
        for name in NODES:
            self._nodes[name] = Child(self._folder, name, "pipeline")

    def _import_crontab(self) -> None:
        self._lines = crontab_lines.load(self._folder)
        self._screen.say(f"imported the {len(self._lines)} lines of demo/crontab into {self._folder / STORE}")

    def _start_nodes(self, loading_us: int) -> None:
        """Make the plan, and let all nodes begin."""
        self._watch(lambda: all(node.has_told("loaded") for node in self._nodes.values()), patience_s=PATIENCE_S)
        self._make_plan(max(int(START_S * MICROSECONDS), int(START_SHARE * loading_us)))
        for node in self._nodes.values():
            node.say("begin")
        told = ", ".join(f"{name} (process {node.process})" for name, node in self._nodes.items())
        self._screen.say(f"started three nodes on that file: {told}")
        self._watch(self._all_ready, patience_s=PATIENCE_S)
        self._monitor.connect()

    def _make_plan(self, wait_us: int) -> None:
        opening = -(-(now() + wait_us) // MICROSECONDS) * MICROSECONDS
        self._plan = stretched(opening, self._seconds, 60.0 if self._minute else self._seconds * STRETCH)
        self._plan.write(self._folder)
        minute = full_minute(self._plan)
        if minute is None:
            text = "no full minute lies in this run (--minute makes it long enough): of the crontab only @reboot fires"
            self._screen.say(text, "dim")
        else:
            self._screen.say(f"its every-minute lines are due at {to_datetime(minute):%H:%M:%S} UTC", "dim")

    def _kill_the_leader(self) -> None:
        leader = self._leader()
        node = self._nodes.pop(leader)
        node.kill()
        self._killed.append(node)
        self._screen.say(f"SIGKILL to the leader, {leader}, and its process group, {node.process}", "bold")

    def _leader(self) -> str:
        for _ in range(10):
            with suppress(StoreError):  # busy for a moment
                return self._monitor.leader()
        raise next(iter(self._nodes.values())).failure("has a store that cannot be read")

    def _replace_it(self, shop: Child) -> None:
        [killed] = self._killed
        self._watch(lambda: self._monitor.fired_after(killed.ended_at) is not None, shop, PATIENCE_S)
        away = ((self._monitor.fired_after(killed.ended_at) or now()) - killed.ended_at) / MICROSECONDS
        self._screen.say(
            f"{self._leader()} leads: the next slot's function began {away * 1e3:.0f} ms after the kill", "bold"
        )
        again = time.monotonic() + REPLACED_AFTER_S
        self._watch(lambda: time.monotonic() >= again, shop)
        node = self._nodes[killed.name] = Child(self._folder, killed.name, "pipeline")
        node.say("begin")
        self._screen.say(f"started {killed.name} again, process {node.process}; it follows")

    def _close(self, shop: Child) -> None:
        self._watch(lambda: now() >= self._plan.closing and shop.has_told("closed") and self._all_ready(), shop)
        self._screen.say("closing time: what is due is finished")
        self._watch(lambda: not self._monitor.look().live, shop, PATIENCE_S)
        shop.say("close the books")
        self._watch(lambda: self._monitor.has_begun("close_books"), patience_s=PATIENCE_S)
        self._screen.say("SIGTERM to all nodes while the books are being closed: they let it finish", "bold")
        asked = now()
        self._monitor.close()
        for node in self._nodes.values():
            node.ask_to_stop()
        for node in self._nodes.values():
            node.wait_stopped()
        shop.wait_stopped()
        self._screen.say(f"they stopped in order after {(now() - asked) / MICROSECONDS:.1f} s")

    def _all_ready(self) -> bool:
        return all(node.has_told("ready") for node in self._nodes.values())

    def _watch(self, done: Callable[[], bool], shop: Child | None = None, patience_s: float | None = None) -> None:
        """Show how things stand until something is done; without `patience_s` it is a matter of the clock, or of a child."""
        deadline = None if patience_s is None else time.monotonic() + patience_s
        while not done():
            if deadline is not None and time.monotonic() >= deadline:
                raise next(iter(self._nodes.values())).failure(f"and the others did not get on within {patience_s:g} s")
            if shop is not None:
                shop.has_told("ready")  # or has ended, which is said
            passed = max(0, now() - self._plan.opening) / MICROSECONDS
            total = self._plan.seconds
            passed = 0 if self._plan.opening == 0 else passed
            title = f"{min(passed, total):.0f} of {total} s"
            with suppress(CallsheetError):
                self._screen.show(self._monitor.look(), title, passed / total)
            time.sleep(LOOK_EACH_S)


def full_minute(plan: Plan) -> int | None:
    """The first full minute from opening to closing, None if there is none."""
    minute = -(-plan.opening // MINUTE_US) * MINUTE_US
    return minute if minute <= plan.closing else None


def stretched(opening: int, seconds: int, most: float) -> Plan:
    """A plan of so many seconds, or up to `most` longer if it then holds a full minute."""
    for longer in range(seconds, seconds + int(most) + 3, 2):
        if full_minute(Plan(opening, longer - 1)) is not None:
            return Plan(opening, longer)
    return Plan(opening, seconds)


# ---- the command --------------------------------------------------------------------------------------------------------


def main(arguments: list[str]) -> int:
    """Play the demo; the exit status is 0 if nothing was lost or doubled, else 1."""
    options = read_arguments(arguments)
    folder = Path(tempfile.mkdtemp(prefix="callsheet-demo-"))
    good = False
    try:
        with Screen() as screen:
            good = Demo(folder, screen, options.seconds, minute=options.minute).play()
    except (ChildFailed, crontab_lines.ImportFailed) as error:
        print(f"demo: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("demo: interrupted", file=sys.stderr)
    finally:
        if good and not options.keep:
            shutil.rmtree(folder)
        else:
            print(f"what it left is in {folder}", flush=True)
    return 0 if good else 1


def read_arguments(arguments: list[str]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/demo", description="Run a crontab and a small ETL on three nodes, kill the leader, count."
    )
    parser.add_argument(
        "--seconds", type=int, default=SECONDS, metavar="N", help=f"how long it runs, about ({SECONDS})"
    )
    parser.add_argument(
        "--minute", action="store_true", help="make it long enough to hold a full minute of the crontab"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folder with the store, footprints and warehouse")
    options = parser.parse_args(arguments)
    if options.seconds < FEWEST_SECONDS:
        parser.error(f"--seconds is at least {FEWEST_SECONDS}")
    options.seconds += options.seconds % 2
    return options


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
