"""An act: a cluster of its own, its load, some blows, and the verdict."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct, field

from chaos.blow import LONGEST_FREEZE_S, Blow, Fate, Kind
from chaos.cluster import Cluster
from chaos.failover import Moved, measure
from chaos.trace import Traces
from chaos.verdict import Verdict, gather, judge

Progress = Callable[[str], None]


class Plan(Struct, frozen=True, kw_only=True):
    """What is to happen in an act. `rate` is jobs a second that are submitted, `busy_loops` other processes that take the cores."""

    name: str
    seed: int
    kills: int = 0
    freezes: int = 0
    cuts: int = 0
    nodes: int = 3
    rate: int = 1_000
    busy_loops: int = 0
    longest_freeze_s: float = LONGEST_FREEZE_S

    @property
    def blows(self) -> int:
        """How many blows there are."""
        return self.kills + self.freezes + self.cuts


class Outcome(Struct):
    """What has happened in an act."""

    plan: Plan
    verdict: Verdict
    blows: list[Blow] = field(default_factory=list)
    moved: list[Moved] = field(default_factory=list)


def play(plan: Plan, folder: Path, tell: Progress) -> Outcome:
    """Play an act in a folder of its own, which is made.

    Raises:
        ChaosFailed: a process did not do what it was asked for.
    """
    folder.mkdir()
    chance = random.Random(plan.seed)
    counts: list[tuple[Kind, int]] = [("kill", plan.kills), ("freeze", plan.freezes), ("cut", plan.cuts)]
    kinds = [kind for kind, count in counts for _ in range(count)]
    chance.shuffle(kinds)
    cluster = Cluster(folder, plan.nodes, plan.rate, plan.seed, cuttable=plan.cuts > 0)
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(plan.busy_loops)]
    traces, blows = Traces(folder), list[Blow]()
    try:
        cluster.start()
        fate = Fate(cluster, chance, plan.longest_freeze_s)
        for kind in kinds:
            blows.append(fate.strike(kind))
            traces.follow()
            tell(_line(plan, blows, traces))
        cluster.finish()
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()
        cluster.close()
    traces.follow()
    verdict = judge(gather(cluster, traces.lines, blows))
    tell(f"{plan.name}: {'nothing' if verdict.good else 'something, see below,'} was lost or doubled")
    return Outcome(plan, verdict, blows, measure(blows, traces.lines))


def _line(plan: Plan, blows: list[Blow], traces: Traces) -> str:
    """One line for the last blow."""
    blow = blows[-1]
    [*_, moved] = measure(blows[-1:], traces.lines) or [Moved(blow.kind, None)]
    length = f" for {blow.length_s:.1f} s" if blow.length_s else ""
    how = " (silent)" if blow.silent else " (ended by another node)" if blow.died else ""
    took = "the lead stayed" if not blow.moved else "next firing ?" if moved.took_us is None else ""
    took = took or f"epoch {blow.after}, next firing after {(moved.took_us or 0) / 1e3:.0f} ms"
    return f"{plan.name} {len(blows)}/{plan.blows}: {blow.kind} {blow.node}{length}{how}: {took}"
