"""Whether a node lives and is ready, as far as its events tell."""

import pytest

from callsheet.actors.messages import ContactChanged, LeaderChanged, RunsCreated
from callsheet.health import Health, NodeHealth

LEADS = LeaderChanged(7, "n1", own=True)
FOLLOWS = LeaderChanged(7, "n2", own=False)
NOBODY = LeaderChanged(7, "", own=False)
CUT_OFF, HEARD = ContactChanged(is_cut_off=True), ContactChanged(is_cut_off=False)


def told(*events: object, candidate: bool = True) -> NodeHealth:
    health = NodeHealth("n1", candidate=candidate)
    for event in events:
        health.on_event(event)
    return health


def test_a_node_that_has_just_started_lives_and_waits_for_a_leader() -> None:
    assert told().report() == Health(live=True, ready=False, reason="no_leader", node="n1", role="follower", epoch=0)


def test_a_leader_is_ready() -> None:
    assert told(LEADS).report() == Health(live=True, ready=True, reason="ready", node="n1", role="leader", epoch=7)


def test_who_hears_a_leader_is_ready() -> None:
    assert told(FOLLOWS).report() == Health(live=True, ready=True, reason="ready", node="n1", role="follower", epoch=7)


def test_who_never_leads_is_a_worker() -> None:
    assert told(FOLLOWS, candidate=False).report().role == "worker"


@pytest.mark.parametrize(
    ("events", "reason"),
    [
        ((LEADS, NOBODY), "no_leader"),
        ((FOLLOWS, CUT_OFF), "cut_off"),
        ((FOLLOWS, CUT_OFF, NOBODY), "cut_off"),
        ((FOLLOWS, CUT_OFF, HEARD), "ready"),
        ((NOBODY, CUT_OFF, HEARD), "no_leader"),
        ((FOLLOWS, RunsCreated(1)), "ready"),
    ],
)
def test_the_last_news_count(events: tuple[object, ...], reason: str) -> None:
    report = told(*events).report()

    assert (report.live, report.ready, report.reason) == (True, reason == "ready", reason)


def test_the_epoch_never_falls() -> None:
    assert told(LEADS, LeaderChanged(0, "", own=False)).report().epoch == 7


def test_who_was_a_leader_is_a_follower() -> None:
    assert told(LEADS, FOLLOWS).report().role == "follower"


def test_a_node_that_drains_is_not_ready_until_it_takes_work_again() -> None:
    health = told(LEADS)

    health.drain()
    assert (health.report().live, health.report().ready, health.report().reason) == (True, False, "draining")
    health.drain(on=False)
    assert health.report().ready


def test_a_node_whose_actor_was_given_up_does_not_live_whatever_else_is_true() -> None:
    health = told(LEADS)
    health.drain()

    health.fail()

    assert (health.report().live, health.report().ready, health.report().reason) == (False, False, "failed")
