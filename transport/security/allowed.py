"""The allow-list as a running node sees it: by key, and never much older than the files.

The folder is looked at again at most every `LOOK_AGAIN_S`, and read again when something there has changed. So a key that is
revoked is refused within that time, also on lines that stand. A file that is broken or open to others lets nobody in, the others count;
where the folder itself is, nobody is known until it is mended. Either is logged once, and tried again at each look.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from threading import Lock
from typing import Final

from ...errors import SecurityError
from .keys import KeyFolder, Mark, Permit

LOGGER: Final = logging.getLogger(__name__)

LOOK_AGAIN_S: Final = 0.5

MAX_TOLD: Final = 5
"""Files that cannot be used of which one line of the log tells."""


class Allowed:
    """Looks up who has a key. Any thread may ask.

    Args:
        folder: of the keys.
        monotonic: seconds that only grow.
    """

    def __init__(self, folder: KeyFolder, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._monotonic = monotonic
        self._lock = Lock()
        self._looked_at = -LOOK_AGAIN_S
        self._mark: Mark | None = None
        self._read: dict[str, Permit] = {}
        self._by_key: dict[str, Permit] = {}
        self._told = ""

    def find(self, public: str) -> Permit | None:
        """Whose key this is, also when it is revoked; None for a stranger's."""
        with self._lock:
            now = self._monotonic()
            if now - self._looked_at >= LOOK_AGAIN_S:
                self._looked_at = now
                self._look()
            return self._by_key.get(public)

    def _look(self) -> None:
        try:
            mark = self._folder.mark()
            if mark == self._mark:
                return
        except SecurityError as error:
            self._tell(str(error))
            self._mark, self._read, self._by_key = None, {}, {}
            return
        # the mark was taken before the files are read: what changes meanwhile is seen at the next look
        read = self._read_changed(mark, self._mark or {})
        # what could not be read is not marked as seen: perhaps it could not be for a moment only
        self._mark = {name: row for name, row in mark.items() if name in read}
        if read != self._read:
            self._read, self._by_key = read, _by_key(read.values())

    def _read_changed(self, mark: Mark, before: Mark) -> dict[str, Permit]:
        """The permits by name. Only what has changed is read, because whoever asks is the thread of all lines."""
        permits: dict[str, Permit] = {}
        troubles: list[str] = []
        for name, row in mark.items():
            known = self._read.get(name)
            if known is not None and before.get(name) == row:
                permits[name] = known
                continue
            try:
                permits[name] = self._folder.permit(name)
            except SecurityError as error:
                troubles.append(str(error))
        self._tell("; ".join(troubles[:MAX_TOLD]))
        return permits

    def _tell(self, text: str) -> None:
        if text and text != self._told:
            LOGGER.error("keys_unusable text=%r", text)
        self._told = text


def _by_key(permits: Iterable[Permit]) -> dict[str, Permit]:
    """The permits by key; where two claim one, a revoked one counts, else none of them."""
    found: dict[str, Permit] = {}
    doubled: set[str] = set()
    for permit in permits:
        other = found.get(permit.public)
        if other is None or permit.revoked:
            found[permit.public] = permit
        elif not other.revoked:
            doubled.add(permit.public)
            LOGGER.error("key_doubled names=%s,%s", other.name, permit.name)
    return {public: permit for public, permit in found.items() if public not in doubled or permit.revoked}
