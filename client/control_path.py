"""Where the control socket of a store is: one rule for the scheduler that listens and for who looks for it.

Beside the store's file, as `<file>.control`. The system limits the path of a socket to about a hundred bytes; for a longer one
it is in a folder of the user's own below the folder for temporary files, under a name made from the store's path.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import Any, Final

MAX_PATH_BYTES: Final = 103
"""Bytes of a socket's path: 104 with the final zero on BSD and macOS, 108 on Linux."""


def control_path(store: Any) -> Path | None:
    """Return where the control socket of a store is, None for a store without a file."""
    path = getattr(store, "path", None)
    return None if path is None else beside(Path(path))


def beside(file: Path) -> Path:
    """Return where the control socket of the store in this file is."""
    near = Path(f"{file}.control")
    if len(os.fsencode(near)) <= MAX_PATH_BYTES:
        return near
    digest = hashlib.sha256(os.fsencode(file)).hexdigest()[:32]
    return own_folder() / f"{digest}.control"


def own_folder() -> Path:
    """Return the folder for sockets of long-named stores; it need not be there."""
    return Path(tempfile.gettempdir()) / f"callsheet-{os.getuid()}"


def check_folder(path: Path, *, make: bool = False) -> None:
    """Check that nobody else could have put a socket there, when it is in the folder for long names.

    Raises:
        OSError: the folder is another user's, or open to others, or not there; or it cannot be made.
    """
    folder = own_folder()
    if path.parent != folder:
        return
    if make:
        folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise PermissionError(f"{folder} is not a folder of this user alone (0700)")
