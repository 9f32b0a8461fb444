"""The command: runs seeds, shows what failed and how to see it again.

scripts/simulate --seeds 300                 seeds 0 … 299 on two processors; exit 1 when one fails
scripts/simulate --seeds 50 --first 1000     seeds 1000 … 1049
scripts/simulate --minutes 10                as many as fit into ten minutes
scripts/simulate --nodes 3 --seeds 100       clusters of three nodes
scripts/simulate --nodes mix --minutes 5     one, three and five nodes by turns
scripts/simulate --seed 7 --trace            one seed, with every envelope
scripts/simulate --seed 7 --options faults=kill+store,jobs=0+3
scripts/simulate --seeds 100 --no-faults network,store
scripts/simulate --planted                   plant each bug and show how soon it is found
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from itertools import count

from msgspec import structs

from simulation.option import CLUSTER_FAULTS, FAULTS, NODES, Options, read_options
from simulation.plant import PLANTS, planted
from simulation.trial import Result, replay_command, run_trial, shrink
from simulation.world import World

MOST_FAILURES = 3
MIX = (1, 3, 1, 5)
"""How many nodes the seeds of a mix have, by turns."""
CLUSTERS = (*map(str, NODES), "mix")
FEW_SEEDS = 10
"""So few seeds need not have seen everything."""
SEEDS_FOR_A_PLANT = 60
PROGRESS_S = 5.0


def main(arguments: Sequence[str]) -> int:
    """Run the command; answers the exit code."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    try:
        if asked.planted:
            return _run_planted(asked)
        if asked.seed is not None:
            return _run_one(_options(asked.seed, asked), asked)
        return _run_many(asked)
    except ValueError as error:
        parser.error(str(error))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scripts/simulate", description="Drive nodes in virtual time, with faults.")
    parser.add_argument("--seeds", type=int, default=100, help="how many seeds")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--minutes", type=float, default=0.0, help="go on for so long instead of a number of seeds")
    parser.add_argument("--seed", type=int, default=None, help="one seed alone")
    parser.add_argument("--nodes", default="1", choices=CLUSTERS, help="how many nodes share the store; mix: by turns")
    parser.add_argument("--options", default="", help="name=value,… in place of what a seed draws; lists with +")
    parser.add_argument("--no-faults", default="", help=f"classes of faults to leave out: {', '.join(FAULTS)}")
    parser.add_argument("--plant", default="", choices=["", *PLANTS], help="a bug to plant")
    parser.add_argument("--planted", action="store_true", help="plant each bug, and see it found")
    parser.add_argument("--trace", action="store_true", help="show every envelope (with --seed)")
    parser.add_argument("--processes", type=int, default=2, help="how many processes")
    return parser


def _options(seed: int, asked: argparse.Namespace) -> Options:
    nodes = MIX[seed % len(MIX)] if asked.nodes == "mix" else int(asked.nodes)
    options = read_options(seed, asked.options, nodes)
    left_out = set(filter(None, asked.no_faults.split(",")))
    if unknown := left_out.difference(FAULTS, CLUSTER_FAULTS):
        there = ", ".join((*FAULTS, *CLUSTER_FAULTS))
        raise ValueError(f"no class of faults is named {', '.join(sorted(unknown))}; there are {there}")
    return structs.replace(options, faults=tuple(name for name in options.faults if name not in left_out))


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


# ---- one ----------------------------------------------------------------------------------------------------------------


def _run_one(options: Options, asked: argparse.Namespace) -> int:
    _say(f"seed {options.seed}: {options}")
    _say(f"replay: {replay_command(options, asked.plant)}")
    if asked.trace:
        _show_trace(options, asked.plant)
    result = run_trial(options, asked.plant)
    _say(
        f"{result.at / 1e6:.1f} virtual seconds in {result.seconds:.1f} s, {result.events:,} events, digest {result.digest:08x}"
    )
    for name, number in result.counts.items():
        _say(f"  {name:32} {number:>8,}")
    if result.invariant:
        _tell_failure(result, asked.plant)
        return 1
    _say("all invariants held")
    return 0


def _show_trace(options: Options, plant: str) -> None:
    with planted(plant):
        world = World(options)

        def tell(envelope: object) -> None:
            _say(f"{world.time.now / 1e6:12.6f} {envelope}")

        world.tell = tell
        try:
            world.run()
        except BaseException as error:  # noqa: BLE001 - the trace ends where the world does
            _say(f"{world.time.now / 1e6:12.6f} {error}")


