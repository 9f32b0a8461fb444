"""Counts what actors report, beside the metrics actor: invariant 17."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from callsheet.actors.messages import (
    AttemptsRetried,
    AttemptsStarted,
    ContactChanged,
    DrainChanged,
    Happened,
    LeaderChanged,
    RunsCreated,
    RunsFinished,
    SlotsDecided,
)

if TYPE_CHECKING:
    from simulation.node import Life


class Events:
    """The counters and levels that metrics should show, for each life."""

    def __init__(self) -> None:
        self._by_life: dict[str, dict[str, float]] = {}

    def shown(self, life: Life) -> dict[str, float]:
        """What the metrics of a life should show."""
        return self._by_life.setdefault(life.incarnation, {})

    def count(self, life: Life, event: Any) -> None:
        """Take an event; each life counts from nothing."""
        shown = self.shown(life)
        for name, count in _counted(event):
            shown[name] = shown.get(name, 0.0) + count
        match event:
            case LeaderChanged():
                shown["callsheet_leader"] = float(event.own)
                shown["callsheet_epoch"] = max(shown.get("callsheet_epoch", 0.0), event.epoch)
            case DrainChanged():
                shown["callsheet_draining"] = float(event.is_draining)
            case ContactChanged():
                shown["callsheet_cut_off"] = float(event.is_cut_off)


def _counted(event: Any) -> Iterator[tuple[str, float]]:
    """The counters that an event moves."""
    match event:
        case RunsCreated(count=count):
            yield "callsheet_runs_created_total", count
        case RunsFinished(states=states):
            for state, count in states.items():
                yield f'callsheet_runs_finished_total{{state="{state}"}}', count
        case AttemptsStarted(count=count):
            yield "callsheet_attempts_started_total", count
        case AttemptsRetried(count=count):
            yield "callsheet_attempts_retried_total", count
        case SlotsDecided(kinds=kinds):
            for kind, count in kinds.items():
                yield f'callsheet_slots_decided_total{{decision="{kind}"}}', count
        case Happened():
            yield f'callsheet_events_total{{kind="{event.event.kind}"}}', 1
        case LeaderChanged():
            yield "callsheet_leader_changes_total", 1
