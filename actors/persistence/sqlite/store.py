"""The store in an SQLite file: the default, for one machine.

Any number of processes may have it open. One of them leads, and writes what there is to write; the others read, and watch
the lease. A commit is one transaction:

    <path>.lock                the write lock: nobody else writes or checkpoints from here on
    BEGIN IMMEDIATE
    UPDATE lease SET last_seq  where holder and epoch are ours; no row: ROLLBACK, Fenced
    INSERT …                   one statement for up to 256 rows of a table
    COMMIT                     pages to the log; with synchronous=FULL one fdatasync of the log

Log.      The file is in WAL mode: a commit appends the pages it changed to `-wal`, and a checkpoint brings them into the file
          later. `synchronous=FULL` syncs the log with each commit; NORMAL only at checkpoints, so a loss of power may take
          the last commits, always from the end and never a part of one. A kill of the process takes nothing in either.
          `tidy` checkpoints when nothing else waits, and makes the log large once, so that a commit does not pay for either.
Fence.    The lease is a row, and a commit that does not find itself in it writes nothing. Behind that stand triggers:
          rows of `claims` and `jobs` carry the epoch they were written under, and the file refuses one that is older than
          the lease's, whoever writes it. So a forgotten check starts no run and moves no mark; runs, ends and events are
          not covered (a check of each of their rows costs more than it is worth: they follow from the two).
Lock.     Up to SQLite 3.51.2 two connections that write or checkpoint at once in WAL mode can damage the file. So every
          transaction that writes and every checkpoint takes `flock` on `<path>.lock` first, for itself alone, and frees it;
          it dies with its holder. Only who leads checkpoints when the log has grown, or when nothing else waits.
Dead.     Each process holds a lock on a file of its own in `<path>.nodes/`, which the kernel frees with the process: so that a
          holder of the lease is dead is known at once, and need not be waited for. See `lives`.
Frozen.   A process that is stopped in the middle of its transaction keeps the write lock, and no lease could be taken from it
          ever. So who waits for the lock for long looks who keeps it, and ends that process with SIGKILL if it is a node of this
          store, is stopped, and is this user's; else it is left alone. See `process`. What it was writing is rolled back by its
          death. One that is stopped without the lock is left alone: when it goes on, its next
          write finds another epoch in the lease, and it writes nothing.
Unknown.  An I/O error during COMMIT leaves the outcome open. The next call of any method opens the file anew, lets SQLite
          recover it, writes what the log holds into the file, syncs that and empties the log, before anything is believed:
          after a failed sync a second one of the same pages would report success for what never reached the disk.
Full.     No room, a lock held too long: the transaction is rolled back, nothing of it is there.

A file on a network file system is not safe: its locks and syncs are not what SQLite needs.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from ....errors import Fenced, StoreError
from ..store import Capabilities, Committed, Lease, Question, Write
from .connection import Synchronous
from .file import StoreFile
from .lives import Lives
from .process import end_if_frozen
from .queries import LEASE, answer, read_lease
from .reader import SQLiteReader
from .schema import MIGRATIONS, Migration
from .writes import Batch

logger: Final = logging.getLogger(__name__)

_PROMISES: Final[dict[Synchronous, str]] = {
    "FULL": "What was acknowledged is on the disk, and survives a kill of the process and a loss of power.",
    "NORMAL": "What was acknowledged survives a kill of the process; a loss of power may take the last commits with it.",
}

_FIRST_REIGN: Final = (
    "INSERT INTO lease (name, holder, epoch, beat, last_seq, address) VALUES (?, ?, 1, 0, 0, ?) "
    "ON CONFLICT DO NOTHING RETURNING epoch"
)
_NEXT_REIGN: Final = (
    "UPDATE lease SET holder = ?, epoch = epoch + 1, beat = 0, last_seq = 0, address = ? "
    "WHERE name = ? AND epoch = ? AND beat = ? RETURNING epoch"
)
_BEAT: Final = "UPDATE lease SET beat = beat + 1 WHERE name = ? AND holder = ? AND epoch = ? RETURNING beat"
_COUNT: Final = "UPDATE lease SET last_seq = ? WHERE name = ? AND holder = ? AND epoch = ?"


class SQLiteStore:
    """A store in the file at `path`, which is made if it is not there; the processes of one machine may share it."""

    def __init__(
        self,
        path: str | Path,
        synchronous: Synchronous = "FULL",
        *,
        migrations: Sequence[Migration] = MIGRATIONS,
    ) -> None:
        self._file = StoreFile(Path(path).resolve(), synchronous, migrations, self._end_frozen)
        self._lives = Lives(self._file.path)
        self._reign: tuple[str, int] | None = None
        self._untidy = True
        self._found = Committed()
        self.capabilities = Capabilities(
            durable=True, many_processes=True, many_hosts=False, promise=_PROMISES[synchronous]
        )

    @property
    def path(self) -> Path:
        """Where the file is; what belongs to the store (lock, lives, local sockets, start marks) stands beside it."""
        return self._file.path

    # ---- opening --------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the file or bring it to the newest version.

        Raises:
            StoreForeign: it is another program's, or a folder.
            StoreTooNew: a newer version wrote it.
            StoreBusy: another process is making it, and does not come to an end.
            StoreError: it cannot be opened; the text says why.
        """
        self._file.open()

    def close(self) -> None:
        """Let go of the file; what was committed stays. Twice is harmless."""
        leads = bool(self._lives.name) and self._holds_lease()
        self._reign = None
        try:
            self._file.close()
        finally:
            self._lives.leave(keep=leads)

    def _holds_lease(self) -> bool:
        """Whether the lease names this process; then the next one is to see that it is gone."""
        try:
            lease = self.lease()
        except StoreError:
            return True
        return lease is not None and lease.holder == self._lives.name

    def open_reader(self) -> SQLiteReader:
        """A reader of the same file with a connection of its own, opened: for another thread."""
        reader = SQLiteReader(self.path)
        reader.open()
        return reader

    # ---- who lives ------------------------------------------------------------------------------------------------------

    def enter(self, holder: str) -> None:
        """From now on this process is known as `holder`.

        Raises:
            NameTaken: another process that lives has this name.
            StoreError: it cannot be made known.
        """
        if not self._file.is_open:
            raise StoreError(f"{self.path}: the store is not open")
        self._lives.enter(holder)

    def is_dead(self, holder: str) -> bool:
        """Whether the process of this name is gone for certain; False of who never entered, or was swept."""
        return self._lives.is_dead(holder)

    def _end_frozen(self) -> None:
        """End a node of this store that is stopped and keeps the write lock."""
        for life in self._lives.others():
            if end_if_frozen(life.process, life.started_at, self._file.write_lock.file.descriptor):
                logger.warning(
                    "ended process %d with SIGKILL: it is stopped, is a node of %s, and keeps its write lock",
                    life.process,
                    self.path,
                )

    # ---- the lease ------------------------------------------------------------------------------------------------------

    def lease(self) -> Lease | None:
        """The lease as it stands, None before the first reign."""
        return self._file.read(read_lease)

    def take_lease(self, holder: str, address: str, seen: Lease | None) -> Lease | None:
        """Take over, if the lease still is as it was seen; None: the race is lost.

        Raises:
            StoreFull, StoreBusy: nothing was done.
            StoreUnknown: the disk failed; `lease` tells, once it answers again.
        """
        if seen is None:
            query = _FIRST_REIGN
            values: tuple[Any, ...] = (LEASE, holder, address)
        else:
            query = _NEXT_REIGN
            values = (holder, address, LEASE, seen.epoch, seen.beat)
        rows = self._file.transact(lambda connection: connection.execute(query, values).fetchall())
        if not rows:
            return None
        [(epoch,)] = rows
        self._reign = (holder, epoch)
        self._file.lead(True)
        self._lives.sweep()
        return Lease(holder=holder, epoch=epoch, beat=0, last_seq=0, address=address)

    def renew_lease(self, holder: str, epoch: int) -> int:
        """Beat once; answer the beat.

        Raises:
            Fenced: the lease is another's.
        """

        def beat(connection: sqlite3.Connection) -> int:
            rows = connection.execute(_BEAT, (LEASE, holder, epoch)).fetchall()
            if not rows:
                raise self._fenced(connection, holder, epoch)
            return int(rows[0][0])

        try:
            return self._file.transact(beat)
        except Fenced:
            self._stand_back((holder, epoch))
            raise

    def last_seq(self) -> int:
        """The seq of the newest batch of this reign that took effect, 0 if none did."""
        lease = self.lease()
        return lease.last_seq if lease is not None else 0

    def _stand_back(self, reign: tuple[str, int]) -> None:
        """A reign has ended: from now on another process brings the log into the file."""
        if reign == self._reign:
            self._reign = None
            with suppress(StoreError):  # a connection that failed is replaced by one that leaves the log alone
                self._file.lead(False)

    def _fenced(self, connection: sqlite3.Connection, holder: str, epoch: int) -> Fenced:
        return Fenced(f"{self.path}: epoch {epoch} of {holder} is over: the lease is {read_lease(connection)}")

    # ---- writing --------------------------------------------------------------------------------------------------------

    def commit(self, writes: Sequence[Write], *, epoch: int, holder: str, seq: int) -> Committed:
        """Do all writes in order, in one transaction, and set the lease's last_seq to `seq`.

        Raises:
            Fenced, StoreFull, StoreBusy: nothing of it was stored.
            StoreUnknown: the disk failed while it was committed; `last_seq` tells, once it answers again.
        """
        batch = Batch(writes)

        def write(connection: sqlite3.Connection) -> None:
            if not connection.execute(_COUNT, (seq, LEASE, holder, epoch)).rowcount:
                raise self._fenced(connection, holder, epoch)
            self._found = batch.write(connection, epoch)

        try:
            self._file.transact(write)
        except Fenced:
            self._stand_back((holder, epoch))
            raise
        self._untidy = True
        return self._found

    def found_before(self, writes: Sequence[Write]) -> Committed:
        """What the newest commit found there before; it was known before the COMMIT whose outcome is not."""
        return self._found

    def tidy(self) -> bool:
        """Bring what stands in the log into the file, so that a later commit need not; True if there was anything.

        Takes some milliseconds: to be called when nothing else waits. The first time it also makes the log as large as it
        will be needed. A reader may keep a part for the next time. Who does not lead does nothing.
        """
        if not self._untidy or self._reign is None:
            return False
        if not self._file.checkpoint(self._still_leads):
            self._stand_back(self._reign)
            return False
        self._untidy = False
        return True

    def _still_leads(self, connection: sqlite3.Connection) -> bool:
        lease = read_lease(connection)
        return lease is not None and (lease.holder, lease.epoch) == self._reign

    # ---- reading --------------------------------------------------------------------------------------------------------

    def read(self, question: Question) -> list[Any]:
        """Answer a question; the list's items are said at the question."""
        return self._file.read(lambda connection: answer(connection, question))
