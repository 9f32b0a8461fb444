"""Runs the simulator's command."""

import sys

from simulation.command import main

sys.exit(main(sys.argv[1:]))
