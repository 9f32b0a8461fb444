"""The speed of the embedded scheduler, and of a cluster: `scripts/bench` runs this.

Every benchmark begins in a process of its own, on a new SQLite file with `synchronous=FULL`, and prints one JSON object. The
parent prints the command, versions and machine first, so that a figure can be repeated.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import bare
import cluster
from callsheet import Scheduler, at, every

PACKAGES = ("pykka", "msgspec", "msgpack", "pyzmq")


def nothing(number: int = 0) -> None:
    """The job of the throughput benchmarks."""


def throughput(store: str, count: int, executor: Any = "thread") -> dict[str, Any]:
    """Jobs a second from `submit_many` to the last result readable."""
    scheduler = Scheduler(store, processes=2)
    scheduler.job(executor=executor, overlap="allow_all")(nothing)
    with scheduler:
        for handle in scheduler.submit_many([(nothing, i) for i in range(2_000)]):
            handle.result(60)
        began, cpu = time.perf_counter(), time.process_time()
        handles = scheduler.submit_many([(nothing, i) for i in range(count)])
        submitted = time.perf_counter()
        for handle in handles:
            handle.result(60)
        ended, cpu = time.perf_counter(), time.process_time() - cpu
    return {
        "jobs_per_s": round(count / (ended - began)),
        "submitted_per_s": round(count / (submitted - began)),
        "cpu_us_per_job": round(cpu / count * 1e6, 1),
    }


def reference(store: str, count: int) -> dict[str, Any]:
    """What the machine itself takes: to commit one row in a bare SQLite file, and to hand a message to another thread."""
    connection = sqlite3.connect(Path(store.removeprefix("sqlite:///")), isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE it (number INTEGER PRIMARY KEY, text TEXT)")
    commits: list[float] = []
    for number in range(count):
        began = time.perf_counter()
        connection.execute("INSERT INTO it VALUES (?, 'some text')", (number,))
        commits.append((time.perf_counter() - began) * 1e6)
        time.sleep(0.002)
    connection.close()
    there: SimpleQueue[float] = SimpleQueue()
    back: SimpleQueue[float] = SimpleQueue()

    def answer() -> None:
        for _ in range(count):
            sent = there.get()
            back.put(time.perf_counter() - sent)

    threading.Thread(target=answer).start()
    hops: list[float] = []
    for _ in range(count):
        time.sleep(0.002)
        there.put(time.perf_counter())
        hops.append(back.get() * 1e6)
    figures = {"commit": _percentiles(commits, "us"), "hop": _percentiles(hops, "us")}
    return {f"{name}_{key}": value for name, one in figures.items() for key, value in one.items() if "p" in key[:1]}


def latency(store: str, count: int) -> dict[str, Any]:
    """Microseconds from `submit` to the job's first line, one job at a time on an idle scheduler."""
    started: list[float] = []
    gate = threading.Event()

    def first_line() -> None:
        started.append(time.perf_counter())
        gate.set()

    taken: list[float] = []
    with Scheduler(store) as scheduler:
        scheduler.add(first_line, overlap="allow_all")
        for number in range(count + 20):
            gate.clear()
            began = time.perf_counter()
            scheduler.submit(first_line)
            gate.wait(10)
            if number >= 20:
                taken.append((started[-1] - began) * 1e6)
            time.sleep(0.005)
    return _percentiles(taken, "us")


def registering(store: str, count: int) -> dict[str, Any]:
    """Seconds and memory to register far schedules."""
    before = _memory_mb()
    far = datetime.now(UTC) + timedelta(days=365)
    with Scheduler(store) as scheduler:
        began = time.perf_counter()
        jobs = ((nothing, at(far + timedelta(seconds=i)), {"name": f"far-{i}"}) for i in range(count))
        scheduler.add_many(jobs)  # type: ignore[arg-type] # a generator of options is one of JobOptions
        took = time.perf_counter() - began
        memory = _memory_mb()
    return {
        "seconds": round(took, 1),
        "jobs_per_s": round(count / took),
        "memory_above_start_mb": round(memory - before),
    }


