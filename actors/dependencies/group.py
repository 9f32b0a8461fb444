"""Groups: the runs of one slot or of one submission, which wait for one another by their jobs' names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from ..records import RunState

CLOSED_GROUPS: Final = 10_000
"""Groups in which nothing lives that are remembered, so that a late slot of the same instant finds its siblings."""

BY_HAND: Final = "m/"
"""Begins the name of the group of a submission. All its runs are made at once."""

OF_SLOT: Final = "s/"
"""Begins the name of the group of a slot, before the instant. It grows while jobs come that have a slot at that instant."""

GroupKey = tuple[str, str]
"""Tenant and name."""


def is_by_hand(group: str) -> bool:
    """Tell whether a group is that of a submission."""
    return group.startswith(BY_HAND)


class Member:
    """A run of a group: which upstreams it waits for, and the state it ended in, None while it lives.

    It was `removed` if it was cancelled because its job was. Its `result` is None when it is not held here any more.
    """

    __slots__ = ("after", "deadline_at", "removed", "result", "run_id", "state")

    def __init__(self, run_id: int) -> None:
        self.run_id = run_id
        self.after: tuple[str, ...] = ()
        self.deadline_at = 0
        self.state: RunState | None = None
        self.result: bytes | None = b""
        self.removed = False

    @property
    def waits(self) -> bool:
        """Whether it began with upstreams before it, and has not ended."""
        return bool(self.after) and self.state is None


class Group:
    """The runs of a group by their jobs' names; and which jobs were removed that have no run in it.

    It is `complete` when it is certain that no run is missing which an earlier reign knew of.
    """

    __slots__ = ("complete", "gone", "members")

    def __init__(self, *, complete: bool) -> None:
        self.members: dict[str, Member] = {}
        self.gone: set[str] = set()
        self.complete = complete

    @property
    def lives(self) -> bool:
        """Whether a run of it has not ended."""
        return any(member.state is None for member in self.members.values())

    @property
    def can_be_judged(self) -> bool:
        """Whether all is known that decides on the runs of it that wait; else the store is to be asked."""
        if not self.complete:
            return False
        members = self.members.values()
        return all(member.result is not None for member in members) or not any(member.waits for member in members)

    def strip(self) -> None:
        """Let go of the results: nobody waits for them. Who comes late has them read from the store."""
        for member in self.members.values():
            member.result = None

    def missing(self) -> dict[str, None]:
        """The upstreams that have no run in it (yet)."""
        names = (name for member in self.members.values() if member.waits for name in member.after)
        return dict.fromkeys(name for name in names if name not in self.members)


class Groups:
    """All groups in which a run lives, and of the others the newest."""

    def __init__(self) -> None:
        self._groups: dict[GroupKey, Group] = {}
        self._closed: OrderedDict[GroupKey, None] = OrderedDict()

    def get(self, key: GroupKey) -> Group | None:
        """The group of this key, None if it is not known."""
        return self._groups.get(key)

    def open(self, key: GroupKey, *, complete: bool) -> Group:
        """The group of this key, new if it is not known."""
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(complete=complete)
        return group

    def all(self) -> list[tuple[GroupKey, Group]]:
        """All groups that are known, by key."""
        return list(self._groups.items())

    def sort(self, touched: Iterable[GroupKey]) -> None:
        """Something has changed in these groups: note whether anything lives in them."""
        for key in touched:
            if self._groups[key].lives:
                self._closed.pop(key, None)
            else:
                self._groups[key].strip()
                self._closed[key] = None

    def forget_oldest(self) -> None:
        """Forget the oldest beyond the limit in which nothing lives."""
        while len(self._closed) > CLOSED_GROUPS:
            key, _ = self._closed.popitem(last=False)
            del self._groups[key]
