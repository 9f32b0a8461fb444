"""Metrics count the events of their node, and the page of the metrics names each of them."""

import re

import pytest

from callsheet.actors.actor import Turn, deliver, sent
from callsheet.actors.messages import (
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
from callsheet.actors.metrics.metrics import MAX_LABELS, Metrics
from callsheet.actors.records import Event
from support.source import ROOT

ALL = (
    RunsCreated(2),
    AttemptsStarted(3, 1_500_000),
    AttemptsRetried(1),
    RunsFinished({"SUCCEEDED": 2, "FAILED": 1}, 2_000_000),
    SlotsDecided({"FIRED": 1}, (500,)),
    Happened(Event(0, "clock_jumped")),
    Gauged({"live": 4.0}),
    Dropped({"absent": 5}),
    LeaderChanged(7, "n1", own=True),
    ContactChanged(is_cut_off=True),
    DrainChanged(is_draining=True),
)


def text_of(metrics: Metrics) -> str:
    [answer] = sent(deliver(metrics, ReportMetrics("key"), sender="client-1"), MetricsReported)
    assert answer.key == "key"
    return str(answer.text)


def shown(metrics: Metrics) -> dict[str, float]:
    """The samples by name and labels, as written."""
    lines = (line.rpartition(" ") for line in text_of(metrics).splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


def told(*events: object) -> dict[str, float]:
    metrics = Metrics()
    assert deliver(metrics, Started("n1", "i1"), *events) == []
    return shown(metrics)


def test_events_are_counted() -> None:
    found = told(*ALL, RunsCreated(1))

    assert found["callsheet_runs_created_total"] == 3
    assert found["callsheet_attempts_started_total"] == 3
    assert found["callsheet_attempt_wait_seconds_total"] == 1.5
    assert found["callsheet_attempts_retried_total"] == 1
    assert found['callsheet_runs_finished_total{state="SUCCEEDED"}'] == 2
    assert found['callsheet_runs_finished_total{state="FAILED"}'] == 1
    assert found["callsheet_run_seconds_total"] == 2
    assert found['callsheet_slots_decided_total{decision="FIRED"}'] == 1
    assert found['callsheet_slot_lateness_seconds_bucket{le="0.001"}'] == 1
    assert found['callsheet_events_total{kind="clock_jumped"}'] == 1
    assert found['callsheet_level{what="live"}'] == 4


def test_who_leads_is_shown_with_the_epoch() -> None:
    lead, follow, nobody = (
        LeaderChanged(7, "n1", own=True),
        LeaderChanged(8, "n2", own=False),
        LeaderChanged(0, "", own=False),
    )

    def cluster(*events: LeaderChanged) -> tuple[float, float, float]:
        found = told(*events)
        return tuple(found[f"callsheet_{name}"] for name in ("leader_changes_total", "leader", "epoch"))  # type: ignore[return-value]  # three of them

    assert cluster() == (0, 0, 0)
    assert cluster(lead) == (1, 1, 7)
    assert cluster(lead, follow) == (2, 0, 8)
    assert cluster(lead, follow, nobody) == (3, 0, 8)


def test_being_cut_off_is_shown_while_it_lasts() -> None:
    cut_off, heard = ContactChanged(is_cut_off=True), ContactChanged(is_cut_off=False)

    assert told()["callsheet_cut_off"] == 0
    assert told(cut_off)["callsheet_cut_off"] == 1
    assert told(cut_off, heard)["callsheet_cut_off"] == 0


def test_draining_is_shown_while_it_lasts() -> None:
    assert told()["callsheet_draining"] == 0
    assert told(DrainChanged(is_draining=True))["callsheet_draining"] == 1
    assert told(DrainChanged(is_draining=True), DrainChanged(is_draining=False))["callsheet_draining"] == 0


def test_drops_are_reported_as_totals_so_that_a_lost_or_doubled_report_is_harmless() -> None:
    first, second, third = Dropped({"full": 2}), Dropped({"full": 3, "absent": 1}), Dropped({"full": 6, "absent": 1})

    for reports in ((first, second, third), (first, third), (third,), (first, first, third, third), (third, first)):
        found = told(*reports)
        assert found['callsheet_envelopes_dropped_total{reason="full"}'] == 6
        assert found.get('callsheet_envelopes_dropped_total{reason="absent"}') == 1


def test_what_another_node_reports_is_not_counted_here() -> None:
    metrics = Metrics()

    for event in ALL:
        metrics.receive(event, Turn(0, sender="coordinator@n2"))

    assert shown(metrics).keys() == told().keys()
    assert shown(metrics)["callsheet_runs_created_total"] == 0


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("callsheet_events_total{kind=", lambda number: Happened(Event(0, f"kind{number}"))),
        ("callsheet_level{what=", lambda number: Gauged({f"what{number}": 1.0})),
        ("callsheet_envelopes_dropped_total{reason=", lambda number: Dropped({f"reason{number}": 1})),
        ("callsheet_runs_finished_total{state=", lambda number: RunsFinished({f"state{number}": 1}, 0)),
        ("callsheet_slots_decided_total{decision=", lambda number: SlotsDecided({f"kind{number}": 1})),
    ],
)
def test_the_values_of_a_label_are_bounded(name: str, event: object) -> None:
    assert callable(event)

    found = told(*(event(number) for number in range(MAX_LABELS + 20)))

    values = [sample for sample in found if sample.startswith(name)]
    assert len(values) == MAX_LABELS + 1
    assert f'{name}"other"}}' in values


def test_two_nodes_of_one_process_share_no_counters() -> None:
    first, second = Metrics(), Metrics()

    deliver(first, RunsCreated(1))

    assert shown(second)["callsheet_runs_created_total"] == 0


def test_the_page_of_the_metrics_names_each_of_them_with_its_kind_and_labels() -> None:
    metrics = Metrics()
    deliver(metrics, *ALL)
    text = text_of(metrics)
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", text, re.MULTILINE))
    there = {
        (name, kind, tuple(sorted({*re.findall(rf"^{name}(?:_bucket)?\{{(\w+)=", text, re.MULTILINE)} - {"le"})))
        for name, kind in kinds.items()
        if not name.endswith("_created")  # when counting began, beside each counter; the page says so
    }
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    documented = {
        (name, kind, tuple(re.findall(r"`(\w+)`", labels)))
        for name, kind, labels in re.findall(r"^\| `(callsheet_\w+)` \| (\w+) \|([^|]*)\|", page, re.MULTILINE)
    }

    assert len(there) > 10
    assert documented == there
