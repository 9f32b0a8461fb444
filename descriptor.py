"""Whether this process may open as many files and sockets as something needs, asked before it begins.

What finds no descriptor half-way is hard to undo, and ZeroMQ ends the whole process where it finds none for its own threads.
"""

from __future__ import annotations

import errno
import os
import resource
from typing import Final

from .errors import CallsheetError
from .forks import forking

_NONE_LEFT: Final = (errno.EMFILE, errno.ENFILE)


def check_room(wanted: int, what: str) -> None:
    """Check that so many descriptors can be opened just now; `what` needs them.

    Raises:
        CallsheetError: there are fewer.
    """
    taken: list[int] = []
    with forking:
        try:
            while len(taken) < wanted:
                taken.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            if error.errno in _NONE_LEFT:
                raise CallsheetError(_too_few(wanted, what, len(taken), error)) from None
        finally:
            for each in taken:
                os.close(each)


def _too_few(wanted: int, what: str, found: int, error: OSError) -> str:
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (
        f"{what} needs {wanted} files and sockets to begin with, and only {found} more can be opened ({error.strerror}; this "
        f"process may have {limit}); allow more (ulimit -n, LimitNOFILE= of systemd), or see what holds so many open"
    )
