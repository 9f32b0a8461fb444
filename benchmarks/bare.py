"""What a cluster's benchmarks would take without Callsheet: the same frames, hops and commits, and nothing else.

    client ──tcp, keys──▶ leader ──thread──▶ a SQLite commit ──thread──▶ leader ──tcp, keys──▶ follower ──thread──▶ first line
    leader ──100 ms, tcp, keys──▶ each follower ──▶ leader

As a program it is one of the nodes: `bare.py leads STORE SECRET PORT KEY …`, `bare.py beats PORT KEY …`, `bare.py follows SECRET`.
"""

from __future__ import annotations

import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import zmq

from cluster import PAUSE_S, cpu_s

FRAME = bytes(200)
ANY_PORT = "tcp://127.0.0.1"
BEAT_S = 0.1


def latency(store: str, count: int) -> list[float]:
    """Microseconds from a client's frame to a follower's thread, one at a time."""
    taken: list[float] = []
    with ExitStack() as stack:
        follower = stack.enter_context(_program("follows"))
        leader = stack.enter_context(_program("leads", store.removeprefix("sqlite:///"), *follower.told))
        client = _dial(*leader.told)
        time.sleep(1)
        for number in range(count + 20):
            began = time.monotonic_ns()
            client.send(FRAME)
            first_line = int(follower.line())
            if number >= 20:
                taken.append((first_line - began) / 1_000)
            time.sleep(PAUSE_S)
    return taken


def at_rest(seconds: float) -> dict[str, Any]:
    """The share of one core that three processes take for answered heartbeats every 100 ms."""
    with ExitStack() as stack:
        followers = [stack.enter_context(_program("follows")) for _ in range(2)]
        leader = stack.enter_context(_program("beats", *(word for each in followers for word in each.told)))
        time.sleep(2)
        processes = [each.process for each in (leader, *followers)]
        before = [cpu_s(each) for each in processes]
        time.sleep(seconds)
        shares = [round((cpu_s(each) - used) / seconds * 100, 2) for each, used in zip(processes, before, strict=True)]
    return {"leader_percent": shares[0], "followers_percent": shares[1:]}


class _Program:
    """A node's process. `told` is how to dial it: its port and its public key."""

    def __init__(self, running: subprocess.Popen[str], public: str) -> None:
        self._running = running
        self.process = running.pid
        self.told = (self.line(), public)

    def line(self) -> str:
        assert self._running.stdout is not None
        return self._running.stdout.readline().strip()


@contextmanager
def _program(role: str, *arguments: str) -> Iterator[_Program]:
    public, secret = (key.decode() for key in zmq.curve_keypair())
    command = [sys.executable, __file__, role, secret, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        try:
            yield _Program(running, public)
        finally:
            running.kill()


# ---- the programs -------------------------------------------------------------------------------------------------------


def leads(secret: str, store: str, port: str, public: str) -> None:
    """Commit each frame, then send it to the follower."""
    router, follower = _listen(secret), _dial(port, public)
    asked: SimpleQueue[bytes] = SimpleQueue()
    stored: SimpleQueue[bytes] = SimpleQueue()
    ear, hand = socket.socketpair()

    def commit() -> None:
        connection = sqlite3.connect(Path(store), isolation_level=None)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE it (number INTEGER PRIMARY KEY, data BLOB)")
        while True:
            frame = asked.get()
            connection.execute("INSERT INTO it (data) VALUES (?)", (frame,))
            stored.put(frame)
            hand.send(b"\0")

    threading.Thread(target=commit, daemon=True).start()
    poller = zmq.Poller()
    poller.register(router, zmq.POLLIN)
    poller.register(ear, zmq.POLLIN)
    while True:
        for ready, _ in poller.poll():
            if ready is router:
                asked.put(router.recv_multipart()[1])
            else:
                ear.recv(4096)
                while not stored.empty():
                    follower.send(stored.get())


def beats(secret: str, *followers: str) -> None:
    """Send a frame to each follower every 100 ms, and take the answers."""
    del secret
    print(0, flush=True)
    poller = zmq.Poller()
    lines = [_dial(port, public) for port, public in zip(followers[::2], followers[1::2], strict=True)]
    for line in lines:
        poller.register(line, zmq.POLLIN)
    due = time.monotonic()
    while True:
        due += BEAT_S
        for line in lines:
            line.send(FRAME)
        while (wait_s := due - time.monotonic()) > 0:
            for line, _ in poller.poll(1 + int(wait_s * 1_000)):
                line.recv()


def follows(secret: str) -> None:
    """Answer each frame, and say on a thread when it came."""
    router = _listen(secret)
    came: SimpleQueue[bytes] = SimpleQueue()

    def first_line() -> None:
        while came.get():
            print(time.monotonic_ns(), flush=True)

    threading.Thread(target=first_line, daemon=True).start()
    while True:
        identity, frame = router.recv_multipart()
        came.put(frame)
        router.send_multipart([identity, frame])


def _listen(secret: str) -> zmq.Socket[bytes]:
    router: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.ROUTER)
    router.curve_server = True
    router.curve_secretkey = secret.encode()
    print(router.bind_to_random_port(ANY_PORT), flush=True)
    return router


def _dial(port: str, public: str) -> zmq.Socket[bytes]:
    dealer: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.DEALER)
    dealer.curve_publickey, dealer.curve_secretkey = zmq.curve_keypair()
    dealer.curve_serverkey = public.encode()
    dealer.connect(f"{ANY_PORT}:{port}")
    return dealer


ROLES: dict[str, Callable[..., None]] = {"leads": leads, "beats": beats, "follows": follows}

if __name__ == "__main__":
    ROLES[sys.argv[1]](*sys.argv[2:])
