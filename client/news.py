"""Following the history: which of the newest events have come since the last look."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ..actors.persistence.store import MAX_PAGE
from ..actors.records import Event

LOOK_S: Final = 0.5
"""How often the history is looked at."""

PAGES: Final = (100, MAX_PAGE)
"""How many events a look asks for, and how many when all of those were new."""

MISSED: Final = "events_missed"
"""The kind of the event that stands in for those that came too fast to be seen."""


class News:
    """Finds what is new, page after page of the newest events. Events that are alike in every field count as one.

    Args:
        newest: the newest event that is known already, None when there was none.
    """

    def __init__(self, newest: Event | None) -> None:
        self._newest = newest

    def of(self, page: Sequence[Event], limit: int) -> list[Event] | None:
        """Return the new events of a page (newest first, at most `limit`), oldest first; None: ask for a longer one.

        Where even the longest page does not reach back to what is known, an event of kind `events_missed` comes first.
        """
        newest = self._newest
        is_whole = len(page) < limit if newest is None else newest in page
        if not is_whole and limit < MAX_PAGE:
            return None
        new = list(page) if newest is None or not is_whole else list(page[: page.index(newest)])
        if page:
            self._newest = page[0]
        new.reverse()
        if not is_whole and new:
            text = f"more than {len(new):,} events came between two looks; the older ones are left out here"
            new.insert(0, Event(new[0].at, MISSED, text=text))
        return new