def lateness(store: str, jobs: int, rate: int, seconds: int) -> dict[str, Any]:
    """Lateness of recurring jobs, from the slot's instant to the function's first line."""
    late: list[float] = []

    def tick(ctx: Any) -> None:
        late.append(time.time() * 1e6 - ctx.slot.timestamp() * 1e6)

    period = jobs / rate
    with Scheduler(store) as scheduler:
        start = datetime.now(UTC) + timedelta(seconds=6)
        scheduler.add_many(
            (tick, every(period, start=start + timedelta(seconds=i / rate)), {"name": f"tick-{i}"}) for i in range(jobs)
        )
        time.sleep(max(0.0, (start - datetime.now(UTC)).total_seconds()) + 2)
        late.clear()
        time.sleep(seconds)
        measured = list(late)
    return {"fires_per_s": round(len(measured) / seconds), **_percentiles(measured, "us")}


def _percentiles(values: list[float], unit: str) -> dict[str, Any]:
    cuts = statistics.quantiles(values, n=1000)
    named = {"p50": cuts[499], "p90": cuts[899], "p99": cuts[989], "max": max(values)}
    return {f"{name}_{unit}": round(value) for name, value in named.items()}


def _memory_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if Path("/proc/self/statm").exists() else 0
    return pages * resource.getpagesize() / 1e6


def _benchmarks(scale: float) -> dict[str, Callable[[str], dict[str, Any]]]:
    count = int(100_000 * scale)
    return {
        "reference: bare SQLite commit, thread hop": lambda store: reference(store, 500),
        "throughput, threads": lambda store: throughput(store, count),
        "throughput, two worker processes": lambda store: throughput(store, count, "process"),
        "latency, idle": lambda store: latency(store, max(100, int(1_000 * scale))),
        "lateness, 1,000 fires/s of 10,000 jobs": lambda store: lateness(store, 10_000, 1_000, max(5, int(20 * scale))),
        "registering far schedules": lambda store: registering(store, int(1_000_000 * scale)),
        "cluster throughput, three nodes, client over tcp with keys": lambda store: cluster.throughput(store, count),
        "cluster latency, idle, client over tcp with keys": lambda store: _percentiles(
            cluster.latency(store, max(100, int(1_000 * scale))), "us"
        ),
        "cluster latency, reference: the same frames and commit, and nothing else": lambda store: _percentiles(
            bare.latency(store, max(100, int(1_000 * scale))), "us"
        ),
        "cluster at rest, processor time of each node": lambda store: cluster.at_rest(store, 20.0),
        "cluster at rest, reference: bare heartbeats": lambda _: bare.at_rest(20.0),
    }


def _describe() -> str:
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{python}, SQLite {sqlite3.sqlite_version}, {versions}; {os.cpu_count()} cores, {platform.platform()}"


def main() -> int:
    """Run the benchmarks that were asked for, each in a process of its own."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--only", help="a word of the benchmarks to run")
    parser.add_argument("--scale", type=float, default=1.0, help="of the full size (1.0)")
    parser.add_argument("--store", default="sqlite", choices=("sqlite", "memory"))
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    benchmarks = _benchmarks(given.scale)
    if given.child:
        print(json.dumps(benchmarks[given.child](os.environ["BENCH_STORE"])))
        return 0
    print("scripts/bench", *sys.argv[1:])
    print(_describe())
    for name in benchmarks:
        if given.only and given.only not in name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            store = f"sqlite:///{folder}/bench.db" if given.store == "sqlite" else "memory://"
            command = [sys.executable, __file__, "--scale", str(given.scale), "--child", name]
            done = subprocess.run(
                command, check=False, env={**os.environ, "BENCH_STORE": store}, capture_output=True, text=True
            )
            print(f"{name}: {done.stdout.strip() or done.stderr.strip()[-2000:]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
