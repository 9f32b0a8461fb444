"""Metrics: counts every event, and answers with Prometheus' text.

It has a registry of its own, so several schedulers in one process do not share counters. Names and labels: docs/metrics.md.
"""

from __future__ import annotations

from typing import assert_never

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ..actor import Turn
from ..messages import (
    AttemptsRetried,
    AttemptsStarted,
    Gauged,
    Happened,
    MetricsReported,
    ReportMetrics,
    RunsCreated,
    RunsFinished,
    SlotsDecided,
    Started,
)

LATENESS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0)
"""Seconds."""

Accepted = (
    Started
    | RunsCreated
    | AttemptsStarted
    | AttemptsRetried
    | RunsFinished
    | SlotsDecided
    | Gauged
    | Happened
    | ReportMetrics
)


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

    def receive(self, message: Accepted, turn: Turn) -> None:  # noqa: C901 - a flat table of messages
        """Count an event, or report."""
        match message:
            case RunsFinished():
                for state, count in message.states.items():
                    self._finished.labels(state).inc(count)
                self._ran.inc(message.ran_us / 1e6)
            case AttemptsStarted():
                self._started.inc(message.count)
                self._waited.inc(max(0, message.waited_us) / 1e6)
            case RunsCreated():
                self._created.inc(message.count)
            case SlotsDecided():
                for kind, count in message.kinds.items():
                    self._decided.labels(kind).inc(count)
                for late_us in message.late_us:
                    self._late.observe(late_us / 1e6)
            case AttemptsRetried():
                self._retried.inc(message.count)
            case Happened():
                self._happened.labels(message.event.kind).inc()
            case Gauged():
                for name, value in message.values.items():
                    self._gauge.labels(name).set(value)
            case ReportMetrics():
                turn.reply(MetricsReported(message.key, generate_latest(self._registry).decode()))
            case Started():
                pass
            case _:
                assert_never(message)

    def settle(self, turn: Turn) -> None:
        """Nothing is gathered."""
