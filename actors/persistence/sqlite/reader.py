"""Reading a store that another process may be writing."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

from ....errors import StoreError, StoreForeign
from ..store import Lease, Question
from .connection import FAILURES, check_version, connect_reader, named
from .queries import answer, read_lease
from .schema import check_owner


class SQLiteReader:
    """The questions of a store, over a connection that cannot write; any number may be open beside the one that writes."""

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path).resolve()
        self._open: sqlite3.Connection | None = None

    def open(self) -> None:
        """Open the file, which must be there.

        Raises:
            StoreForeign: it is another program's, or empty, or a folder.
            StoreTooNew: a newer version wrote it.
            StoreError: it is not there, or cannot be read.
        """
        assert self._open is None, "the reader is open already"
        check_version()
        if self._path.is_dir():
            raise StoreForeign(f"{self._path} is a folder; the store is a file. Name one in it")
        if not self._path.exists():
            raise StoreError(f"{self._path} is not there; a scheduler makes it when it starts")
        try:
            connection = connect_reader(self._path)
            try:
                version = check_owner(connection, str(self._path))
            except BaseException:
                connection.close()
                raise
        except sqlite3.Error as error:
            raise named(error, self._path) from error
        if version == 0:
            connection.close()
            raise StoreForeign(f"{self._path} is empty; a scheduler makes its tables when it starts")
        self._open = connection

    def close(self) -> None:
        """Let go of the file. Twice is harmless."""
        connection, self._open = self._open, None
        if connection is not None:
            connection.close()

    def lease(self) -> Lease | None:
        """The lease as it stands, None before the first reign."""
        connection = self._connection
        try:
            return read_lease(connection)
        except sqlite3.Error as error:
            raise named(error, self._path) from error

    def read(self, question: Question) -> list[Any]:
        """Answer a question from one moment's content; the list's items are said at the question."""
        connection = self._connection
        try:
            connection.execute("BEGIN")
            try:
                return answer(connection, question)
            finally:
                connection.execute("COMMIT")
        except FAILURES as error:
            raise named(error, self._path) from error

    @property
    def _connection(self) -> sqlite3.Connection:
        if self._open is None:
            raise StoreError(f"{self._path}: the reader is not open")
        return self._open
