"""The store in an SQLite file: the default, for one machine.

A commit is one transaction on the one connection that writes:

    BEGIN IMMEDIATE            nobody else writes from here on
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
Lock.     One process at a time: `flock` on `<path>.lock`, which dies with its holder. Up to SQLite 3.51.2 two connections
          that write or checkpoint at once in WAL mode can damage the file, so there is one; readers never do either.
Unknown.  An I/O error during COMMIT leaves the outcome open. The next call of any method opens the file anew, lets SQLite
          recover it, and writes what the log holds into the file and syncs that, before anything is believed: after a
          failed sync a second one of the same pages would report success for what never reached the disk.
Full.     No room, a lock held too long: the transaction is rolled back, nothing of it is there.

A file on a network file system is not safe: its locks and syncs are not what SQLite needs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from ....errors import Fenced, StoreBusy, StoreError, StoreForeign, StoreFull, StoreUnknown
from ..process_lock import ProcessLock
from ..store import Capabilities, Committed, Lease, Question, Write
from .connection import Synchronous, check_version, connect_reader, connect_writer, make_file, named, prepare_log
from .queries import LEASE, answer, read_lease
from .reader import SQLiteReader
from .schema import MIGRATIONS, Migration, check_owner, migrate
from .writes import Batch

Answer = TypeVar("Answer")

_PROMISES: Final[dict[Synchronous, str]] = {
    "FULL": "What was acknowledged is on the disk, and survives a kill of the process and a loss of power.",
    "NORMAL": "What was acknowledged survives a kill of the process; a loss of power may take the last commits with it.",
}


class SQLiteStore:
    """A store in the file at `path`, which is made if it is not there; one process at a time may open it."""

    def __init__(
        self,
        path: str | Path,
        synchronous: Synchronous = "FULL",
        *,
        migrations: Sequence[Migration] = MIGRATIONS,
    ) -> None:
        self._path = Path(path).resolve()
        self._synchronous: Synchronous = synchronous
        self._migrations = migrations
        self._lock = ProcessLock(self._path)
        self._open: sqlite3.Connection | None = None
        self._suspect = False
        self._untidy = True
        self._found = Committed()
        self.capabilities = Capabilities(
            durable=True, many_processes=False, many_hosts=False, promise=_PROMISES[synchronous]
        )

    @property
    def path(self) -> Path:
        """Where the file is; what belongs to the store (lock, start marks, control socket) stands beside it."""
        return self._path

    # ---- opening --------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the file or bring it to the newest version, and hold it until `close`.

        Raises:
            StoreForeign: it is another program's, or a folder.
            StoreTooNew: a newer version wrote it.
            StoreInUse: another process holds it.
            StoreError: it cannot be opened; the text says why.
        """
        assert self._open is None, "the store is open already"
        check_version()
        self._look()
        self._lock.take()
        try:
            make_file(self._path)
            self._open = self._connect()
        except BaseException:
            self._lock.release()
            raise

    def _look(self) -> None:
        """Refuse a file that is not ours before anything is made or written beside it."""
        if self._path.is_dir():
            raise StoreForeign(f"{self._path} is a folder; the store is a file. Name one in it")
        if not self._path.exists():
            return
        try:
            connection = connect_reader(self._path)
            try:
                check_owner(connection, str(self._path), len(self._migrations))
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise named(error, self._path) from error

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = connect_writer(self._path, self._synchronous)
            try:
                migrate(connection, str(self._path), self._migrations)
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise named(error, self._path) from error
        return connection

    def close(self) -> None:
        """Let go of the file; what was committed stays. Twice is harmless."""
        connection, self._open = self._open, None
        try:
            if connection is not None:
                connection.close()
        except sqlite3.Error as error:
            raise named(error, self._path) from error
        finally:
            self._lock.release()

    def open_reader(self) -> SQLiteReader:
        """A reader of the same file with a connection of its own, opened: for another thread."""
        reader = SQLiteReader(self._path)
        reader.open()
        return reader

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            raise StoreError(f"{self._path}: the store is not open")
        if self._suspect:
            self._reconnect()
        return self._open

    def _reconnect(self) -> None:
        """Read back what the disk says after a failure, and bring all of it from the log to the file before it is believed.

        A log page that could not be synced may be in the system's cache and not on the disk, and a second sync would not
        tell; so what the log says is written once more, into the file.
        """
        assert self._open is not None, "the store is not open"
        self._suspect = True
        self._open.close()
        self._open = self._connect()
        try:
            busy, pages, moved = self._open.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        except sqlite3.Error as error:
            raise named(error, self._path) from error
        if busy or pages != moved:
            raise StoreBusy(f"{self._path}: readers keep the log from being brought in after a failure; try again")
        self._suspect = False

    # ---- the lease ------------------------------------------------------------------------------------------------------

    def lease(self) -> Lease | None:
        """The lease as it stands, None before the first reign."""
        return self._ask(read_lease)

    def take_lease(self, holder: str, address: str, seen: Lease | None) -> Lease | None:
        """Take over, if the lease still is as it was seen; None: the race is lost."""
        if seen is None:
            query = (
                "INSERT INTO lease (name, holder, epoch, beat, last_seq, address) VALUES (?, ?, 1, 0, 0, ?) "
                "ON CONFLICT DO NOTHING RETURNING epoch"
            )
            values: tuple[Any, ...] = (LEASE, holder, address)
        else:
            query = (
                "UPDATE lease SET holder = ?, epoch = epoch + 1, beat = 0, last_seq = 0, address = ? "
                "WHERE name = ? AND epoch = ? AND beat = ? RETURNING epoch"
            )
            values = (holder, address, LEASE, seen.epoch, seen.beat)
        rows = self._ask(lambda connection: connection.execute(query, values).fetchall())
        return Lease(holder=holder, epoch=rows[0][0], beat=0, last_seq=0, address=address) if rows else None

    def renew_lease(self, holder: str, epoch: int) -> int:
        """Beat once; answer the beat.

        Raises:
            Fenced: the lease is another's.
        """
        query = "UPDATE lease SET beat = beat + 1 WHERE name = ? AND holder = ? AND epoch = ? RETURNING beat"
        rows = self._ask(lambda connection: connection.execute(query, (LEASE, holder, epoch)).fetchall())
        if not rows:
            raise self._fenced(holder, epoch)
        return int(rows[0][0])

    def last_seq(self) -> int:
        """The seq of the newest batch of this reign that took effect, 0 if none did."""
        lease = self.lease()
        return lease.last_seq if lease is not None else 0

    def _fenced(self, holder: str, epoch: int) -> Fenced:
        return Fenced(f"{self._path}: epoch {epoch} of {holder} is over: the lease is {read_lease(self._connection)}")

    # ---- writing --------------------------------------------------------------------------------------------------------

    def commit(self, writes: Sequence[Write], *, epoch: int, holder: str, seq: int) -> Committed:
        """Do all writes in order, in one transaction, and set the lease's last_seq to `seq`.

        Raises:
            Fenced, StoreFull, StoreBusy: nothing of it was stored.
            StoreUnknown: the disk failed while it was committed; `last_seq` tells, once it answers again.
        """
        connection = self._connection
        batch = Batch(writes)
        try:
            connection.execute("BEGIN IMMEDIATE")
            held = connection.execute(
                "UPDATE lease SET last_seq = ? WHERE name = ? AND holder = ? AND epoch = ?", (seq, LEASE, holder, epoch)
            ).rowcount
            if not held:
                raise self._fenced(holder, epoch)
            self._found = batch.write(connection, epoch)
        except BaseException as error:
            self._roll_back()
            if isinstance(error, sqlite3.Error):
                raise self._named(error) from error
            raise
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            raise self._failed_commit(error) from error
        self._untidy = True
        return self._found

    def found_before(self, writes: Sequence[Write]) -> Committed:
        """What the newest commit found there before; it was known before the COMMIT whose outcome is not."""
        return self._found

    def _named(self, error: sqlite3.Error) -> StoreError:
        if "an older epoch writes" in str(error):
            return Fenced(f"{self._path}: a trigger refused rows of an older epoch")
        return named(error, self._path)

    def _roll_back(self) -> None:
        """End the transaction; if even that fails, a new connection has none."""
        connection = self._connection
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._reconnect()

    def _failed_commit(self, error: sqlite3.Error) -> StoreError:
        """What a COMMIT that failed means: without room or lock nothing was stored, with any other error nobody knows."""
        meaning = self._named(error)
        if isinstance(meaning, (StoreFull, StoreBusy)):
            self._roll_back()
            return meaning
        self._suspect = True
        return StoreUnknown(f"{self._path}: the commit was cut off ({error}); whether it took effect must be read back")

    def tidy(self) -> bool:
        """Bring what stands in the log into the file, so that a later commit need not; True if there was anything.

        Takes some milliseconds: to be called when nothing else waits. The first time it also makes the log as large as it
        will be needed. A reader may keep a part for the next time.
        """
        if not self._untidy:
            return False
        self._ask(lambda connection: connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall())
        prepare_log(self._path)
        self._untidy = False
        return True

    # ---- reading --------------------------------------------------------------------------------------------------------

    def read(self, question: Question) -> list[Any]:
        """Answer a question; the list's items are said at the question."""
        return self._ask(lambda connection: answer(connection, question))

    def _ask(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        try:
            return work(self._connection)
        except sqlite3.Error as error:
            raise self._named(error) from error
