"""Announcements: what the registry has told the others of jobs, until they have noted it.

The clock, dependencies and the coordinator load from the store when a reign begins. What is stored of jobs after that they
hear from the registry alone, and their mailboxes may be full just then.

    stored ─▶ tell ─▶ KnowJobs(number) ─▶ clock, dependencies, coordinator ─▶ Noted ─▶ forgotten
                          ▲───────── after SAY_AGAIN_US, under a new number

Promises
    the newest   of a job only what is newest is kept for each listener, so nothing older is said after it
    in order     numbers ascend; a listener leaves out a message that a later one has overtaken (`actors/listener.py`), and
                 acknowledges nothing of another reign: of two that hear of a reign one is the first
    complete     nothing is forgotten before it is noted or the reign ends. When too much is not noted, `full` says so, and
                 further changes wait: their clients ask again
    no harm      a listener that hears the same again changes nothing by it
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Final

from msgspec import Struct

from ..actor import CLOCK, COORDINATOR, DEPENDENCIES, SECOND, Address, Turn
from ..messages import KnowJobs, Noted
from ..records import JobRecord

SAY_AGAIN_US: Final = SECOND
"""After how long what was not noted is said again."""

PORTION: Final = 256
"""Jobs in one message at most."""

MAX_UNNOTED: Final = 20_000
"""Jobs, counted for each listener, that wait to be noted when further changes are not begun any more."""

MAX_SENT: Final = 1_000
"""Messages whose acknowledgement is waited for; one that comes later counts for nothing, and the same is said once more."""

JobKey = tuple[str, str]
Then = Callable[[Turn], None]


class _Word(Struct):
    """What a listener is to know of a job: under which number its name came up first, and when it was said last."""

    record: JobRecord
    first: int
    said_at: int


class Announcements:
    """What was said to each listener in this reign, and is not noted."""

    def __init__(self, epoch: int) -> None:
        self._epoch = epoch
        self._number = 0
        self._unnoted: dict[Address, dict[JobKey, _Word]] = {CLOCK: {}, DEPENDENCIES: {}, COORDINATOR: {}}
        self._sent: OrderedDict[str, tuple[Address, tuple[JobRecord, ...]]] = OrderedDict()
        self._waiting: list[tuple[Address, int, Then]] = []

    @property
    def full(self) -> bool:
        """Whether so much is not noted that nothing more should change."""
        return sum(len(words) for words in self._unnoted.values()) >= MAX_UNNOTED

    def tell(self, to: Address, records: Iterable[JobRecord], turn: Turn) -> None:
        """Tell a listener how jobs are stored now, in place of what it has not noted of them."""
        if not any(self._unnoted.values()):
            turn.set_timer("announcements", turn.elapsed + SAY_AGAIN_US, steady=True)
        words = self._unnoted[to]
        newest = {record.job.key: record for record in records}
        for key, record in newest.items():
            before = words.get(key)
            words[key] = _Word(record, self._number + 1 if before is None else before.first, turn.elapsed)
        self._say(to, newest.values(), turn)

    def when_noted(self, to: Address, then: Then, turn: Turn) -> None:
        """Go on as soon as a listener has noted all that it was told up to now."""
        self._waiting.append((to, self._number, then))
        self._go_on(turn)

    def on_noted(self, message: Noted, turn: Turn) -> None:
        """A listener has taken a message; what was told of its jobs since then is still to be noted."""
        to, records = self._sent.pop(message.key, ("", ()))
        for record in records:
            word = self._unnoted[to].get(record.job.key)
            if word is not None and word.record is record:
                del self._unnoted[to][record.job.key]
        self._go_on(turn)

    def on_timer(self, turn: Turn) -> None:
        """Say again what was not noted in time."""
        for to, words in self._unnoted.items():
            late = [word for word in words.values() if word.said_at + SAY_AGAIN_US <= turn.elapsed]
            for word in late:
                word.said_at = turn.elapsed
            self._say(to, [word.record for word in late], turn)
        said = [word.said_at for words in self._unnoted.values() for word in words.values()]
        if said:
            turn.set_timer("announcements", min(said) + SAY_AGAIN_US, steady=True)

    def _say(self, to: Address, records: Iterable[JobRecord], turn: Turn) -> None:
        rest = iter(records)
        while portion := tuple(islice(rest, PORTION)):
            self._number += 1
            message = KnowJobs(self._epoch, self._number, portion)
            self._sent[message.key] = (to, portion)
            turn.send(to, message)
        while len(self._sent) > MAX_SENT:
            self._sent.popitem(last=False)

    def _go_on(self, turn: Turn) -> None:
        """Do what waited for what is noted by now."""
        waiting, self._waiting = self._waiting, []
        for to, number, then in waiting:
            if any(word.first <= number for word in self._unnoted[to].values()):
                self._waiting.append((to, number, then))
            else:
                then(turn)
