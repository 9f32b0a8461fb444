"""The warden's program: learns which process groups its parent answers for, and kills them when the parent is gone.

It is run by its path, isolated, and imports nothing but what every interpreter has loaded, so it costs little.
"""

import os
import signal
import sys


def main() -> None:
    """Read `+group` and `-group` lines until the parent's end of the pipe is closed; then kill what is left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: dict[int, None] = {}
    for line in sys.stdin.buffer:
        group = int(line[1:])
        if line.startswith(b"+"):
            groups[group] = None
        else:
            groups.pop(group, None)
    for group in groups:
        try:
            os.killpg(group, signal.SIGKILL)
        except OSError:
            continue  # it has ended by itself


if __name__ == "__main__":
    main()
