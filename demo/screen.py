"""The screen: what a person sees. A live view on a terminal, plain lines where the output is piped, and the final tables."""

from __future__ import annotations

import time
from collections import Counter
from types import TracebackType
from typing import Final, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from evidence import Evidence
from footprint import MICROSECONDS, now, to_datetime
from monitor import RunRow, Scene
from plan import TICK_S
from verdict import Verdict, percentile

PLAIN_WIDTH: Final = 100
WIDE: Final = 130
"""Columns from which two tables stand side by side."""
PLAIN_EACH_S: Final = 2.0
FEWEST_ROWS: Final = 6
FRAME_ROWS: Final = 18
"""What stands around the rows of the tables, and above them."""
SHOWN_FAULTS: Final = 20
STYLES: Final = {
    "SUCCEEDED": "green",
    "LOST": "yellow",
    "DELAYED": "cyan",
    "BLOCKED": "blue",
    "READY": "blue",
    "CLAIMED": "bright_blue",
    "FIRED": "green",
    "COALESCED_INTO": "cyan",
    "SKIPPED_OVERLAP": "cyan",
}
"""The rest, which should not happen here, is red."""


class Screen:
    """Tells what happens, and shows how things stand in between."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False, soft_wrap=False)
        if not self.console.is_terminal:
            self.console.width = PLAIN_WIDTH
        self._live = (
            Live(console=self.console, auto_refresh=False, transient=True) if self.console.is_terminal else None
        )
        self._told_at = 0.0

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.update("", refresh=True)
            self._live.stop()

    def say(self, text: str, style: str = "") -> None:
        """Tell one thing, with the time."""
        line = Text.assemble((f"{_clock(now())[:-2]}  ", "dim"), (text, style))
        self.console.print(line, soft_wrap=True)

    def show(self, scene: Scene, title: str, share: float) -> None:
        """Show how things stand; `share` is how much of the demo is over."""
        if self._live is not None:
            self._live.update(_view(scene, title, share, *self.console.size), refresh=True)
        elif time.monotonic() - self._told_at >= PLAIN_EACH_S:
            self._told_at = time.monotonic()
            leader = next((node.name for node in scene.nodes if node.leads), "")
            cluster = f"{leader} leads {len(scene.nodes)} nodes, epoch {scene.epoch}" if leader else "nobody leads"
            self.say(f"{title}   {cluster}   {_states(scene.states).plain}  lateness {_late(scene)}", "dim")

    def conclude(self, evidence: Evidence, verdict: Verdict) -> None:
        """Print the final tables and the verdict."""
        self.console.print()
        self.console.print(_final(evidence, verdict))
        for word, faults in (("lost", verdict.lost), ("doubled", verdict.doubled)):
            for fault in faults[:SHOWN_FAULTS]:
                self.console.print(f"  {word}: {fault}", style="red")
            if len(faults) > SHOWN_FAULTS:
                self.console.print(f"  … and {len(faults) - SHOWN_FAULTS} more {word}", style="red")


# ---- while it goes on ---------------------------------------------------------------------------------------------------


def _view(scene: Scene, title: str, share: float, width: int, height: int) -> RenderableType:
    rows = max(FEWEST_ROWS, height - FRAME_ROWS)
    bar = ProgressBar(total=1.0, completed=min(1.0, share), width=28, complete_style="blue", finished_style="blue")
    head = Table.grid(padding=(0, 2, 0, 0))
    head.add_row(Text(title, style="bold"), bar)
    counts = Table.grid(padding=(0, 4, 0, 0))
    counts.add_row(_states(scene.states), Text(f"lateness {_late(scene)}", style="dim"))
    tables = Table.grid(padding=(0, 4, 0, 0))
    if width >= WIDE:
        tables.add_row(_jobs(scene, rows), _recent(scene, min(rows, len(scene.jobs))))
    else:
        tables.add_row(_jobs(scene, rows))
    return Panel(
        Group(head, _nodes(scene), Text(), counts, Text(), tables), border_style="dim", padding=(1, 2), expand=False
    )


def _nodes(scene: Scene) -> Text:
    """Who leads, the other nodes, and how many attempts each has in hand."""
    if not scene.nodes:
        return Text("nobody leads", style="bold red")
    text = Text(f"epoch {scene.epoch}   ", style="dim")
    for node in scene.nodes:
        style = "bold green" if node.leads else "yellow" if node.state != "alive" else "default"
        said = " leads" if node.leads else "" if node.state == "alive" else f" {node.state}"
        text.append(f"{'●' if node.leads else '○'} {node.name}{said}", style=f"not dim {style}")
        text.append(f", runs {node.running}   ")
    return text


def _jobs(scene: Scene, rows: int) -> Table:
    table = _plain_table()
    table.add_column("job", no_wrap=True, max_width=26)
    table.add_column("when", style="dim", no_wrap=True, max_width=36)
    table.add_column("next due", justify="right", min_width=12, no_wrap=True)
    table.add_column("runs", justify="right", min_width=4)
    table.add_column("late", justify="right", min_width=7)
    for job in scene.jobs[:rows]:
        late = "" if job.late is None else _milliseconds(job.late)
        table.add_row(job.name, job.when, _until(job.next_due, scene.now), str(job.runs or ""), late)
    return table


def _recent(scene: Scene, rows: int) -> Table:
    table = _plain_table()
    table.add_column("recent runs", style="dim", no_wrap=True)
    table.add_column("", no_wrap=True, max_width=20)
    table.add_column("", no_wrap=True)
    for run in _pick(scene.recent, rows):
        state = run.state if run.attempt <= 1 else f"{run.state} ×{run.attempt}"
        table.add_row(_clock(run.at)[:-2], run.job, Text(state, style=STYLES.get(run.state, "red")))
    return table


def _pick(runs: list[RunRow], most: int) -> list[RunRow]:
    """The newest runs, those that tell more than an ordinary success kept longer."""
    telling = [run for run in runs if run.state != "SUCCEEDED" or run.attempt > 1][: most // 2]
    rest = [run for run in runs if run not in telling][: most - len(telling)]
    return sorted(telling + rest, key=lambda run: -run.at)


def _states(states: Counter[str]) -> Text:
    text = Text()
    for state, count in sorted(states.items(), key=lambda each: (each[0] != "SUCCEEDED", each[0])):
        text.append(f"{state} ", style="dim").append(f"{count}  ", style=STYLES.get(state, "red"))
    return text


def _until(instant: int | None, at: int) -> str:
    if instant is None:
        return ""
    seconds = (instant - at) / MICROSECONDS
    if seconds < 0:
        return "now"
    if seconds < 120:
        return f"in {seconds:.1f} s"
    return f"{to_datetime(instant):%d %b %H:%M}"


# ---- at the end ---------------------------------------------------------------------------------------------------------


def _final(evidence: Evidence, verdict: Verdict) -> RenderableType:
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column()
    for label, text in _rows(evidence, verdict):
        table.add_row(label, text)
    good = verdict.good
    last = Table.grid(padding=(0, 3, 0, 0))
    last.add_row(_count("lost", len(verdict.lost)), _count("doubled", len(verdict.doubled)))
    border = "green" if good else "red"
    return Panel(Group(table, Text(), last), border_style=border, padding=(1, 3), expand=False)


def _rows(evidence: Evidence, verdict: Verdict) -> list[tuple[str, RenderableType]]:
    ms = [_milliseconds(percentile(verdict.lateness, share)) for share in (0.5, 0.99)]
    missed = ", ".join(f"{count} {_word(reason)}" for reason, count in sorted(verdict.missed.items())) or "none"
    if verdict.missed_lateness:
        missed += f" (up to {_milliseconds(max(verdict.missed_lateness))} late)"
    orders = len(set(evidence.warehouse) & evidence.orders)
    return [
        ("runs by outcome", _states(verdict.states)),
        ("decisions by kind", _states(evidence.decisions)),
        (
            "lateness",
            f"p50 {ms[0]}, p99 {ms[1]} over {len(verdict.lateness)} slots, from slot to the function's first line",
        ),
        ("fail-over", _failover(verdict)),
        ("slots in between", missed),
        (
            "attempts repeated",
            f"{verdict.repeated_after_error} after an error, {verdict.repeated_after_kill} after the kill",
        ),
        ("cut by the kill", _cut(verdict)),
        ("", ""),
        ("crontab", _crontab(evidence)),
        ("slots owed", _owed(verdict)),
        ("submissions acknowledged", f"{verdict.submissions:,}"),
        ("orders in the warehouse", f"{orders:,} of {len(evidence.orders):,}"),
    ]


def _failover(verdict: Verdict) -> str:
    took = ", ".join(_milliseconds(each) for each in verdict.failovers) or "none"
    return (
        f"{took}, from SIGKILL to the first line of the next slot's function; slots are due each {TICK_S * 1e3:.0f} ms"
    )


def _cut(verdict: Verdict) -> str:
    told = [f"{verdict.cut} at most once, begun and not repeated: LOST, and said so"]
    if verdict.ended_unrecorded:
        told.append(f"{verdict.ended_unrecorded} had just ended: LOST too")
    if verdict.never_reached:
        told.append(f"{verdict.never_reached} was about to begin: LOST too")
    return "; ".join(told)


def _owed(verdict: Verdict) -> str:
    began = verdict.slots - sum(verdict.excused.values()) - sum(fault.startswith("slot") for fault in verdict.lost)
    told = [f"{began:,} began", *(f"{count} {_word(reason)}" for reason, count in sorted(verdict.excused.items()))]
    return f"{verdict.slots:,}: {', '.join(told)}"


def _crontab(evidence: Evidence) -> str:
    begun = [each.slot for each in evidence.footprints if each.kind == "begin" and not each.process]
    minutes = sorted({slot for slot in begun if slot is not None})
    starts = begun.count(None)
    told = [f"{begun.count(slot)} lines at {to_datetime(slot):%H:%M:%S}" for slot in minutes]
    return ", ".join([*told, f"{starts} @reboot line{'' if starts == 1 else 's'} at the start"])


def _word(reason: str) -> str:
    return {"COALESCED_INTO": "coalesced into a later one", "SKIPPED_OVERLAP": "skipped for overlap"}.get(
        reason, reason
    )


def _count(word: str, number: int) -> Text:
    return Text(f"{word} {number}", style="bold green" if number == 0 else "bold red")


def _plain_table() -> Table:
    return Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)


def _late(scene: Scene) -> str:
    return f"p50 {_milliseconds(scene.p50)}, p99 {_milliseconds(scene.p99)}"


def _milliseconds(late: int) -> str:
    return f"{late / 1_000:.1f} ms" if late < 100_000 else f"{late / MICROSECONDS:.2f} s"


def _clock(instant: int) -> str:
    return f"{to_datetime(instant):%H:%M:%S.%f}"[:-3]
