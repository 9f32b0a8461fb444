"""Whom a client asks, as far as it is known to it."""

from callsheet.actors.messages import LeaderIs
from callsheet.client.leadership import Leadership


def test_a_word_of_an_older_epoch_changes_nothing() -> None:
    leadership = Leadership()
    assert leadership.hear(LeaderIs("k", 4, "n1", ""), "coordinator@n2")

    assert not leadership.hear(LeaderIs("k", 3, "n2", ""), "coordinator@n2")


def test_a_leader_of_a_lower_epoch_is_followed_when_the_last_one_had_been_doubted_and_its_line_is_lost() -> None:
    leadership = Leadership()
    leadership.hear(LeaderIs("k", 4, "n1", ""), "coordinator@n2")
    assert leadership.doubt("registry@n1")

    leadership.lose("n1")

    assert leadership.hear(LeaderIs("k", 3, "n5", ""), "coordinator@n5")
    assert leadership.leader is not None
    assert leadership.leader.node == "n5"
