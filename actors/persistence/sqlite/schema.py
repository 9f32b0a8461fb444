"""The tables of the SQLite store, as a row of migrations, and how a file is recognized.

The header of an SQLite file has two numbers for its owner: `application_id` says that it is ours, `user_version` how many
migrations it has seen. A migration is a list of statements that runs in one transaction with its number, so a file stands
at one version or the next, never between. Migrations that were published are never changed; a new one is appended.

Facts (runs, ends, claims, attempts, decisions, definitions, submissions, receipts, events) are only ever inserted. What is
rewritten is `lease`, `jobs`, `conditions` and `marks`. Instants are integer microseconds. `ends.error` and `claims.entries` are
MessagePack.

Second line of defence: rows of `claims` (no claim, no start) and `jobs` (the high-water mark) carry the epoch they were
written under, and triggers refuse one that is older than the lease's.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from ....errors import StoreForeign, StoreTooNew

APPLICATION_ID: Final = 0x43534854
"""The letters CSHT, in the header of each of our files."""

Migration = tuple[str, ...]

_RUN_COLUMNS: Final = """
    run_id INTEGER PRIMARY KEY,
    tenant TEXT NOT NULL,
    job TEXT NOT NULL,
    version INTEGER NOT NULL,
    cause TEXT NOT NULL,
    slot INTEGER,
    grp TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    not_before INTEGER NOT NULL,
    priority INTEGER NOT NULL,
    arguments BLOB NOT NULL,
    token TEXT,
    parent INTEGER
