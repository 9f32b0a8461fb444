"""One file of the folder of keys: written whole or not at all, read only if nobody else could have written or read it."""

from __future__ import annotations

import os
import secrets
import stat
import tomllib
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import asdict

from ...errors import SecurityError

MAX_KEY_FILE_BYTES: Final = 16 * 1024

Record = TypeVar("Record", bound=Struct)


def read_record(path: Path, kind: type[Record]) -> Record:
    """Read a file whose fields are texts.

    Raises:
        SecurityError: it is not there, another user's, open to others, or not of this kind.
    """
    try:
        # a pipe that somebody has put there must not hold us up
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode):
                raise SecurityError(f"{path} is no file; keys are files that `callsheet keys` makes")
            check_mode(path, found, 0o600)
            content = file.read(MAX_KEY_FILE_BYTES + 1)
        if len(content) > MAX_KEY_FILE_BYTES:
            raise SecurityError(f"{path} has more than {MAX_KEY_FILE_BYTES:,} bytes and is no key")
        return msgspec.convert(tomllib.loads(content.decode("utf-8")), kind)
    except OSError as error:
        raise SecurityError(
            f"{path} cannot be read: {error.strerror}; `callsheet keys` makes such files where the cluster's keys are"
        ) from None
    except (ValueError, RecursionError):  # no UTF-8, no TOML or too deep, a number too long, or no such record
        # what is in it is not repeated: it may be a secret
        raise SecurityError(f"{path} is no file that `callsheet keys` has made; make it anew") from None


def write_record(path: Path, record: Struct, header: str, *, replaces: bool = False) -> None:
    """Write a file with mode 0600, under another name first; one that is there is overwritten only if that is meant.

    Raises:
        SecurityError: it cannot be written, or is there already.
    """
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(_as_toml(record, header))
            file.flush()
            os.fsync(descriptor)
        if replaces:
            fresh.replace(path)
        else:
            path.hardlink_to(fresh)
        _sync_folder(path.parent)
    except OSError as error:
        raise SecurityError(f"{path} cannot be written: {error.strerror}; see that its folder can be") from None
    finally:
        fresh.unlink(missing_ok=True)


def check_mode(path: Path, found: os.stat_result, wanted: int) -> None:
    """Check that nobody but this user can read or write what was found at a path.

    Raises:
        SecurityError: it is another user's, or open to others.
    """
    if found.st_uid != os.geteuid():
        raise SecurityError(
            f"{path} belongs to user {found.st_uid}, this process to {os.geteuid()}; keys must be its own"
        )
    if found.st_mode & 0o077:
        raise SecurityError(
            f"{path} is open to others (mode {stat.S_IMODE(found.st_mode):04o}); it must be {wanted:04o}: "
            f"chmod {wanted:o} {path}, and make new keys if somebody else may have read it"
        )


def _as_toml(record: Struct, header: str) -> str:
    first, *more = header.splitlines()
    lines = [f"# Callsheet. {first}", *(f"# {line}" for line in more)]
    return "\n".join([*lines, *(f"{name} = {_quote(value)}" for name, value in asdict(record).items()), ""])


def _quote(value: Any) -> str:
    assert isinstance(value, str), f"a {type(value).__name__} is no text"
    assert value.isprintable(), "a text in a key's file can be printed"
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
