"""Groups: the runs of one slot or of one submission, which wait for one another by their jobs' names."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from ..lifecycle import was_removed
from ..messages import GroupEnd, MadeRun
from ..records import RunRecord, RunState

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

    __slots__ = ("_behind", "_live", "_stripped", "complete", "gone", "members")

    def __init__(self, *, complete: bool) -> None:
        self.members: dict[str, Member] = {}
        self.gone: set[str] = set()
        self.complete = complete
        self._behind: dict[str, dict[str, None]] = {}
        self._live = 0
        self._stripped = False

    def put(self, made: MadeRun) -> None:
        """A run of it is stored."""
        member = self._member(made.job, made.run_id)
        member.after, member.deadline_at = made.after, made.deadline_at
        for name in made.after:
            self._behind.setdefault(name, {})[made.job] = None

    def move(self, end: GroupEnd) -> None:
        """A run of it has ended."""
        self._end(self._member(end.job, end.run_id), end.state, end.result, removed=end.removed)

    def find(self, record: RunRecord) -> None:
        """A run of it is in the store; what is known of one of its job already is newer."""
        run, end = record.run, record.end
        member = self.members.get(run.job) or self._member(run.job, run.run_id)
        if end is not None and member.run_id == run.run_id:
            self._end(member, end.state, end.result, removed=was_removed(end))

    def _member(self, job: str, run_id: int) -> Member:
        member = self.members.get(job)
        if member is None or member.run_id != run_id:
            if member is None or member.state is not None:
                self._live += 1
            member = self.members[job] = Member(run_id)
        return member

    def _end(self, member: Member, state: RunState, result: bytes, *, removed: bool) -> None:
        if member.state is None:
            self._live -= 1
        member.state, member.result, member.removed = state, result, removed

    def behind(self, names: Iterable[str]) -> dict[str, None]:
        """The jobs whose runs wait, or did, for those of any of these."""
        return dict.fromkeys(job for name in names for job in self._behind.get(name, ()))

    @property
    def lives(self) -> bool:
        """Whether a run of it has not ended."""
        return self._live > 0

    @property
    def can_be_judged(self) -> bool:
        """Whether all is known that decides on the runs of it that wait; else the store is to be asked."""
        if self._stripped:
            self._stripped = any(member.result is None for member in self.members.values())
        return self.complete and not (self._stripped and any(member.waits for member in self.members.values()))

    def strip(self) -> None:
        """Let go of the results: nobody waits for them. Who comes late has them read from the store."""
        self._stripped = True
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
