"""The one connection of a store to its file: how it is opened, how it writes, and what it does after a failure.

    reading ──▶ at any time, beside whoever writes
    transact ─▶ write lock ─▶ BEGIN IMMEDIATE ─▶ work ─▶ COMMIT ─▶ write lock freed
                                  │ fails: ROLLBACK, nothing is there
                                  └ COMMIT fails: suspect, until `_reconnect` has read back what the disk says

A store that leads brings the log into the file by itself when it has grown; one that does not lead never does.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from ....errors import Fenced, StoreBusy, StoreError, StoreForeign, StoreFull, StoreUnknown
from .connection import (
    CHECKPOINT_PAGES,
    FAILURES,
    Synchronous,
    check_version,
    connect_reader,
    connect_writer,
    make_file,
    named,
    prepare_log,
)
from .schema import Migration, check_owner, migrate
from .write_lock import WriteLock

Answer = TypeVar("Answer")


class StoreFile:
    """The file at `path`, opened for writing; any number of processes may have it open.

    `look` is called when others keep the write lock for long.
    """

    def __init__(
        self, path: Path, synchronous: Synchronous, migrations: Sequence[Migration], look: Callable[[], None]
    ) -> None:
        self.path = path
        self.write_lock = WriteLock(path)
        self._synchronous: Synchronous = synchronous
        self._migrations = migrations
        self._look_who_keeps = look
        self._open: sqlite3.Connection | None = None
        self._opened: os.stat_result | None = None
        self._checkpoint_pages = 0
        self._suspect = False

    @property
    def is_open(self) -> bool:
        """Whether it is open."""
        return self._open is not None

    # ---- opening --------------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Make the file or bring it to the newest version; as `SQLiteStore.open`."""
        assert self._open is None, "the store is open already"
        check_version()
        is_ready = self._look()
        self.write_lock.open()
        try:
            if is_ready:
                self._open = self._connect()
            else:
                with self.write_lock.held():
                    make_file(self.path)
                    self._open = self._connect()
            self._opened = self.path.stat()
        except BaseException:
            self.write_lock.file.close()
            raise

    def _look(self) -> bool:
        """Refuse a file that is not ours before anything is made or written beside it; answer whether it can be used as it is."""
        if self.path.is_dir():
            raise StoreForeign(f"{self.path} is a folder; the store is a file. Name one in it")
        if not self.path.exists():
            return False
        try:
            connection = connect_reader(self.path)
            try:
                version = check_owner(connection, str(self.path), len(self._migrations))
                [mode] = connection.execute("PRAGMA journal_mode").fetchone()
            finally:
                connection.close()
        except sqlite3.Error as error:
            raise named(error, self.path) from error
        return version == len(self._migrations) and mode == "wal"

    def _connect(self) -> sqlite3.Connection:
        try:
            connection = connect_writer(self.path, self._synchronous, self._checkpoint_pages)
            try:
                migrate(connection, str(self.path), self._migrations)
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise named(error, self.path) from error
        return connection

    def close(self) -> None:
        """Let go of the file. Twice is harmless."""
        connection, self._open = self._open, None
        if connection is None:
            return
        try:
            with suppress(StoreBusy):  # whoever keeps the lock has the file open; only the last to close it writes
                self.write_lock.take()
            connection.close()
        except sqlite3.Error as error:
            raise named(error, self.path) from error
        finally:
            self.write_lock.file.close()

    # ---- reading and writing --------------------------------------------------------------------------------------------

    def read(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """What `work` finds."""
        try:
            return work(self._connection())
        except FAILURES as error:
            raise named(error, self.path) from error

    def transact(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Do all that `work` writes, or nothing, in one transaction.

        Raises:
            Fenced, StoreFull, StoreBusy: nothing of it was stored.
            StoreUnknown: the disk failed while it was committed.
        """
        with self._writing() as connection:
            try:
                connection.execute("BEGIN IMMEDIATE")
                answer = work(connection)
            except BaseException as error:
                self._roll_back(connection)
                if isinstance(error, FAILURES):
                    raise self._named(error) from error
                raise
            try:
                connection.execute("COMMIT")
            except sqlite3.Error as error:
                raise self._failed_commit(connection, error) from error
        return answer

    def checkpoint(self, may: Callable[[sqlite3.Connection], bool]) -> bool:
        """Bring the log into the file as far as readers allow, and make the log as large as it will be needed.

        `may` is asked when nobody else writes any more; answers what it said.
        """
        with self._writing() as connection:
            try:
                if not may(connection):
                    return False
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except sqlite3.Error as error:
                raise named(error, self.path) from error
            prepare_log(self.path)
        return True

    def lead(self, leads: bool) -> None:
        """Bring the log into the file when it has grown, within a commit; or never."""
        pages = CHECKPOINT_PAGES if leads else 0
        if pages != self._checkpoint_pages:
            self._checkpoint_pages = pages
            self.read(lambda connection: connection.execute(f"PRAGMA wal_autocheckpoint = {pages}").fetchall())

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The connection, while nobody else writes; after a failure one that knows what the disk says."""
        if self._open is None:
            raise self._closed()
        with self.write_lock.held(self._look_who_keeps):
            self._check_place()
            if self._suspect:
                self._reconnect()
            yield self._open

    def _check_place(self) -> None:
        """Refuse to write to a file that nobody else finds: who comes next would lead another one, and what is written be lost."""
        assert self._opened is not None, "the store is not open"
        try:
            there = self.path.stat()
        except OSError:
            there = None
        if there is None or not os.path.samestat(there, self._opened):
            raise StoreError(
                f"{self.path}: was removed, or another file was put in its place, while it was open; nothing of this batch was "
                f"stored. Put it back, or stop all that use it and start them again"
            )

    def _connection(self) -> sqlite3.Connection:
        """The connection, to read."""
        if self._open is None:
            raise self._closed()
        if self._suspect:
            with self._writing():
                pass
        return self._open

    def _closed(self) -> StoreError:
        return StoreError(f"{self.path}: the store is not open")

    # ---- failures -------------------------------------------------------------------------------------------------------

    def _reconnect(self) -> None:
        """Read back what the disk says after a failure, and make it final before it is believed; under the write lock.

        A log page that could not be synced may be in the system's cache and not on the disk, and a second sync would not
        tell; so what the log says is written once more, into the file. And where others have the file open, a commit that
        was cut off may stand in the log unseen, and would come to life when the last of them is killed; so the log is
        emptied.
        """
        assert self._open is not None, "the store is not open"
        self._suspect = True
        self._open.close()
        self._open = self._connect()
        try:
            busy, _, _ = self._open.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except sqlite3.Error as error:
            raise named(error, self.path) from error
        if busy:
            raise StoreBusy(f"{self.path}: readers keep the log from being brought in after a failure; try again")
        self._suspect = False

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        """End the transaction; if even that fails, a new connection has none."""
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._suspect = True

    def _failed_commit(self, connection: sqlite3.Connection, error: sqlite3.Error) -> StoreError:
        """What a COMMIT that failed means: without room or lock nothing was stored, with any other error nobody knows."""
        meaning = self._named(error)
        if isinstance(meaning, (StoreFull, StoreBusy)):
            self._roll_back(connection)
            return meaning
        self._suspect = True
        return StoreUnknown(f"{self.path}: the commit was cut off ({error}); whether it took effect must be read back")

    def _named(self, error: Exception) -> StoreError:
        if "an older epoch writes" in str(error):
            return Fenced(f"{self.path}: a trigger refused rows of an older epoch")
        return named(error, self.path)
