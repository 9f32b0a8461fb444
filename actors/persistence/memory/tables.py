"""The dictionaries that the memory store keeps."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from ...records import Attempt, Decision, End, Event, Job, JobRecord, JobState, Receipt, Run, Submission
from ..sorted_keys import SortedKeys
from ..store import Lease
from ..view import Facts

JobKey = tuple[str, str]
DueKey = tuple[int, str, str]

Key = TypeVar("Key")


class Tables(msgspec.Struct):
    """All that is stored. Records never change, so a copy of the containers is a copy of the store."""

    lease: Lease | None = None
    jobs: dict[JobKey, JobRecord] = msgspec.field(default_factory=dict)
    definitions: dict[tuple[str, str, int], Job] = msgspec.field(default_factory=dict)
    names: SortedKeys[JobKey] = msgspec.field(default_factory=SortedKeys)
    due: SortedKeys[DueKey] = msgspec.field(default_factory=SortedKeys)
    unarmed: SortedKeys[JobKey] = msgspec.field(default_factory=SortedKeys)
    runs: dict[int, Run] = msgspec.field(default_factory=dict)
    live: dict[int, Run] = msgspec.field(default_factory=dict)
    by_tenant: dict[str, list[int]] = msgspec.field(default_factory=dict)
    by_job: dict[JobKey, list[int]] = msgspec.field(default_factory=dict)
    by_group: dict[JobKey, list[int]] = msgspec.field(default_factory=dict)
    by_token: dict[JobKey, Run] = msgspec.field(default_factory=dict)
    ends: dict[int, End] = msgspec.field(default_factory=dict)
    facts: dict[int, Facts] = msgspec.field(default_factory=dict)
    attempts: dict[int, list[Attempt]] = msgspec.field(default_factory=dict)
    decisions: dict[JobKey, dict[int, Decision]] = msgspec.field(default_factory=dict)
    submissions: dict[str, Submission] = msgspec.field(default_factory=dict)
    receipts: dict[str, Receipt] = msgspec.field(default_factory=dict)
    events: dict[str, list[tuple[int, Event]]] = msgspec.field(default_factory=dict)
    event_count: int = 0
    settled: int = 0
    run_id: int = 0
    fence: int = 0

    def copy(self) -> Tables:
        """A copy that later commits do not touch."""
        twin = msgspec.structs.replace(self, names=self.names.copy(), due=self.due.copy(), unarmed=self.unarmed.copy())
        for name in ("jobs", "definitions", "runs", "live", "by_token", "ends", "submissions", "receipts"):
            setattr(twin, name, getattr(self, name).copy())
        for name in ("by_tenant", "by_job", "by_group", "attempts", "decisions", "events"):
            setattr(twin, name, {key: items.copy() for key, items in getattr(self, name).items()})
        twin.facts = {run_id: msgspec.structs.replace(facts) for run_id, facts in self.facts.items()}
        return twin


def append(lists: dict[Key, list[int]], key: Key, number: int) -> None:
    """Add to the list of a key."""
    numbers = lists.get(key)
    if numbers is None:
        lists[key] = [number]
    else:
        numbers.append(number)


def due_key(state: JobState) -> DueKey | None:
    """Where the job stands in the order of what is due, None if nowhere."""
    if state.status != "active" or state.next_due is None:
        return None
    return (state.next_due, state.tenant, state.name)


def is_unarmed(state: JobState) -> bool:
    """Tell whether a job has fired and waits for the end of its run."""
    return state.status == "active" and state.next_due is None and state.fires > 0
