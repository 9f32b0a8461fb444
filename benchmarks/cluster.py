"""Three nodes on one SQLite file, and a client that reaches them over tcp with keys: the benchmarks of a cluster.

As a program, `cluster.py STORE KEYS NAME` is one of the nodes: it prints where it listens when it is ready, and ends with its
parent.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from callsheet import Client, Scheduler
from callsheet.actors.actor import COORDINATOR
from callsheet.actors.messages import ListMembers, MembersListed

NODES = ("node-1", "node-2", "node-3")
WARM_UP = 5_000
PAUSE_S = 0.01
START_S = 60.0


def nothing(number: int = 0) -> None:
    """The job of the throughput benchmark."""


def first_line() -> int:
    """Answer when it began, by the machine's steady clock."""
    return time.monotonic_ns()


class Cluster:
    """The nodes' processes, by name, and a client."""

    def __init__(self, client: Client, nodes: dict[str, subprocess.Popen[str]]) -> None:
        self.client = client
        self.nodes = nodes

    def leader(self) -> str:
        """Who leads."""
        leader = self.client.leader
        return "" if leader is None else leader.node


@contextmanager
def running(store: str, names: tuple[str, ...] = NODES) -> Iterator[Cluster]:
    """Start a cluster on a store, wait until it is whole, and end it afterwards."""
    with ExitStack() as stack:
        keys = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "keys"
        for name, role in (("cluster", "node"), ("bench", "admin")):
            command = [
                sys.executable,
                "-m",
                "callsheet.cli",
                "keys",
                "new",
                name,
                "--role",
                role,
                "--folder",
                str(keys),
            ]
            subprocess.run(command, check=True, capture_output=True)
        nodes = {name: stack.enter_context(_node(store, keys, name)) for name in names}
        endpoints = [_endpoint(node) for node in nodes.values()]
        with Client(endpoints, key=keys / "bench.secret") as client:
            cluster = Cluster(client, nodes)
            _wait_until_whole(client, len(names))
            yield cluster


@contextmanager
def _node(store: str, keys: Path, name: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, __file__, store, str(keys), name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()


def _endpoint(node: subprocess.Popen[str]) -> str:
    assert node.stdout is not None
    return node.stdout.readline().strip()


def _wait_until_whole(client: Client, count: int) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        answer = client.gateway.request(ListMembers(client.gateway.key()), to=COORDINATOR)
        if isinstance(answer, MembersListed) and len(answer.members) == count:
            return
        time.sleep(0.05)
    raise TimeoutError(f"the cluster is not whole after {START_S:g} s")


# ---- the benchmarks -----------------------------------------------------------------------------------------------------


def throughput(store: str, count: int) -> dict[str, Any]:
    """Jobs a second from the client's `submit_many` to the last result there."""
    with running(store) as cluster:
        client = cluster.client
        for handle in client.submit_many([("nothing",)] * WARM_UP):
            handle.result(60)
        cpu = {name: cpu_s(node.pid) for name, node in cluster.nodes.items()}
        own = time.process_time()
        began = time.perf_counter()
        handles = client.submit_many([("nothing",)] * count)
        submitted = time.perf_counter()
        for handle in handles:
            handle.result(120)
        ended = time.perf_counter()
        own = time.process_time() - own
        used = {name: cpu_s(node.pid) - cpu[name] for name, node in cluster.nodes.items()}
        leader = cluster.leader()
    return {
        "jobs_per_s": round(count / (ended - began)),
        "submitted_per_s": round(count / (submitted - began)),
        "client_cpu_us_per_job": round(own / count * 1e6, 1),
        "leader_cpu_us_per_job": round(used.pop(leader) / count * 1e6, 1),
        "followers_cpu_us_per_job": [round(each / count * 1e6, 1) for each in used.values()],
    }


def latency(store: str, count: int) -> list[float]:
    """Microseconds from the client's `submit` to the job's first line on a node, one job at a time on an idle cluster."""
    taken: list[float] = []
    with running(store) as cluster:
        for number in range(count + 20):
            began = time.monotonic_ns()
            handle = cluster.client.submit("first_line")
            if number >= 20:
                taken.append((handle.result(30) - began) / 1_000)
            time.sleep(PAUSE_S)
    return taken


def at_rest(store: str, seconds: float) -> dict[str, Any]:
    """The percentage of one core that each node takes while there is nothing to do, and one that has nobody to speak with."""
    leader, _ = _shares(f"{store}-alone", seconds, NODES[:1])
    leads, follows = _shares(store, seconds, NODES)
    return {"alone_percent": leader, "leader_percent": leads, "followers_percent": follows}


def _shares(store: str, seconds: float, names: tuple[str, ...]) -> tuple[float, list[float]]:
    """The percentages of the leader and of the others, when no client is there."""
    with running(store, names) as cluster:
        leader = cluster.leader()
        cluster.client.close()
        time.sleep(2)
        before = {name: cpu_s(node.pid) for name, node in cluster.nodes.items()}
        began = time.perf_counter()
        time.sleep(seconds)
        took = time.perf_counter() - began
        shares = {name: round((cpu_s(node.pid) - before[name]) / took * 100, 2) for name, node in cluster.nodes.items()}
    return shares.pop(leader), list(shares.values())


def cpu_s(process: int) -> float:
    """Seconds of processor time that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main(store: str, keys: str, name: str) -> None:
    """Be a node until standard input ends, or SIGTERM."""
    scheduler = Scheduler(store, name=name, processes=0, listen="tcp://127.0.0.1:*", keys=keys)
    scheduler.add(nothing, name="nothing", overlap="allow_all")
    scheduler.add(first_line, name="first_line", overlap="allow_all")
    scheduler.run(started=lambda: print(scheduler.endpoints[0], flush=True))


if __name__ == "__main__":
    main(*sys.argv[1:4])
