"""A store in which something else is written than anybody can read."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path


def spoil(path: Path, old: bytes, new: bytes) -> None:
    """Write `new` (of the same length) for `old` in all definitions of an SQLite store."""
    assert len(old) == len(new), "a packed text has its length before it"
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT tenant, name, version, job FROM definitions").fetchall()
        for *key, packed in rows:
            spoiled = bytes(packed).replace(old, new)
            connection.execute(
                "UPDATE definitions SET job = ? WHERE tenant = ? AND name = ? AND version = ?", (spoiled, *key)
            )
        connection.commit()
