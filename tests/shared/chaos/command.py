"""The command: real nodes, real signals, and counts of what was lost or doubled.

    scripts/chaos                                 the whole proof, about a quarter of an hour
    scripts/chaos --kills 10 --freezes 2 --cuts 1 --busy-kills 0
    scripts/chaos --publish                       and writes what it measured to docs/failover.md and docs/failover.svg

It exits 1 if anything was lost, doubled, left undecided or started by who was cut off. Times are shown, and judge nothing.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from chaos.act import Outcome, Plan, play
from chaos.cluster import ChaosFailed
from chaos.report import as_json, as_text, publish

KILLS, FREEZES, CUTS, BUSY_KILLS = 100, 20, 10, 30
LOAD, NODES, BUSY_LOOPS = 1_000, 3, 3
FEWEST_NODES: Final = 2


def main(arguments: Sequence[str]) -> int:
    """Run the command; answers the exit code."""
    asked = _read(arguments)
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(1, 1_000_000)
    command = f"scripts/chaos {' '.join(arguments)}".strip()
    _tell(f"{command}; seed {seed}")
    folder = Path(tempfile.mkdtemp(prefix="callsheet-chaos-"))
    outcomes: list[Outcome] = []
    good = False
    try:
        for number, plan in enumerate(_plans(asked, seed)):
            outcomes.append(play(plan, folder / str(number), _tell))
        good = all(outcome.verdict.good for outcome in outcomes)
    except ChaosFailed as error:
        _tell(f"chaos: {error}")
    finally:
        if good and not asked.keep:
            shutil.rmtree(folder)
        else:
            _tell(f"what they left, with a log of each node, is in {folder}")
    sys.stdout.write((as_json if asked.json else as_text)(command, seed, outcomes) + "\n")
    if good and asked.publish:
        publish(command, seed, outcomes)
    return 0 if good else 1


def _read(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/chaos",
        description="Kill, freeze and cut off the leaders of a real cluster under load, and count.",
    )
    number: dict[str, Any] = {"type": int, "metavar": "N"}
    parser.add_argument("--kills", default=KILLS, help=f"leaders that are killed by SIGKILL ({KILLS})", **number)
    parser.add_argument("--freezes", default=FREEZES, help=f"… stopped for 0.2 to 10 s ({FREEZES})", **number)
    parser.add_argument("--cuts", default=CUTS, help=f"… cut off from the other nodes ({CUTS})", **number)
    parser.add_argument("--busy-kills", default=BUSY_KILLS, help=f"… killed among busy loops ({BUSY_KILLS})", **number)
    parser.add_argument("--busy-loops", default=BUSY_LOOPS, help=f"how many of those ({BUSY_LOOPS})", **number)
    parser.add_argument("--load", default=LOAD, help=f"jobs a second that are submitted ({LOAD:,})", **number)
    parser.add_argument("--nodes", default=NODES, help=f"nodes of the cluster ({NODES})", **number)
    parser.add_argument("--seed", help="of all chances", **number)
    parser.add_argument("--json", action="store_true", help="print the outcome as JSON")
    parser.add_argument("--keep", action="store_true", help="keep stores, traces and logs")
    parser.add_argument("--publish", action="store_true", help="write docs/failover.md and docs/failover.svg anew")
    asked = parser.parse_args(arguments)
    if asked.nodes < FEWEST_NODES:
        parser.error(f"--nodes is at least {FEWEST_NODES}: somebody must take over")
    return asked


def _plans(asked: argparse.Namespace, seed: int) -> list[Plan]:
    def plan(name: str, offset: int, **blows: int) -> Plan:
        return Plan(name=name, seed=seed + offset, nodes=asked.nodes, rate=asked.load, **blows)

    plans = [
        plan("kills and freezes", 0, kills=asked.kills, freezes=asked.freezes),
        plan("cuts", 1, cuts=asked.cuts),
        plan(f"kills among {asked.busy_loops} busy loops", 2, kills=asked.busy_kills, busy_loops=asked.busy_loops),
    ]
    return [it for it in plans if it.blows]


def _tell(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
