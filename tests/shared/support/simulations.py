"""Running simulations in tests."""

import os
import subprocess
import sys
from pathlib import Path

from simulation.trial import Result, replay_command

SHARED = Path(__file__).parents[1]


def assert_held(result: Result) -> None:
    """Fail with the violation, and what to type to see it again."""
    assert not result.invariant, f"{result.text}\n{replay_command(result.options)}"


def digest(seed: int, hash_seed: str, plant: str = "", *, nodes: int = 1) -> str:
    """What a fresh process, whose sets are ordered otherwise, makes of a seed."""
    code = (
        "from simulation.trial import *; from simulation.option import *; "
        f"print(run_trial(draw_options({seed}, {nodes}), {plant!r}).digest)"
    )
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(SHARED)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()
