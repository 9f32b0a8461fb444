"""The disk of a simulated world: what is left of a store when a process dies, and when the machine does.

    commit ─▶ cache (what every reader sees, survives a kill) ──sync──▶ platter (survives the loss of power)

Each step that writes takes a while; until it is over it is *in flight*, and a death in that time may find it done or not.
Where the store is durable a step is synced when it is over, otherwise only now and then (as SQLite's NORMAL does).

One process writes at a time: it holds the lock until its step is over, and one that stands still meanwhile goes on holding it.
Others wait, and are told that the store is busy when they waited too long. What is in flight is seen by none of them; but when
another one queues behind a step, that one's fate is sealed: it will be found done. Who dies while it waits has done nothing, and
the lock stays with who has it.

The store in memory is the cache and the platter; steps are done on the cache at once and on the platter when they are
synced. A death puts a new cache together: the platter, and those of the later steps that were lucky.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from msgspec import Struct

from callsheet.actors.persistence.memory import MemoryStore
from callsheet.actors.persistence.memory.tables import Tables
from callsheet.actors.persistence.store import Capabilities, Committed, Lease, Question, Write
from callsheet.errors import StoreBusy
from simulation.virtual import Timeline

SYNC_EVERY_US: Final = 5_000_000
BUSY_US: Final = 2_000_000
"""How long a process waits for the lock, as the real store does."""


class Done(Struct):
    """A step that was done on the cache by `owner`: it begins at `begins_at`, when the lock is free and what its process has to do
    before is done, is over at `over_at`, and synced at `synced_at`. `lease` is how it was before.
    """

    call: Callable[[MemoryStore], Any]
    writes: tuple[Write, ...]
    owner: object
    lease: Lease | None
    begins_at: int
    over_at: int
    synced_at: int
    sealed: bool = False


class Disk:
    """Holds what outlives a process."""

    def __init__(self, timeline: Timeline, *, durable: bool) -> None:
        self._timeline = timeline
        self.durable = durable
        self.cache = MemoryStore()
        self._platter = MemoryStore()
        self._pending: deque[Done] = deque()
        self._lock_owner: object = None
        self._lock_until = 0

    @property
    def tables(self) -> Tables:
        """What is stored, as a reader sees it now."""
        return self.cache._tables

    @property
    def synced(self) -> Tables:
        """What would be left if the power went now, and luck with it."""
        self._sync()
        return self._platter._tables

    def lease(self, reader: object) -> Lease | None:
        """The lease as this process sees it: what others have in flight it does not."""
        unseen = self._unseen(reader)
        return unseen[0].lease if unseen else self.cache.lease()

    def view(self, reader: object) -> MemoryStore:
        """The store as this process may read it; not to be written to."""
        unseen = self._unseen(reader)
        if not unseen:
            return self.cache
        view = MemoryStore()
        view.restore(self._platter.snapshot())
        for done in list(self._pending)[: len(self._pending) - len(unseen)]:
            done.call(view)
        return view

    def _unseen(self, reader: object) -> list[Done]:
        """The last steps, that are not over. Who has a step of its own behind another's has waited for that one."""
        unseen: list[Done] = []
        for done in reversed(self._pending):
            if done.over_at <= self._timeline.now or done.owner is reader:
                break
            unseen.insert(0, done)
        return unseen

    def wait_us(self, owner: object, at: int) -> int:
        """How long this process must wait for the lock, at an instant."""
        return 0 if self._lock_owner is owner else max(0, self._lock_until - at)

    def do(
        self,
        call: Callable[[MemoryStore], Any],
        writes: tuple[Write, ...],
        owner: object,
        *,
        begins_us: int,
        takes_us: int,
    ) -> Any:
        """Do a step that writes; it begins in `begins_us` and takes `takes_us`, and until it is over the owner holds the lock."""
        lease = self.cache.lease()
        for done in reversed(self._pending):
            if done.over_at <= self._timeline.now or done.owner is owner:
                break
            done.sealed = True
        answer = call(self.cache)
        self._sync()
        begins_at = self._timeline.now + begins_us
        over_at = begins_at + takes_us
        self._lock_owner, self._lock_until = owner, over_at
        self._pending.append(Done(call, writes, owner, lease, begins_at, over_at, self._synced_at(over_at)))
        return answer

    def stand_still(self, owner: object, until: int) -> None:
        """A process stands still until then: what it has in flight is not over before, and as long it holds the lock."""
        if self._lock_owner is not owner or self._lock_until <= self._timeline.now:
            return
        in_flight = [done for done in self._pending if done.over_at > self._timeline.now]
        if any(done.sealed for done in in_flight):
            return
        self._lock_until = max(self._lock_until, until)
        for done in in_flight:
            done.over_at = max(done.over_at, until)
            done.synced_at = self._synced_at(done.over_at)

    def is_locked_by(self, owner: object) -> bool:
        """Whether this process is in the middle of a step that writes."""
        return self._lock_owner is owner and self._lock_until > self._timeline.now

    def die(self, luck: Callable[[], bool], owner: object = None) -> None:
        """A process is killed: of its steps in flight those stay that have begun and luck spares, up to the first that it does not."""
        self._sync()
        now = self._timeline.now
        at_stake = [done for done in self._pending if done.over_at > now and done.owner is owner and not done.sealed]
        self._rebuild(list(self._pending)[: len(self._pending) - len(at_stake)], luck)
        last = next((done for done in reversed(self._pending) if done.over_at > now), None)
        self._lock_owner, self._lock_until = (None, 0) if last is None else (last.owner, last.over_at)

    def lose_power(self, luck: Callable[[], bool]) -> list[Write]:
        """The machine dies: answers the writes that were over and are lost all the same."""
        self._sync()
        now = self._timeline.now
        acknowledged = [done for done in self._pending if done.over_at <= now]
        self._rebuild([], luck)
        kept = len(self._pending)
        for done in self._pending:  # what came back is on the disk for good
            done.call(self._platter)
        self._pending.clear()
        self._lock_owner, self._lock_until = None, 0
        return [write for done in acknowledged[kept:] for write in done.writes]

    def _rebuild(self, kept: list[Done], luck: Callable[[], bool]) -> None:
        if len(kept) == len(self._pending):
            return
        rest = list(self._pending)[len(kept) :]
        for done in rest:
            if done.begins_at > self._timeline.now or not luck():
                break
            done.over_at = self._timeline.now  # whoever opens the disk finds it there, or not, from now on
            done.synced_at = min(done.synced_at, done.over_at) if self.durable else done.synced_at
            kept.append(done)
        self.cache = MemoryStore()
        self.cache.restore(self._platter.snapshot())
        for done in kept:
            done.call(self.cache)
        self._pending = deque(kept)

    def _synced_at(self, over_at: int) -> int:
        return over_at if self.durable else (over_at // SYNC_EVERY_US + 1) * SYNC_EVERY_US

    def _sync(self) -> None:
        now = self._timeline.now
        while self._pending and self._pending[0].synced_at <= now:
            self._pending.popleft().call(self._platter)


class Watcher(Protocol):
    """Looks on when a store is written to."""

    def on_commit(self, writes: tuple[Write, ...], epoch: int) -> Callable[[], None]:
        """A batch is about to be written; what is answered is called when it was."""

    def on_take_over(self, seen: Lease | None, found: Lease | None, taken: Lease | None) -> None:
        """The lease was `found` when it was to be taken over as `seen`."""


class DiskStore:
    """A store on a disk, for one life of a node, `owner`.

    `takes` draws how long a step takes; `slow_us` gathers it for the host.
    """

    def __init__(
        self,
        disk: Disk,
        takes: Callable[[], int],
        watcher: Watcher,
        *,
        owner: object = None,
        is_dead: Callable[[str], bool] = lambda holder: False,
        many_hosts: bool = False,
    ) -> None:
        self.capabilities = Capabilities(durable=True, many_processes=True, many_hosts=many_hosts, promise="simulated")
        self._disk = disk
        self._takes = takes
        self._watcher = watcher
        self._owner = owner
        self._is_dead = is_dead
        self.slow_us = 0

    def open(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def enter(self, holder: str) -> None:
        """Do nothing: the world knows who lives."""

    def is_dead(self, holder: str) -> bool:
        """Whether the process that holds the lease is no more, for certain."""
        return self._is_dead(holder)

    def tidy(self) -> bool:
        """Do nothing: there is nothing to put in order."""
        return False

    def _write(self, call: Callable[[MemoryStore], Any], writes: tuple[Write, ...] = ()) -> Any:
        wait_us = self._disk.wait_us(self._owner, self._disk._timeline.now + self.slow_us)
        if wait_us > BUSY_US:
            self.slow_us += BUSY_US
            raise StoreBusy(f"locked by another process for longer than {BUSY_US // 1000} ms")
        self.slow_us += wait_us
        takes_us = self._takes()
        answer = self._disk.do(call, writes, self._owner, begins_us=self.slow_us, takes_us=takes_us)
        self.slow_us += takes_us
        return answer

    def lease(self) -> Lease | None:
        return self._disk.lease(self._owner)

    def take_lease(self, holder: str, address: str, seen: Lease | None) -> Lease | None:
        found = self._disk.cache.lease()
        lease: Lease | None = self._write(lambda store: store.take_lease(holder, address, seen))
        self._watcher.on_take_over(seen, found, lease)
        return lease

    def renew_lease(self, holder: str, epoch: int) -> int:
        beat: int = self._write(lambda store: store.renew_lease(holder, epoch))
        return beat

    def last_seq(self) -> int:
        return self._disk.cache.last_seq()

    def commit(self, writes: Sequence[Write], *, epoch: int, holder: str, seq: int) -> Committed:
        """Commit, with the watcher looking on before and after."""
        batch = tuple(writes)
        after = self._watcher.on_commit(batch, epoch)
        committed: Committed = self._write(
            lambda store: store.commit(batch, epoch=epoch, holder=holder, seq=seq), batch
        )
        after()
        return committed

    def found_before(self, writes: Sequence[Write]) -> Committed:
        return self._disk.cache.found_before(writes)

    def read(self, question: Question) -> list[Any]:
        return self._disk.view(self._owner).read(question)
