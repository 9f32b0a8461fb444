"""One simulation, run and told; and how a failing one is made small.

A smaller case is one that still breaks the same invariant with less: cut where it breaks, then with fewer classes of faults,
usual constants, fewer kinds of actions, fewer jobs, fewer clients.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from traceback import format_exc
from typing import Final

from msgspec import Struct, field, structs

from simulation.option import Options, write_options
from simulation.plant import planted
from simulation.referee import Violation
from simulation.virtual import MILLION
from simulation.world import World

MOST_TRIALS: Final = 80


class Result(Struct):
    """What came of one simulation. `invariant` is empty when all held."""

    options: Options
    invariant: str = ""
    text: str = ""
    at: int = 0
    digest: int = 0
    events: int = 0
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)


def run_trial(options: Options, plant: str = "") -> Result:
    """Run one simulation."""
    began = time.perf_counter()
    result = Result(options)
    world = None
    try:
        with planted(plant):
            world = World(options)
            world.run()
    except Violation as violation:
        result.invariant, result.text, result.at = violation.invariant, violation.text, violation.at
    except Exception:  # noqa: BLE001 - a fault of the simulator itself is told as such
        result.invariant, result.text = "simulator", format_exc()
    result.seconds = time.perf_counter() - began
    if world is not None:
        result.digest, result.events, result.counts = (
            world.digest,
            world.time.events,
            dict(sorted(world.counts.items())),
        )
        result.at = result.at or world.time.now
    return result


def shrink(result: Result, plant: str = "") -> Result:
    """A smaller case that breaks the same invariant; the case itself when there is none."""
    best, trials = result, 0
    is_shrinking = True
    while is_shrinking and trials < MOST_TRIALS:
        is_shrinking = False
        for options in _smaller(best):
            trials += 1
            found = run_trial(options, plant)
            if found.invariant == result.invariant:
                best, is_shrinking = found, True
                break
            if trials >= MOST_TRIALS:
                break
    return best


def _smaller(result: Result) -> Iterator[Options]:
    options = result.options
    cut_s = result.at // MILLION + 1
    if cut_s < (options.until_s or options.faulty_s + options.healed_s):
        yield structs.replace(options, until_s=cut_s)
    for faults in _without_one(options.faults):
        yield structs.replace(options, faults=faults)
    if options.constants:
        yield structs.replace(options, constants=False)
    if len(options.jobs) > 3:
        half = len(options.jobs) // 2
        yield structs.replace(options, jobs=options.jobs[:half])
        yield structs.replace(options, jobs=options.jobs[half:])
    for jobs in _without_one(options.jobs):
        yield structs.replace(options, jobs=jobs)
    for actions in _without_one(options.actions):
        yield structs.replace(options, actions=actions)
    if options.clients > 1:
        yield structs.replace(options, clients=options.clients - 1)


def _without_one(items: tuple[object, ...]) -> Iterator[tuple[object, ...]]:
    for index in range(len(items)):
        yield items[:index] + items[index + 1 :]


def replay_command(options: Options, plant: str = "") -> str:
    """What to type to see this again."""
    parts = ["scripts/simulate", f"--seed {options.seed}"]
    if changed := write_options(options):
        parts.append(f"--options {changed}")
    if plant:
        parts.append(f"--plant {plant}")
    return " ".join(parts)
