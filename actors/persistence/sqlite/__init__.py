"""The store in an SQLite file."""

from .reader import SQLiteReader
from .store import SQLiteStore

__all__ = ["SQLiteReader", "SQLiteStore"]
