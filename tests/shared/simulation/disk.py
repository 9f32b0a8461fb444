"""The disk of a simulated machine: what is left of a store when its process dies, and when its machine does.

    commit ─▶ cache (what every reader sees, survives a kill) ──sync──▶ platter (survives the loss of power)

Each step that writes takes a while; until it is over it is *in flight*, and a death in that time may find it done or not.
Where the store is durable a step is synced when it is over, otherwise only now and then (as SQLite's NORMAL does).

The store in memory is the cache and the platter; steps are done on the cache at once and on the platter when they are
synced. A death puts a new cache together: the platter, and those of the later steps that were lucky.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from callsheet.actors.persistence.memory import MemoryStore
from callsheet.actors.persistence.memory.tables import Tables
from callsheet.actors.persistence.store import Capabilities, Committed, Lease, Question, Write
from simulation.virtual import Timeline

SYNC_EVERY_US = 5_000_000


class Done(Struct):
    """A step that was done on the cache: over at `over_at`, synced at `synced_at`."""

    call: Callable[[MemoryStore], Any]
    writes: tuple[Write, ...]
    over_at: int
    synced_at: int


class Disk:
    """Holds what outlives a process."""

    def __init__(self, timeline: Timeline, *, durable: bool) -> None:
        self._timeline = timeline
        self.durable = durable
        self.cache = MemoryStore()
        self._platter = MemoryStore()
        self._pending: deque[Done] = deque()
        self.boot = 1
        self.marks: dict[str, tuple[int, set[int]]] = {}

    @property
    def tables(self) -> Tables:
        """What is stored, as a reader sees it now."""
        return self.cache._tables

    @property
    def synced(self) -> Tables:
        """What would be left if the power went now, and luck with it."""
        self._sync()
        return self._platter._tables

    def do(self, call: Callable[[MemoryStore], Any], writes: tuple[Write, ...], takes_us: int) -> Any:
        """Do a step that writes; it is over in `takes_us`."""
        answer = call(self.cache)
        self._sync()
        over_at = self._timeline.now + takes_us
        synced_at = over_at if self.durable else (over_at // SYNC_EVERY_US + 1) * SYNC_EVERY_US
        self._pending.append(Done(call, writes, over_at, synced_at))
        return answer

    def die(self, luck: Callable[[], bool]) -> None:
        """The process is killed: of the steps in flight those stay that luck spares, up to the first that it does not."""
        self._sync()
        now = self._timeline.now
        self._rebuild([done for done in self._pending if done.over_at <= now], luck)

    def lose_power(self, luck: Callable[[], bool]) -> list[Write]:
        """The machine dies: answers the writes that were over and are lost all the same. Marks are of another boot now."""
        self._sync()
        now = self._timeline.now
        acknowledged = [done for done in self._pending if done.over_at <= now]
        self._rebuild([], luck)
        kept = len(self._pending)
        for done in self._pending:  # what came back is on the disk for good
            done.call(self._platter)
        self._pending.clear()
        self.boot += 1
        return [write for done in acknowledged[kept:] for write in done.writes]

    def _rebuild(self, kept: list[Done], luck: Callable[[], bool]) -> None:
        if len(kept) == len(self._pending):
            return
        rest = list(self._pending)[len(kept) :]
        for done in rest:
            if not luck():
                break
            done.over_at = self._timeline.now  # whoever opens the disk finds it there, or not, from now on
            done.synced_at = min(done.synced_at, done.over_at) if self.durable else done.synced_at
            kept.append(done)
        self.cache = MemoryStore()
        self.cache.restore(self._platter.snapshot())
        for done in kept:
            done.call(self.cache)
        self._pending = deque(kept)

    def _sync(self) -> None:
        now = self._timeline.now
        while self._pending and self._pending[0].synced_at <= now:
            self._pending.popleft().call(self._platter)


class DiskStore:
    """A store on a disk, for one life of a node. `takes` draws how long a step takes; `slow_us` gathers it for the host."""

    def __init__(
        self, disk: Disk, takes: Callable[[], int], watch: Callable[[tuple[Write, ...], int], Callable[[], None]]
    ) -> None:
        self.capabilities = Capabilities(durable=True, many_processes=False, many_hosts=False, promise="simulated")
        self._disk = disk
        self._takes = takes
        self._watch = watch
        self._holder = ""
        self.slow_us = 0

    def open(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def enter(self, holder: str) -> None:
        """Note the name of this life."""
        self._holder = holder

    def is_dead(self, holder: str) -> bool:
        """Whoever is not this life: the disk has one user at a time."""
        return holder != self._holder

    def tidy(self) -> bool:
        """Do nothing: there is nothing to put in order."""
        return False

    def _write(self, call: Callable[[MemoryStore], Any], writes: tuple[Write, ...] = ()) -> Any:
        takes_us = self._takes()
        answer = self._disk.do(call, writes, self.slow_us + takes_us)
        self.slow_us += takes_us
        return answer

    def lease(self) -> Lease | None:
        return self._disk.cache.lease()

    def take_lease(self, holder: str, address: str, seen: Lease | None) -> Lease | None:
        lease: Lease | None = self._write(lambda store: store.take_lease(holder, address, seen))
        return lease

    def renew_lease(self, holder: str, epoch: int) -> int:
        beat: int = self._write(lambda store: store.renew_lease(holder, epoch))
        return beat

    def last_seq(self) -> int:
        return self._disk.cache.last_seq()

    def commit(self, writes: Sequence[Write], *, epoch: int, holder: str, seq: int) -> Committed:
        """Commit, with the referee looking on before and after."""
        batch = tuple(writes)
        after = self._watch(batch, epoch)
        committed: Committed = self._write(
            lambda store: store.commit(batch, epoch=epoch, holder=holder, seq=seq), batch
        )
        after()
        return committed

    def found_before(self, writes: Sequence[Write]) -> Committed:
        return self._disk.cache.found_before(writes)

    def read(self, question: Question) -> list[Any]:
        return self._disk.cache.read(question)
