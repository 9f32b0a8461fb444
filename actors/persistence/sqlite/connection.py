"""Connections to an SQLite file, and what its errors mean."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final, Literal
from urllib.parse import quote

from ....errors import DecodeError, StoreBusy, StoreError, StoreForeign, StoreFull

Synchronous = Literal["FULL", "NORMAL"]

OLDEST_SQLITE: Final = (3, 38, 0)
"""STRICT tables came with 3.37, the JSON functions are always there since 3.38."""

BUSY_TIMEOUT_MS: Final = 2_000
CACHE_KIB: Final = 16 * 1024
LOG_BYTES: Final = 4 * 1024 * 1024
"""What the write-ahead log is made to hold when the store first comes to rest. A commit into a log that need not grow is cheaper,
because the file's size and blocks stay: measured 0.31 ms against 0.47 ms (p50, one run, synchronous=FULL)."""
LARGEST_LOG_BYTES: Final = 16 * 1024 * 1024
"""To what size the log is cut back after it has grown beyond it."""
CHECKPOINT_PAGES: Final = 4_000
"""Pages in the log after which a commit brings them into the file by itself, when nobody called `tidy` before: that commit
waits some 10 ms for it. Many commits change the same pages, so the fewer of these the better."""


def connect_writer(path: Path, synchronous: Synchronous, checkpoint_pages: int) -> sqlite3.Connection:
    """Open the file for writing; it must be there, and may be empty.

    After `checkpoint_pages` in the log a commit brings them into the file; 0: it never does.

    Raises:
        StoreError: its file system does not carry the log.
        sqlite3.Error: see `named`.
    """
    connection = _connect(path, "rw")
    try:
        for pragma in (
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
            f"synchronous = {synchronous}",
            f"wal_autocheckpoint = {checkpoint_pages}",
            f"journal_size_limit = {LARGEST_LOG_BYTES}",
            f"cache_size = -{CACHE_KIB}",
            "temp_store = MEMORY",
            "foreign_keys = OFF",
            "secure_delete = OFF",
            "mmap_size = 0",
            "trusted_schema = OFF",
        ):
            connection.execute(f"PRAGMA {pragma}")
        [mode] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
        if mode != "wal":
            raise StoreError(
                f"{path}: cannot be kept in WAL mode but only in {mode!r}; its file system does not let processes share "
                f"memory. Put it on a disk of this machine"
            )
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open the file for reading only; another process may be writing.

    Raises:
        sqlite3.Error: see `named`.
    """
    connection = _connect(path, "ro")
    try:
        for pragma in (
            f"busy_timeout = {BUSY_TIMEOUT_MS}",
            "wal_autocheckpoint = 0",
            "query_only = ON",
            "mmap_size = 0",
        ):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def make_file(path: Path) -> None:
    """Make an empty file that only its owner may read, unless there is one.

    Raises:
        StoreError: it cannot be made.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return
    except OSError as error:
        raise StoreError(f"{path}: cannot be made ({error.strerror}); is the folder there and writable?") from None


def prepare_log(path: Path) -> None:
    """Fill the write-ahead log with zeros up to LOG_BYTES; call it while nobody writes.

    Zeros behind the log's end are what a reset log looks like to SQLite, which knows its end by checksums.
    """
    try:
        log = os.open(path.with_name(path.name + "-wal"), os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        size = os.fstat(log).st_size
        if size < LOG_BYTES:
            os.pwrite(log, bytes(LOG_BYTES - size), size)
            os.fsync(log)
    except OSError:
        return  # it makes commits faster, no more; a disk without room shows itself at the first commit
    finally:
        os.close(log)


FAILURES: Final = (sqlite3.Error, OverflowError, UnicodeEncodeError, DecodeError)
"""What reading and writing may raise: of a number beyond 64 bits, a text that cannot be written as UTF-8, a row that cannot be read."""


def named(error: Exception, path: Path) -> StoreError:
    """The error of ours that one of `FAILURES` stands for."""
    if isinstance(error, DecodeError):
        return StoreError(f"{path}: a row cannot be read: {error}. If no other program wrote it, go back to a backup")
    if not isinstance(error, sqlite3.Error):
        return StoreError(f"{path}: a value that cannot be stored ({error}); nothing of this batch was stored")
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if code is not None else None
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    if primary == sqlite3.SQLITE_FULL:
        return StoreFull(f"{path}: no room is left; nothing of this batch was stored. Make room on the disk")
    if primary in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreBusy(f"{path}: locked for longer than {BUSY_TIMEOUT_MS} ms; nothing of this batch was stored")
    if primary == sqlite3.SQLITE_NOTADB:
        return StoreForeign(f"{path} is not an SQLite database; it was left as it is. Choose another file")
    if primary == sqlite3.SQLITE_CONSTRAINT:
        return StoreError(f"{path}: a row of this batch is there already ({error}); nothing was stored")
    if primary == sqlite3.SQLITE_CORRUPT:
        return StoreError(
            f"{path} is damaged ({error}). Stop, keep a copy of it and of the files beside it (-wal), and go back to a "
            f"backup, or save what can be read with: sqlite3 {path.name} .recover"
        )
    if primary == sqlite3.SQLITE_CANTOPEN:
        return StoreError(f"{path}: cannot be opened; is the folder there and writable, and is it a file?")
    if primary in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM}:
        return StoreError(f"{path}: may not be written; who owns it, and is its folder writable?")
    return StoreError(f"{path}: SQLite failed with {name}: {error}")


def check_version() -> None:
    """Refuse an SQLite that is too old.

    Raises:
        StoreError: it is older than OLDEST_SQLITE.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        wanted = ".".join(map(str, OLDEST_SQLITE))
        raise StoreError(f"SQLite {wanted} or newer is needed, this Python has {sqlite3.sqlite_version}")


def _connect(path: Path, mode: str) -> sqlite3.Connection:
    return sqlite3.connect(
        f"file:{quote(os.fspath(path))}?mode={mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )
