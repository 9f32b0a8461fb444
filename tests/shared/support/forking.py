"""A child that does nothing but live."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def forked_child() -> Iterator[None]:
    """A child of this process, which does nothing and lives for as long as the block."""
    held, hold = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os.close(hold)
        os.read(held, 1)
        os._exit(0)
    try:
        yield
    finally:
        os.close(hold)
        os.close(held)
        os.waitpid(child, 0)
