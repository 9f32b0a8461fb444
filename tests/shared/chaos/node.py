"""The program of a node: `node.py FOLDER NAME START_US [ENDPOINT]`. It says `ready` on standard output, and ends by SIGTERM."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from callsheet import Scheduler
from chaos.trace import Pen
from chaos.workload import STORE, declare


def main(folder: Path, name: str, start_us: int, *listen: str) -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s.%(msecs)03d %(message)s", datefmt="%H:%M:%S")
    scheduler = Scheduler(f"sqlite:///{folder / STORE}", name=name, threads=8, processes=0, listen=listen)
    declare(scheduler, Pen(folder), start_us)
    scheduler.run(started=lambda: print("ready", flush=True))  # noqa: T201 - to its parent


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
