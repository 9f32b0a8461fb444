"""The shop: a client of the cluster, which submits orders while it is open. It is no node, and lives on when one is killed.

On standard output it tells its parent, as lines of JSON, when it is ready and which submissions were acknowledged: what it has
told there must survive whatever happens next.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import Final

from callsheet import Client
from footprint import now
from plan import STORE, Plan
from telling import tell

ORDER_EACH_S: Final = 0.15


def main() -> None:
    """Run the crontab's @reboot lines, then the shop from opening to closing, and close the books when the parent asks for it."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    plan = Plan.read(Path.cwd())
    with Client(f"sqlite:///{STORE}") as client:
        for job in client.jobs(tag="@reboot"):
            client.trigger(job.name)
        tell(kind="ready")
        order = 1
        while now() < plan.closing:
            if now() >= plan.opening:
                submit(client, "gift_card" if order % 3 == 0 else "confirm", order)
                order += 1
            time.sleep(ORDER_EACH_S)
        tell(kind="closed")
        if sys.stdin.readline():
            submit(client, "close_books")


def submit(client: Client, job: str, *order: int) -> None:
    """Submit one job with a key, so that asking again is no second order; tell when it is acknowledged."""
    key = "-".join(map(str, (job, *(order or (0,)))))
    handle = client.options(idempotency_key=key).submit(job, *order)
    tell(kind="acknowledged", key=key, run_id=handle.run_id)


if __name__ == "__main__":
    main()
