"""Where the nodes on one machine's store listen: one rule for the node that binds and for whoever looks at what is there.

Each life of a node has a socket of its own, `<store>.nodes/<incarnation>.ipc` in a folder that only its owner may enter. The
system limits the path of a socket to about a hundred bytes; for a longer one it is in a folder of the user's own below the
folder for temporary files, under a name made from the store's path and the incarnation.

A process that is killed leaves its socket behind. Nobody is ever led there, because the store's lease names the address of who
lives; it is swept away when the next node makes its folder.
"""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
import tempfile
import time
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

SCHEME: Final = "ipc://"

MAX_PATH_BYTES: Final = 103
"""Bytes of a socket's path: 104 with the final zero on BSD and macOS, 108 on Linux."""

LEFT_OVER_AFTER_S: Final = 60.0
"""A socket at which nobody listens is left over when it is older than this; a younger one may be about to be listened at."""

SWEPT_AT_ONCE: Final = 1_000
"""Sockets that are looked at when a folder is made."""


def ipc_endpoint(store_path: Path, incarnation: str) -> str:
    """Return the address at which this life of a node listens, for who shares the store in this file; nothing is made."""
    near = Path(f"{store_path}.nodes") / f"{incarnation}.ipc"
    if len(os.fsencode(near)) <= MAX_PATH_BYTES:
        return f"{SCHEME}{near}"
    digest = hashlib.sha256(os.fsencode(store_path) + b"\0" + incarnation.encode()).hexdigest()[:32]
    return f"{SCHEME}{private_folder() / digest}.ipc"


def private_folder() -> Path:
    """Return the folder for sockets of long-named stores; it need not be there."""
    return Path(tempfile.gettempdir()) / f"callsheet-{os.getuid()}"


def living_endpoints(store_path: Path) -> list[str]:
    """Return the addresses beside the store at which somebody listens; of a long-named store they are not known."""
    folder = Path(f"{store_path}.nodes")
    try:
        with os.scandir(folder) as entries:
            sockets = [each for each in islice(entries, SWEPT_AT_ONCE) if _is_socket(each)]
    except OSError:  # there is no such folder
        return []
    return sorted(f"{SCHEME}{each.path}" for each in sockets if is_heard(each.path))


def make_folder(endpoint: str) -> None:
    """Make the folder of an ipc endpoint, for this user alone, and sweep away what dead nodes have left in it.

    Raises:
        OSError: it cannot be made; or it is another user's, or open to others, and somebody else could put a socket there.
    """
    folder = _path(endpoint).parent
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    _check(folder)
    _sweep(folder)


def check_folder(endpoint: str) -> None:
    """Check before connecting that nobody else could have put a socket there, when it is in the folder for long names.

    Beside a store that is not asked: who can write there could put another store there as well.

    Raises:
        OSError: the folder is another user's, or open to others, or not there.
    """
    if endpoint.startswith(SCHEME) and _path(endpoint).parent == private_folder():
        _check(private_folder())


def is_heard(path: str) -> bool:
    """Whether somebody listens at a socket; where that cannot be told, yes."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(path) not in (errno.ECONNREFUSED, errno.ENOENT)


def _is_socket(entry: os.DirEntry[str]) -> bool:
    return stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode)


def _path(endpoint: str) -> Path:
    assert endpoint.startswith(SCHEME), f"{endpoint!r} is no ipc endpoint"
    return Path(endpoint.removeprefix(SCHEME))


def _check(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder of this user alone (0700); remove it, and it is made anew")


def _sweep(folder: Path) -> None:
    """Remove sockets of nodes that are no more."""
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in islice(entries, SWEPT_AT_ONCE):
            with suppress(OSError):  # somebody else was faster
                found = entry.stat(follow_symlinks=False)
                is_old = time.time() - found.st_mtime > LEFT_OVER_AFTER_S
                if stat.S_ISSOCK(found.st_mode) and is_old and not is_heard(entry.path):
                    Path(entry.path).unlink()