"""

_FIRST: Final[Migration] = (
    """CREATE TABLE lease (
        name TEXT NOT NULL PRIMARY KEY,
        holder TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        beat INTEGER NOT NULL,
        last_seq INTEGER NOT NULL,
        address TEXT NOT NULL
    ) STRICT, WITHOUT ROWID""",
    "CREATE TABLE marks (name TEXT NOT NULL PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID",
    "INSERT INTO marks VALUES ('settled', 0)",
    """CREATE TABLE jobs (
        tenant TEXT NOT NULL,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        status TEXT NOT NULL,
        mark INTEGER NOT NULL,
        fires INTEGER NOT NULL,
        next_due INTEGER,
        linked INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        PRIMARY KEY (tenant, name)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX jobs_by_due ON jobs (next_due, tenant, name) WHERE status = 'active' AND next_due IS NOT NULL",
    "CREATE INDEX jobs_linked ON jobs (tenant, name) WHERE linked = 1",
    "CREATE INDEX jobs_paused ON jobs (tenant, name) WHERE status = 'paused'",
    """CREATE TABLE definitions (
        tenant TEXT NOT NULL,
        name TEXT NOT NULL,
        version INTEGER NOT NULL,
        job BLOB NOT NULL,
        PRIMARY KEY (tenant, name, version)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE tags (
        tenant TEXT NOT NULL,
        tag TEXT NOT NULL,
        name TEXT NOT NULL,
        PRIMARY KEY (tenant, tag, name)
    ) STRICT, WITHOUT ROWID""",
    f"CREATE TABLE runs ({_RUN_COLUMNS}) STRICT",
    "CREATE INDEX runs_by_job ON runs (tenant, job, run_id)",
    "CREATE INDEX runs_by_tenant ON runs (tenant, run_id) WHERE tenant <> 'default'",
    "CREATE INDEX runs_by_group ON runs (tenant, grp, run_id) WHERE grp <> ''",
    "CREATE UNIQUE INDEX runs_by_token ON runs (tenant, token) WHERE token IS NOT NULL",
    """CREATE TABLE ends (
        run_id INTEGER PRIMARY KEY,
        state TEXT NOT NULL,
        ended_at INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        fence INTEGER NOT NULL,
        node TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        result BLOB NOT NULL,
        error BLOB NOT NULL,
        logs BLOB NOT NULL,
        reason TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX ends_by_state ON ends (state, run_id) WHERE state <> 'SUCCEEDED'",
    """CREATE TABLE attempts (
        attempt_id INTEGER PRIMARY KEY,
        run_id INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        fence INTEGER NOT NULL,
        node TEXT NOT NULL,
        outcome TEXT NOT NULL,
        started_at INTEGER NOT NULL,
        ended_at INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        crashes INTEGER NOT NULL,
        next_at INTEGER NOT NULL,
        error BLOB NOT NULL,
        logs BLOB NOT NULL
    ) STRICT""",
    "CREATE INDEX attempts_by_run ON attempts (run_id, attempt_id)",
    """CREATE TABLE claims (
        claim_id INTEGER PRIMARY KEY,
        node TEXT NOT NULL,
        incarnation TEXT NOT NULL,
        epoch INTEGER NOT NULL,
        at INTEGER NOT NULL,
        first_run INTEGER NOT NULL,
        last_run INTEGER NOT NULL,
        fence INTEGER NOT NULL,
        entries BLOB NOT NULL
    ) STRICT""",
    "CREATE INDEX claims_by_run ON claims (last_run, first_run)",
    """CREATE TABLE conditions (
        run_id INTEGER PRIMARY KEY,
        state TEXT NOT NULL,
        at INTEGER NOT NULL,
        reason TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE decisions (
        tenant TEXT NOT NULL,
        job TEXT NOT NULL,
        slot INTEGER NOT NULL,
        last INTEGER NOT NULL,
        count INTEGER NOT NULL,
        kind TEXT NOT NULL,
        at INTEGER NOT NULL,
        run_id INTEGER,
        coalesced_into INTEGER,
        PRIMARY KEY (tenant, job, slot)
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE submissions (
        key TEXT NOT NULL PRIMARY KEY,
        first INTEGER NOT NULL,
        count INTEGER NOT NULL,
        at INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    """CREATE TABLE events (
        event_id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        kind TEXT NOT NULL,
        tenant TEXT NOT NULL,
        job TEXT NOT NULL,
        run_id INTEGER,
        text TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX events_by_tenant ON events (tenant, event_id)",
    """CREATE TRIGGER claims_fence BEFORE INSERT ON claims
        WHEN NEW.epoch < (SELECT epoch FROM lease WHERE name = 'leader')
        BEGIN SELECT RAISE(ABORT, 'callsheet: an older epoch writes'); END""",
    """CREATE TRIGGER jobs_fence_insert BEFORE INSERT ON jobs
        WHEN NEW.epoch < (SELECT epoch FROM lease WHERE name = 'leader')
        BEGIN SELECT RAISE(ABORT, 'callsheet: an older epoch writes'); END""",
    """CREATE TRIGGER jobs_fence_update BEFORE UPDATE ON jobs
        WHEN NEW.epoch < (SELECT epoch FROM lease WHERE name = 'leader')
        BEGIN SELECT RAISE(ABORT, 'callsheet: an older epoch writes'); END""",
)

_RECEIPTS: Final[Migration] = (
    """CREATE TABLE receipts (
        key TEXT NOT NULL PRIMARY KEY,
        at INTEGER NOT NULL,
        added INTEGER NOT NULL,
        changed INTEGER NOT NULL,
        same INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
)
"""Changes of jobs are remembered by the keys of the requests, as submissions are."""

_REMOVED: Final[Migration] = (
    "ALTER TABLE jobs ADD COLUMN removed INTEGER NOT NULL DEFAULT 0",
    "UPDATE jobs SET removed = version, epoch = (SELECT epoch FROM lease WHERE name = 'leader') WHERE status = 'removed'",
)
"""Which version of a job was removed is known also when the job has been declared anew."""

_UNARMED: Final[Migration] = (
    "CREATE INDEX jobs_unarmed ON jobs (tenant, name) WHERE status = 'active' AND next_due IS NULL AND fires > 0",
)
"""Jobs that count from the end of their last run are found while they wait for it."""

MIGRATIONS: Final[tuple[Migration, ...]] = (_FIRST, _RECEIPTS, _REMOVED, _UNARMED)
"""The n-th brings a file from version n-1 to n."""


def check_owner(connection: sqlite3.Connection, path: str, newest: int = len(MIGRATIONS)) -> int:
    """Answer the version of the file, 0 if it is empty; nothing is written.

    Raises:
        StoreForeign: another program made it.
        StoreTooNew: a newer version of Callsheet made it.
    """
    owner, version, tables = _header(connection)
    if owner == APPLICATION_ID:
        if version > newest:
            raise StoreTooNew(
                f"{path} was written by a newer Callsheet (its tables have version {version}, this one knows up to "
                f"{newest}); upgrade this installation, or choose another file"
            )
        return version
    if owner != 0 or version != 0 or tables > 0:
        raise StoreForeign(
            f"{path} is an SQLite database of another program (application_id {owner}, expected {APPLICATION_ID}); "
            f"it was left as it is. Choose another file"
        )
    return 0


def migrate(connection: sqlite3.Connection, path: str, migrations: Sequence[Migration] = MIGRATIONS) -> int:
    """Bring the file to the newest version, one transaction for each step; answer how many steps that took.

    To be called under the write lock, unless the file is known to be at the newest version.

    Raises:
        StoreForeign, StoreTooNew: as `check_owner`.
    """
    version = check_owner(connection, path, len(migrations))
    for number in range(version, len(migrations)):
        connection.execute("BEGIN IMMEDIATE")
        for statement in migrations[number]:
            connection.execute(statement)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {number + 1}")
        connection.execute("COMMIT")
    return len(migrations) - version


def _header(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """The owner, the version and the number of things in the file, all of one moment: another process may be making it."""
    connection.execute("BEGIN")
    try:
        owner = _number(connection, "PRAGMA application_id")
        version = _number(connection, "PRAGMA user_version")
        return owner, version, _number(connection, "SELECT count(*) FROM sqlite_schema")
    finally:
        connection.execute("ROLLBACK")


def _number(connection: sqlite3.Connection, query: str) -> int:
    return int(connection.execute(query).fetchone()[0])
