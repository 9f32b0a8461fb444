"""The command: mutated frames through the decoder, and some of them over real lines.

scripts/fuzz                       a million frames, 20,000 of them over lines; exit 1 on any fault
scripts/fuzz --frames 10000000     more
scripts/fuzz --seed 7              the same frames again
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from random import SystemRandom

from fuzz import decoding, line


def main(arguments: Sequence[str]) -> int:
    """Run the command; answers the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Mutated frames, which must harm nobody.")
    parser.add_argument("--frames", type=int, default=1_000_000, help="frames through the decoder")
    parser.add_argument("--lines", type=int, default=20_000, help="frames over real lines, to a node that goes on")
    parser.add_argument("--seed", type=int, default=None, help="by default another one each time")
    asked = parser.parse_args(arguments)
    logging.disable()  # that somebody was kept out is what is wanted here
    seed = SystemRandom().randrange(2**32) if asked.seed is None else asked.seed
    print(f"scripts/fuzz --frames {asked.frames} --lines {asked.lines} --seed {seed}", flush=True)
    faults: list[str] = []
    for name, run, count in (("decoder", decoding.run, asked.frames), ("lines", line.run, asked.lines)):
        result = run(seed, count) if count else None
        if result is not None:
            print(f"{name}: {result}", flush=True)
            faults += [f"{name}: {fault}" for fault in result.faults]
    for fault in faults:
        print(f"FAULT {fault}", file=sys.stderr)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
