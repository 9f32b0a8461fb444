"""A process that has no descriptor left."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOM = 64
"""Descriptors that are free above the highest one in use; so few, that all can be taken quickly."""


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    """Take every descriptor there is, for a while: whatever opens something is told EMFILE."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + ROOM, hard))
    taken: list[int] = []
    try:
        while True:
            try:
                taken.append(os.dup(0))
            except OSError:
                break
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for each in taken:
            os.close(each)
