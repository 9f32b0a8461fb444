"""Events: what actors report to whoever counts, logs or watches."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from ..records import Event


class RunsCreated(Struct, frozen=True, tag="e_runs_created"):
    """Runs were stored."""

    count: int


class AttemptsStarted(Struct, frozen=True, tag="e_attempts_started"):
    """Attempts were handed to an executor; `waited_us` is the sum of their waits since they were ready."""

    count: int
    waited_us: int


class RunsFinished(Struct, frozen=True, tag="e_runs_finished"):
    """Runs ended, durably: how many by state, and the sum of their running times."""

    states: dict[str, int]
    ran_us: int


class AttemptsRetried(Struct, frozen=True, tag="e_attempts_retried"):
    """Attempts failed and will be tried again."""

    count: int


class SlotsDecided(Struct, frozen=True, tag="e_slots_decided"):
    """Slots have their decisions, by kind; `late_us` are the latenesses of those that fired."""

    kinds: dict[str, int]
    late_us: tuple[int, ...] = ()


class Happened(Struct, frozen=True, tag="e_happened"):
    """A line for the log and the history."""

    event: Event
    level: Literal["debug", "info", "warning", "error"] = "info"


class Gauged(Struct, frozen=True, tag="e_gauged"):
    """How full things are: name → value, e.g. `ready`, `running`, `blocked`, `armed`."""

    values: dict[str, float]


class Dropped(Struct, frozen=True, tag="e_dropped"):
    """How many envelopes the node's transport and host gave up since it started, by reason (`transport.contract`, `Host.dropped`).

    Totals, not what was added: a report that is lost costs nothing, and one that is doubled changes nothing.
    """

    counts: dict[str, int]


class ReportMetrics(Struct, frozen=True, tag="report_metrics"):
    """Ask metrics for its text in Prometheus' format; answered by `MetricsReported`."""

    key: str


class MetricsReported(Struct, frozen=True, tag="metrics_reported"):
    """The metrics as text."""

    key: str
    text: str
