"""Lines between nodes that can be cut.

Each node works in a folder of its own and listens at `/proc/self/cwd/door/NAME.ipc`. The same address leads each process to a
socket in its own folder: a node to its own door, and everybody else to a link of ours, which carries on to that door. So
there is one link for each ordered pair of nodes, without a right that only an administrator has.

A cut is loud, every connection is closed and none can be made, or silent: nothing is carried, as when a cable is pulled. What
was sent into a silent cut comes when it is mended.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from contextlib import suppress
from itertools import permutations
from pathlib import Path
from typing import Final

CHUNK: Final = 65_536
START_S: Final = 10.0


def door_of(name: str) -> str:
    """Where a node listens, as every node may be told."""
    return f"ipc:///proc/self/cwd/door/{name}.ipc"


class Links:
    """All links between some nodes, carried by a thread of their own."""

    def __init__(self, folder: Path, names: Iterable[str]) -> None:
        self._links = [_Link(folder, *pair) for pair in permutations(names, 2)]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="links", daemon=True)
        self._thread.start()
        self._do(_all(link.open() for link in self._links))

    def cut(self, name: str, *, silent: bool) -> None:
        """Cut all links from and to a node."""
        self._do(_all(link.cut(silent=silent) for link in self._links if name in link.ends))

    def mend(self, name: str) -> None:
        """Mend them."""
        self._do(_all(link.mend() for link in self._links if name in link.ends))

    def close(self) -> None:
        """Let go of everything."""
        self._do(_all(link.close() for link in self._links))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, what: asyncio.Future[None] | object) -> None:
        asyncio.run_coroutine_threadsafe(what, self._loop).result(START_S)  # type: ignore[arg-type] # a coroutine


async def _all(whats: Iterable[object]) -> None:
    for what in whats:
        await what  # type: ignore[misc] # coroutines


class _Link:
    """The way from one node to the door of another."""

    def __init__(self, folder: Path, source: str, target: str) -> None:
        self.ends = (source, target)
        self._from = folder / source / "door" / f"{target}.ipc"
        self._to = folder / target / "door" / f"{target}.ipc"
        self._flows = asyncio.Event()
        self._is_shut = False
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        self._flows.set()
        self._server = await asyncio.start_unix_server(self._carry, str(self._from))

    async def cut(self, *, silent: bool) -> None:
        if silent:
            self._flows.clear()
            return
        self._is_shut = True
        for task in self._tasks:
            task.cancel()

    async def mend(self) -> None:
        self._is_shut = False
        self._flows.set()

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._flows.wait()
            if not self._is_shut:
                with suppress(OSError):
                    await self._join(reader, writer)
        except asyncio.CancelledError:
            pass  # it is cut: the connection ends, and nobody waits for this task
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_unix_connection(str(self._to))
        ways = [
            asyncio.ensure_future(self._pump(reader, there_writer)),
            asyncio.ensure_future(self._pump(there_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            there_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(CHUNK):
            await self._flows.wait()
            writer.write(chunk)
            await writer.drain()
