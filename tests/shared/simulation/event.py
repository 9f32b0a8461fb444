"""Counts what actors report, beside the metrics actor: invariant 17."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from callsheet.actors.messages import (
    AttemptsRetried,
    AttemptsStarted,
    ContactChanged,
    Happened,
    LeaderChanged,
    RunsCreated,
    RunsFinished,
    SlotsDecided,
)

if TYPE_CHECKING:
    from simulation.node import Life
    from simulation.world import World


class Events:
    """The counters that metrics should show, for the life that runs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._life = ""
        self.counts: dict[str, float] = {}

    def count(self, life: Life, event: Any) -> None:
        """Take an event; a new life counts from nothing."""
        if life.incarnation != self._life:
            self._life = life.incarnation
            self.counts = {}
        match event:
            case RunsCreated(count=count):
                self._add("callsheet_runs_created_total", count)
            case RunsFinished(states=states):
                for state, count in states.items():
                    self._add(f'callsheet_runs_finished_total{{state="{state}"}}', count)
            case AttemptsStarted(count=count):
                self._add("callsheet_attempts_started_total", count)
            case AttemptsRetried(count=count):
                self._add("callsheet_attempts_retried_total", count)
            case SlotsDecided(kinds=kinds):
                for kind, count in kinds.items():
                    self._add(f'callsheet_slots_decided_total{{decision="{kind}"}}', count)
            case Happened():
                self._add(f'callsheet_events_total{{kind="{event.event.kind}"}}', 1)
            case LeaderChanged():
                self._add("callsheet_leader_changes_total", 1)
                self.counts["callsheet_leader"] = float(event.own)
                self.counts["callsheet_epoch"] = max(self.counts.get("callsheet_epoch", 0.0), event.epoch)
            case ContactChanged():
                self.counts["callsheet_cut_off"] = float(event.is_cut_off)

    def forget(self) -> None:
        """Metrics was made anew."""
        self.counts = {}

    def _add(self, name: str, count: float) -> None:
        self.counts[name] = self.counts.get(name, 0.0) + count
