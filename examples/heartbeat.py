"""What `scripts/cluster` runs when no program is named: a beat a second, and jobs to submit."""

import os
import socket
import time

from callsheet import Scheduler, every

scheduler = Scheduler()


@scheduler.job(every("1s"))
def beat() -> str:
    """Say where it ran: `callsheet runs beat`, `callsheet logs beat`."""
    print(where())
    return where()


def where() -> str:
    """Return this machine and process."""
    return f"{socket.gethostname()}, process {os.getpid()}"


@scheduler.job(overlap="allow_all", idempotent=True)
def work(seconds: float = 0.1) -> str:
    """Take some time: `callsheet submit work 0.5 --count 100`."""
    time.sleep(seconds)
    return where()


if __name__ == "__main__":
    scheduler.run()
