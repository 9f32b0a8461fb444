"""Metrics: counts every event, and answers with Prometheus' text.

It has a registry of its own, so several schedulers in one process do not share counters. Names and labels: docs/metrics.md.

Only what this node itself reports is counted; a peer or a client can ask for the text and no more. Labels are few because what
they name is few; should a bug make many of them, all beyond `MAX_LABELS` of a metric are counted as `other`.
"""

from __future__ import annotations

from typing import Final, assert_never

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ..actor import Turn
from ..messages import (
    AttemptsRetried,
    AttemptsStarted,
    ContactChanged,
    DrainChanged,
    Dropped,
    Gauged,
    Happened,
    LeaderChanged,
    MetricsReported,
    ReportMetrics,
    RunsCreated,
    RunsFinished,
    SlotsDecided,
    Started,
)

LATENESS_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0)
"""Seconds."""

MAX_LABELS: Final = 100
"""Values of one metric's label; events have some dozens of kinds, and all else has fewer."""
OTHER: Final = "other"

Counted = (
    RunsCreated
    | AttemptsStarted
    | AttemptsRetried
    | RunsFinished
    | SlotsDecided
    | Gauged
    | Happened
    | Dropped
    | LeaderChanged
    | ContactChanged
    | DrainChanged
)
Accepted = Started | ReportMetrics | Counted


class Metrics:
    """Counts what the other actors report."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._created = Counter("callsheet_runs_created", "Runs stored", registry=registry)
        self._finished = Counter("callsheet_runs_finished", "Runs ended, by final state", ["state"], registry=registry)
        self._ran = Counter("callsheet_run_seconds", "Seconds that ended runs' last attempts ran", registry=registry)
        self._started = Counter("callsheet_attempts_started", "Attempts handed to executors", registry=registry)
        self._waited = Counter(
            "callsheet_attempt_wait_seconds", "Seconds that attempts waited for a place", registry=registry
        )
        self._retried = Counter(
            "callsheet_attempts_retried", "Attempts that failed and are tried again", registry=registry
        )
        self._decided = Counter("callsheet_slots_decided", "Slots, by decision", ["decision"], registry=registry)
        self._late = Histogram(
            "callsheet_slot_lateness_seconds",
            "From a slot's instant to its decision",
            buckets=LATENESS_BUCKETS,
            registry=registry,
        )
        self._happened = Counter("callsheet_events", "Events, by kind", ["kind"], registry=registry)
        self._gauge = Gauge("callsheet_level", "How full things are", ["what"], registry=registry)
        self._cluster = _Cluster(registry)
        self._labels = _Labels()

    def receive(self, message: Accepted, turn: Turn) -> None:
        """Count an event, or report."""
        match message:
            case ReportMetrics():
                turn.reply(MetricsReported(message.key, generate_latest(self._registry).decode()))
            case Started():
                pass
            case _:
                if not turn.sender:  # what another node reports is counted there
                    self._count(message)

    def settle(self, turn: Turn) -> None:
        """Nothing is gathered."""

    def _count(self, event: Counted) -> None:  # noqa: C901 - a flat table of events
        label = self._labels.bounded
        match event:
            case RunsFinished():
                for state, count in event.states.items():
                    self._finished.labels(label("state", state)).inc(count)
                self._ran.inc(event.ran_us / 1e6)
            case AttemptsStarted():
                self._started.inc(event.count)
                self._waited.inc(max(0, event.waited_us) / 1e6)
            case RunsCreated():
                self._created.inc(event.count)
            case SlotsDecided():
                for kind, count in event.kinds.items():
                    self._decided.labels(label("decision", kind)).inc(count)
                for late_us in event.late_us:
                    self._late.observe(late_us / 1e6)
            case AttemptsRetried():
                self._retried.inc(event.count)
            case Happened():
                self._happened.labels(label("kind", event.event.kind)).inc()
            case Gauged():
                for name, value in event.values.items():
                    self._gauge.labels(label("what", name)).set(value)
            case LeaderChanged() | ContactChanged() | DrainChanged():
                self._cluster.on_change(event)
            case Dropped():
                for reason, total in event.counts.items():
                    self._cluster.on_dropped(label("reason", reason), reason, total)
            case _:
                assert_never(event)


class _Cluster:
    """The metrics of a node among others: who leads, whether it is heard, what got lost between them."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._changes = Counter(
            "callsheet_leader_changes", "How often this node learned that who leads has changed", registry=registry
        )
        self._leader = Gauge("callsheet_leader", "1 where this node leads", registry=registry)
        self._epoch = Gauge("callsheet_epoch", "The highest epoch this node has heard of", registry=registry)
        self._cut_off = Gauge(
            "callsheet_cut_off", "1 while this node hears its leader no more and starts nothing", registry=registry
        )
        self._draining = Gauge(
            "callsheet_draining", "1 while this node takes no new work, because it was asked to", registry=registry
        )
        self._dropped = Counter(
            "callsheet_envelopes_dropped", "Envelopes given up, by reason", ["reason"], registry=registry
        )
        self._highest = 0
        self._totals: dict[str, int] = {}

    def on_change(self, event: LeaderChanged | ContactChanged | DrainChanged) -> None:
        match event:
            case LeaderChanged():
                self._changes.inc()
                self._leader.set(event.own)
                self._highest = max(self._highest, event.epoch)
                self._epoch.set(self._highest)
            case ContactChanged():
                self._cut_off.set(event.is_cut_off)
            case DrainChanged():
                self._draining.set(event.is_draining)

    def on_dropped(self, label: str, reason: str, total: int) -> None:
        """Count what was added since the last report of this reason."""
        added = total - self._totals.get(reason, 0)
        if added > 0:  # an older report may come late
            self._totals[reason] = total
            self._dropped.labels(label).inc(added)


class _Labels:
    """Knows the values that each label has had."""

    def __init__(self) -> None:
        self._known: dict[str, set[str]] = {}

    def bounded(self, name: str, value: str) -> str:
        """Return the value, or `other` when the label has had too many."""
        known = self._known.setdefault(name, set())
        if value not in known:
            if len(known) >= MAX_LABELS:
                return OTHER
            known.add(value)
        return value
