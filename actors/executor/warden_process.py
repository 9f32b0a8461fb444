"""The warden's program: learns which process groups its parent answers for, and kills them when the parent is gone.

It is run by its path, isolated, and imports nothing but what every interpreter has loaded, so it costs little. Its argument is
the name of the variable by which a process is found whose number was not told.
"""

import io
import os
import signal
import sys
import time

SEARCH_S = 2.0
"""How long an announced process is searched: until it is a program of its own it bears its parent's environment."""
POLL_S = 0.02


def main() -> None:
    """Read lines until the parent's end of the pipe is closed; then kill what is left.

    `+group` and `-group` tell and take back a group, `?mark` and `!mark` announce a process and take that back.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    told: dict[bytes, None] = {}
    for line in sys.stdin.buffer:
        word = line.strip()
        if word[:1] in b"+?":
            told[word[1:]] = None
        else:
            told.pop(word[1:], None)
    groups = [int(word) for word in told if b"." not in word]
    for group in groups:
        _kill(group)
    marks = {sys.argv[1].encode() + b"=" + word for word in told if b"." in word}
    until = time.monotonic() + SEARCH_S
    while marks and time.monotonic() < until:
        marks -= _kill_marked(marks)
        time.sleep(POLL_S)


def _kill_marked(marks: set[bytes]) -> set[bytes]:
    """Kill the groups of processes that bear one of the marks; answers which were found, all where nobody can be looked for."""
    found: set[bytes] = set()
    try:
        names = [entry.name for entry in os.scandir("/proc") if entry.name.isdigit()]
    except OSError:
        return marks
    for name in names:
        try:
            with io.FileIO(f"/proc/{name}/environ") as file:
                borne = marks.intersection(file.readall().split(b"\0"))
            if borne and os.getpgid(int(name)) == int(name):
                _kill(int(name))
                found |= borne
        except OSError:
            continue  # it has ended, or is somebody else's
    return found


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        return  # it has ended by itself


if __name__ == "__main__":
    main()
