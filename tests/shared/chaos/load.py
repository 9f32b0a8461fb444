"""The program of the client: `load.py FOLDER RATE SEED ENDPOINT…` submits so many jobs a second until SIGTERM, and notes what is
acknowledged.

Half of the jobs are at most once. Each has a key: what was not acknowledged is submitted again under it, until it is.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Final

from callsheet import CallsheetError, Client
from callsheet.actors.messages import SubmitItem

ACKNOWLEDGED: Final = "acknowledged"
BATCH_S: Final = 0.05
LARGEST: Final = 1_000
SLOW_SHARE, SLOW_MS = 0.05, 20
"""A few jobs take a while, so that blows find something half done."""


def calls(seed: int) -> Iterator[tuple[str, str, int]]:
    """Yield job, key and milliseconds of one submission after the other, for ever."""
    chance = random.Random(seed)
    for number in count():
        milliseconds = SLOW_MS if chance.random() < SLOW_SHARE else 0
        yield ("once", "often")[number % 2], f"k{seed}-{number}", milliseconds


def submit(client: Client, items: list[SubmitItem], keys: list[str], file: int) -> None:
    """Submit until it is acknowledged, and note that."""
    while True:
        try:
            handles = client.submit_items(items, "submit", None)
        except (CallsheetError, TimeoutError) as error:
            sys.stderr.write(f"{time.time():.3f} again: {type(error).__name__}: {error}\n")
            time.sleep(0.1)
            continue
        said = "".join(f"{key}\t{handle.run_id}\n" for key, handle in zip(keys, handles, strict=True))
        os.write(file, said.encode())
        return


def main(folder: Path, rate: int, seed: int, *endpoints: str) -> None:
    asked = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked.set())
    file = os.open(folder / ACKNOWLEDGED, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    coming = calls(seed)
    with Client(endpoints) as client:
        print("ready", flush=True)  # noqa: T201 - to its parent
        owed = 0.0
        last = time.monotonic()
        while not asked.wait(BATCH_S):
            now = time.monotonic()
            owed = min(owed + (now - last) * rate, LARGEST)
            last = now
            batch = [next(coming) for _ in range(int(owed))]
            owed -= len(batch)
            items = [client.options(idempotency_key=key).item(job, (key, ms), {}) for job, key, ms in batch]
            if items:
                submit(client, items, [key for _, key, _ in batch], file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), *sys.argv[4:])
