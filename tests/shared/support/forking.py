"""A child that does nothing but live."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def forked_child() -> Iterator[None]:
    """A child of this process, which does nothing and lives for as long as the block."""
    held, hold = os.pipe()
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        os.close(hold)
        os.write(tell, b"!")  # by now it has let go of what it must
        os.read(held, 1)
        os._exit(0)
    os.close(tell)
    try:
        assert os.read(told, 1) == b"!"
        yield
    finally:
        for each in (hold, held, told):
            os.close(each)
        os.waitpid(child, 0)
