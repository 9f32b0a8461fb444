"""What is told of the acts: to a person, as JSON, and in docs/failover.md."""

from __future__ import annotations

import os
import platform
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from chaos.act import Outcome
from chaos.failover import percentile
from chaos.picture import Panel, draw

DOCS: Final = Path(__file__).resolve().parents[3] / "docs"
PAGE, PICTURE = DOCS / "failover.md", DOCS / "failover.svg"
FIRST, LAST = "<!-- measured: written by scripts/chaos --publish -->", "<!-- end of measured -->"
SHOWN_FAULTS: Final = 20
AIMS_MS: Final[dict[str, str]] = {
    "kill": "p50 < 100, p99 < 500",
    "freeze": "< 1,000",
    "cut": "–",
    "kill, busy": "p99 ≤ 1,200",
}


def times_of(outcomes: Iterable[Outcome]) -> dict[str, list[int]]:
    """The fail-over times in microseconds by what was done: `kill`, `freeze`, `cut`, and `kill, busy` among busy loops."""
    found: dict[str, list[int]] = {}
    for outcome in outcomes:
        for moved in outcome.moved:
            if moved.took_us is not None:
                name = f"{moved.kind}, busy" if outcome.plan.busy_loops else moved.kind
                found.setdefault(name, []).append(moved.took_us)
    return {name: found[name] for name in AIMS_MS if name in found}


def as_text(command: str, seed: int, outcomes: Sequence[Outcome]) -> str:
    """Tell a person."""
    told = [f"{command} (seed {seed})", machine(), ""]
    told += [f"{label:58}{value:>10,}" for label, value in _counts(outcomes)]
    told += ["", f"{'fail-over time, ms':20}{'n':>5}{'p50':>8}{'p90':>8}{'p99':>8}{'max':>8}   aim"]
    for name, times in times_of(outcomes).items():
        numbers = "".join(f"{value / 1e3:>8.0f}" for value in _numbers(times))
        told.append(f"{name:20}{len(times):>5}{numbers}   {AIMS_MS.get(name, '')}")
    for outcome in outcomes:
        verdict = outcome.verdict
        for faults in (verdict.lost, verdict.doubled, verdict.undecided, verdict.disobeyed):
            told += [f"  {outcome.plan.name}: {fault}" for fault in faults[:SHOWN_FAULTS]]
            if len(faults) > SHOWN_FAULTS:
                told.append(f"  … and {len(faults) - SHOWN_FAULTS} more")
    return "\n".join(told)


def as_json(command: str, seed: int, outcomes: Sequence[Outcome]) -> str:
    """Tell a program."""
    said: dict[str, Any] = {
        "command": command,
        "machine": machine(),
        "seed": seed,
        "counts": dict(_counts(outcomes)),
        "failover_us": times_of(outcomes),
        "acts": outcomes,
    }
    return msgspec.json.format(msgspec.json.encode(said)).decode()


def machine() -> str:
    """What it ran on."""
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, SQLite {sqlite3.sqlite_version}; {os.cpu_count()} cores, {platform.platform()}"


def _counts(outcomes: Iterable[Outcome]) -> list[tuple[str, int]]:
    acts = list(outcomes)
    verdicts = [act.verdict for act in acts]

    def total(name: str) -> int:
        return sum(found if isinstance(found := getattr(it, name), int) else len(found) for it in verdicts)

    return [
        ("leaders killed", sum(blow.kind == "kill" for act in acts for blow in act.blows)),
        ("leaders frozen", sum(blow.kind == "freeze" for act in acts for blow in act.blows)),
        ("leaders cut off", sum(blow.kind == "cut" for act in acts for blow in act.blows)),
        ("blows that moved the lead", sum(blow.moved for act in acts for blow in act.blows)),
        ("jobs acknowledged", total("acknowledged")),
        ("slots decided", total("slots")),
        ("runs begun", total("begun")),
        ("lost", total("lost")),
        ("begun twice, or fired twice, or repeated without reason", total("doubled")),
        ("slots without a decision", total("undecided")),
        ("started or not said when cut off", total("disobeyed")),
        ("at least once: in flight where it was struck, or just ended", total("in_flight")),
        ("at least once: repeated", total("repeated")),
        ("at most once: begun in a process that died, LOST, shown", total("cut_short")),
        ("at most once: killed before the first line, LOST, shown", total("silent")),
    ]


def _numbers(times: Sequence[int]) -> list[int]:
    return [*(percentile(times, share) for share in (0.5, 0.9, 0.99)), max(times)]


# ---- the page -----------------------------------------------------------------------------------------------------------


def publish(command: str, seed: int, outcomes: Sequence[Outcome]) -> None:
    """Write the figures into the page, and draw its picture."""
    times = times_of(outcomes)
    titles = {"kill": "kill −9", "freeze": "SIGSTOP", "cut": "cut off", "kill, busy": "kill −9, busy loops"}
    panels = [Panel(titles[name], times[name]) for name in titles if name in times]
    PICTURE.write_text(draw(panels))
    page = PAGE.read_text()
    before, _, rest = page.partition(FIRST)
    _, _, after = rest.partition(LAST)
    PAGE.write_text(f"{before}{FIRST}\n\n{_measured(command, seed, outcomes)}\n\n{LAST}{after}")


def _measured(command: str, seed: int, outcomes: Sequence[Outcome]) -> str:
    told = [f"`{command}`, seed {seed}: {machine()}.", "", "| count | |", "|---|---:|"]
    told += [f"| {label} | {value:,} |" for label, value in _counts(outcomes)]
    told += ["", "| fail-over time, ms | n | p50 | p90 | p99 | max | aim |", "|---|---:|---:|---:|---:|---:|---|"]
    for name, times in times_of(outcomes).items():
        numbers = " | ".join(f"{value / 1e3:,.0f}" for value in _numbers(times))
        told.append(f"| {name} | {len(times)} | {numbers} | {AIMS_MS.get(name, '')} |")
    return "\n".join(told)