def _tell_failure(result: Result, plant: str) -> None:
    _say(f"\nFAILED seed {result.options.seed} at {result.at / 1e6:.6f} s: invariant {result.invariant}: {result.text}")
    _say(f"replay: {replay_command(result.options, plant)}")
    small = shrink(result, plant)
    if small.options != result.options:
        _say(f"smaller: {small.text}")
        _say(f"replay: {replay_command(small.options, plant)}")


# ---- many ---------------------------------------------------------------------------------------------------------------


def _run_many(asked: argparse.Namespace) -> int:
    seeds = count(asked.first) if asked.minutes else iter(range(asked.first, asked.first + asked.seeds))
    ends_at = time.monotonic() + asked.minutes * 60 if asked.minutes else float("inf")
    what = f"{asked.minutes:g} minutes of seeds" if asked.minutes else f"{asked.seeds} seeds"
    _say(
        f"{what} from {asked.first}"
        + (f", {asked.nodes} nodes" if asked.nodes != "1" else "")
        + (f", options {asked.options}" if asked.options else "")
    )
    tally, failures, began, told_at = Counter[str](), [], time.monotonic(), time.monotonic()
    done = virtual = 0
    for result in _results(seeds, asked, ends_at):
        done += 1
        virtual += result.at
        tally.update(result.counts)
        if result.invariant:
            failures.append(result)
            _say(f"seed {result.options.seed}: invariant {result.invariant}: {result.text[:300]}")
            if len(failures) >= MOST_FAILURES:
                break
        if time.monotonic() - told_at >= PROGRESS_S:
            told_at = time.monotonic()
            _say(f"{done} seeds, {virtual / 1e6:,.0f} virtual seconds, {len(failures)} failed")
    took = time.monotonic() - began
    _say(
        f"{done} seeds in {took:.0f} s ({done / took:.1f} a second, {virtual / 1e6 / took:,.0f} virtual seconds a second), {len(failures)} failed"
    )
    _say("  " + ", ".join(f"{name} {number:,}" for name, number in sorted(tally.items())))
    for result in failures:
        _tell_failure(result, asked.plant)
    idle = _not_seen(tally) if asked.nodes != "1" and done >= FEW_SEEDS and not failures else ""
    if idle:
        _say(f"FAILED: in {done} seeds {idle}: such clusters show nothing")
    return 1 if failures or idle or not done else 0


def _not_seen(tally: Counter[str]) -> str:
    """What must happen in clusters, and did not."""
    if not tally["leaders changed"]:
        return "the leadership never changed"
    return "" if tally["worlds with work on several nodes"] else "only one node ever worked"


def _results(seeds: Iterator[int], asked: argparse.Namespace, ends_at: float) -> Iterator[Result]:
    if asked.processes <= 1:
        for seed in seeds:
            if time.monotonic() > ends_at:
                return
            yield run_trial(_options(seed, asked), asked.plant)
        return
    with ProcessPoolExecutor(asked.processes) as pool:
        running: set[Future[Result]] = set()
        try:
            while True:
                while len(running) < 2 * asked.processes and time.monotonic() < ends_at:
                    following = next(seeds, None)
                    if following is None:
                        break
                    running.add(pool.submit(run_trial, _options(following, asked), asked.plant))
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                yield from sorted((each.result() for each in finished), key=lambda it: it.options.seed)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


# ---- planted ------------------------------------------------------------------------------------------------------------


def find_plant(name: str, most_seeds: int = SEEDS_FOR_A_PLANT) -> tuple[int, Result | None]:
    """Run seeds with a planted bug until one finds it as it should; answers how many that took, and what was found."""
    for number in range(most_seeds):
        result = run_trial(read_options(number, PLANTS[name].where), name)
        if result.invariant in PLANTS[name].found_by:
            return number + 1, result
    return most_seeds, None


def _run_planted(asked: argparse.Namespace) -> int:
    missed = 0
    for plant in PLANTS.values():
        if plant.found_by == ("determinism",):
            _say(f"{plant.name:24} found by the digests under different hash seeds, see the tests")
            continue
        seeds, result = find_plant(plant.name, asked.seeds)
        if result is None:
            missed += 1
            _say(f"{plant.name:24} NOT FOUND in {seeds} seeds")
        else:
            _say(f"{plant.name:24} {seeds:3} seeds, invariant {result.invariant}: {result.text.splitlines()[0][:110]}")
    return 1 if missed else 0
