"""The demo: a crontab and a small ETL on one scheduler, which is killed with SIGKILL half-way and started again.

    import the crontab ─▶ first life ──SIGKILL──▶ second life ──SIGTERM──▶ verdict
                              └──── the same store, the same footprints ────┘

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
from pathlib import Path
from typing import Final

import crontab_lines
from child import PATIENCE_S, Child, ChildFailed
from evidence import gather
from footprint import MICROSECONDS, now, to_datetime
from monitor import Monitor
from plan import STORE, Plan
from screen import Screen
from verdict import judge

SECONDS: Final = 20
FEWEST_SECONDS: Final = 6
STRETCH: Final = 0.6
"""By which share it may take longer so that a full minute, when the crontab's lines fire, lies within."""
START_S: Final = 2.0
"""From the import of the crontab to the first slot, at least."""
START_SHARE: Final = 3.0
"""The same as a multiple of the time that the import took, which starts a program too, on a machine that may be busy."""
LOOK_EACH_S: Final = 0.2
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

    def play(self) -> bool:
        """Play it; whether nothing was lost and nothing doubled.

        Raises:
            ChildFailed: a process of the scheduler did not do what it was asked for.
        """
        try:
            self._import_crontab()
            first = self._live_until_killed()
            second = self._live_until_stopped(first)
        finally:
            self._monitor.close()
        owed = [*self._plan.rhythms(), *crontab_lines.owed(self._lines, self._plan)]
        evidence = gather(self._folder, [first.life, second.life], owed, first.acknowledged + second.acknowledged)
        verdict = judge(evidence)
        self._screen.conclude(evidence, verdict)
        return verdict.good

    # ---- the acts -------------------------------------------------------------------------------------------------------

    def _import_crontab(self) -> None:
        began = now()
        self._lines = crontab_lines.load(self._folder)
        start = max(int(START_S * MICROSECONDS), int(START_SHARE * (now() - began)))
        self._screen.say(f"imported the {len(self._lines)} lines of demo/crontab into {self._folder / STORE}")
        opening = -(-(now() + start) // MICROSECONDS) * MICROSECONDS
        self._plan = stretched(opening, self._seconds, 60.0 if self._minute else self._seconds * STRETCH)
        self._plan.write(self._folder)
        minute = full_minute(self._plan)
        if minute is None:
            text = "no full minute lies in this run (--minute makes it long enough): of the crontab only @reboot fires"
            self._screen.say(text, "dim")
        else:
            self._screen.say(f"its every-minute lines are due at {to_datetime(minute):%H:%M:%S} UTC", "dim")

    def _live_until_killed(self) -> Child:
        child = self._start(1, first_order=1)
        try:
            self._watch(child, lambda: now() >= self._plan.kill and child.has_told("ready"))
            if child.ready_at > self._plan.opening:
                raise child.failure("was ready only after its first slots: the machine is too busy for a demo")
            child.kill()
        finally:
            child.abandon()
        self._screen.say(f"SIGKILL to the scheduler and its process group, {child.process}", "bold")
        return child

    def _live_until_stopped(self, first: Child) -> Child:
        child = self._start(2, first_order=first.next_order)
        try:
            self._watch(
                child, lambda: child.has_told("ready") and self._monitor.first_after(first.ended_at) is not None
            )
            away = ((self._monitor.first_after(first.ended_at) or 0) - first.ended_at) / MICROSECONDS
            self._screen.say(f"on the same store: its first function began {away:.2f} s after the kill")
            self._watch(child, lambda: now() >= self._plan.closing and child.has_told("closed"))
            self._screen.say("closing time: what is due is finished")
            self._watch(child, lambda: not self._monitor.look().live, PATIENCE_S)
            child.close_books()
            self._watch(child, lambda: self._monitor.has_begun("close_books"), PATIENCE_S)
            self._screen.say("SIGTERM while the books are being closed: it lets them finish", "bold")
            child.stop()
            took = (now() - child.ended_at) / MICROSECONDS
            self._screen.say(f"it stopped in order after {took:.1f} s")
        finally:
            child.abandon()
        return child

    def _start(self, number: int, first_order: int) -> Child:
        child = Child(self._folder, number, first_order)
        self._screen.say(
            f"started the scheduler, process {child.process}" if number == 1 else "started it again at once"
        )
        return child

    def _watch(self, child: Child, done: Callable[[], bool], patience_s: float | None = None) -> None:
        """Show how things stand until something is done; without `patience_s` it is a matter of the clock, or of the child."""
        deadline = None if patience_s is None else time.monotonic() + patience_s
        while not done() and (deadline is None or time.monotonic() < deadline):
            passed = max(0, now() - self._plan.opening) / MICROSECONDS
            total = self._plan.seconds
            state = "" if child.ready_at else ", starting"
            title = f"life {child.number}, process {child.process}{state}   {min(passed, total):.0f} of {total} s"
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
    parser = argparse.ArgumentParser(prog="scripts/demo", description="Run a crontab and a small ETL, kill it, count.")
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
