"""What comes over a line: in whose name, and that what a client may not send is refused before any work is done for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from msgspec.structs import force_setattr

from callsheet import data
from callsheet.actors.messages import AddJobs, ChangeJob, Envelope, ListMembers, Noted, RequestRejected
from callsheet.actors.records import Job
from callsheet.transport.codec import decode, encode
from callsheet.transport.contract import Unreadable
from callsheet.transport.security import DialGuard, KeyFolder, KeyGuard, OpenGuard
from callsheet.transport.security.guard import MAX_KEY_CHARACTERS
from callsheet.transport.zeromq import ZeroMQ, wire
from callsheet.transport.zeromq.offence import MAX_OFFENCES
from callsheet.triggers import RRule
from support.carrying import Mailbox, Network, Strangers, join, mailbox, names, noted, strangers
from support.waiting import eventually

AT = "2026-01-01T00:00:00Z"


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture
def others() -> Iterator[Strangers]:
    with strangers() as made:
        yield made


@pytest.fixture
def keys(tmp_path: Path) -> KeyFolder:
    folder = KeyFolder(tmp_path / "keys")
    folder.new("cluster", "node", "*", AT)
    for name, role in (("bob", "viewer"), ("olga", "operator"), ("alice", "admin")):
        folder.new(name, role, "*" if role == "admin" else "press", AT)  # type: ignore[arg-type]  # roles, all of them
    return folder


def unreadable() -> RRule:
    """A trigger that can be sent, and which checking refuses: so it is seen whether it was checked."""
    trigger = RRule("FREQ=DAILY")
    force_setattr(trigger, "text", "FREQ=SOMETIMES")
    return trigger


ADD = AddJobs("7/1", (Job(tenant="press", name="work", trigger=unreadable()),))


def in_one_frame(*envelopes: Envelope | bytes) -> bytes:
    return wire.pack_batch([each if isinstance(each, bytes) else encode(each) for each in envelopes])


class Asked:
    """A node with keys, and what a client with one of them is answered."""

    def __init__(self, network: Network, keys: KeyFolder, key: str) -> None:
        self.node = network.node("n1", guard=KeyGuard(keys))
        self.client = network.client("client-7", self.node, guard=DialGuard(keys.path / f"{key}.secret"))
        self.registry, self.coordinator = mailbox(self.node, "registry"), mailbox(self.node, "coordinator")
        self.answers = mailbox(self.client, "client-7")

    def send(self, *messages: Any, to: str = "registry") -> None:
        self.client.send(Envelope("client-7", to, 0, messages))

    def answer(self, *messages: Any, to: str = "registry") -> RequestRejected:
        """The next answer to this."""
        before = len(self.answers.messages)
        self.send(*messages, to=to)
        eventually(lambda: len(self.answers.messages) > before)
        found: RequestRejected = self.answers.messages[before]
        return found


def test_who_may_not_send_something_cannot_have_it_checked(network: Network, keys: KeyFolder) -> None:
    asked = Asked(network, keys, "bob")

    answer = asked.answer(ADD)

    text = "AddJobs needs the role author; the key 'bob' has the role viewer"
    assert answer == RequestRejected("7/1", "forbidden", text)
    assert asked.node.dropped() == {"refused": 1}


def test_what_somebody_may_send_is_checked(network: Network, keys: KeyFolder) -> None:
    asked = Asked(network, keys, "alice")

    answer = asked.answer(ADD)

    assert (answer.key, answer.code) == ("7/1", "impossible")
    assert answer.text.startswith("the request cannot be read at n1: not a add_jobs: ")
    assert "SOMETIMES" in answer.text
    eventually(lambda: asked.node.dropped() == {"undecodable": 1})
    assert asked.registry.envelopes == []


def test_a_request_of_another_version_is_answered(network: Network, others: Strangers) -> None:
    guest = others.guest(network.node("n1", guard=OpenGuard()), "client-7", "7")

    guest.say(in_one_frame(data.pack_record(("client-7", "registry@n1", 0, [{"type": "dream", "key": "7/1"}]))))

    heard = guest.hears()
    assert heard is not None
    [answer] = decode(wire.unpack_batch(heard)[0]).messages
    assert answer == RequestRejected(
        "7/1", "impossible", "the request cannot be read at n1: a message of the unknown type 'dream'"
    )


def test_whoever_waits_on_a_node_is_told_what_cannot_be_read_and_the_line_stands(network: Network) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    join(n1, n2)
    asking = mailbox(n2, "client-9")

    for _ in range(MAX_OFFENCES + 1):
        n2.send(Envelope("client-9@n2", "registry@n1", 0, (ADD,)))
        n1.send(Envelope("registry@n1", "client-9@n2", 0, (ADD,)))

    eventually(lambda: len(asking.messages) == 2 * (MAX_OFFENCES + 1))
    assert {type(each) for each in asking.messages} == {RequestRejected, Unreadable}
    assert {each.key for each in asking.messages} == {"7/1"}
    assert all("SOMETIMES" in each.text for each in asking.messages)
    assert (names(n1), names(n2)) == (["n2"], ["n1"])
    assert (n1.dropped(), n2.dropped()) == ({"undecodable": MAX_OFFENCES + 1},) * 2


def test_an_operator_brings_no_trigger_whatever_he_calls_it(network: Network, keys: KeyFolder) -> None:
    asked = Asked(network, keys, "olga")

    for action in ("reschedule", "pause"):
        answer = asked.answer(ChangeJob("7/2", "press", "work", action, unreadable()))
        assert answer.text == "ChangeJob (reschedule) needs the role author; the key 'olga' has the role operator"
    asked.send(ChangeJob("7/3", "press", "work", "pause"))

    eventually(lambda: asked.registry.keys == ["7/3"])
    assert asked.node.dropped() == {"refused": 2}


def test_what_is_for_another_actor_is_not_checked(network: Network, keys: KeyFolder) -> None:
    asked = Asked(network, keys, "alice")

    answer = asked.answer(ADD, to="coordinator")

    assert answer.text == "AddJobs is for registry, it was sent to 'coordinator'"
    assert asked.node.dropped() == {"refused": 1}


def test_the_rest_of_an_envelope_passes(network: Network, keys: KeyFolder) -> None:
    asked = Asked(network, keys, "bob")

    answer = asked.answer(ListMembers("7/4"), ADD, to="coordinator")

    assert answer.key == "7/1"
    eventually(lambda: asked.coordinator.keys == ["7/4"])
    assert asked.node.dropped() == {}


def test_a_key_that_is_revoked_has_nothing_checked(network: Network, keys: KeyFolder) -> None:
    asked = Asked(network, keys, "alice")
    keys.revoke("alice", AT)

    def is_refused() -> bool:
        asked.send(ListMembers("7/4"), to="coordinator")
        return bool(asked.answers.messages)

    eventually(is_refused)
    asked.send(ADD)

    eventually(lambda: asked.answers.messages[-1].key == "7/1")
    assert "the key 'alice' was revoked" in asked.answers.messages[-1].text
    assert asked.node.dropped().keys() == {"refused"}


@pytest.mark.parametrize("key", [None, 7, "x" * (MAX_KEY_CHARACTERS + 1)])
def test_what_is_no_key_of_a_request_is_not_repeated(network: Network, others: Strangers, key: object) -> None:
    node = network.node("n1", guard=OpenGuard())
    guest = others.guest(node, "client-7", "7")

    frame = data.pack_record(("client-7", "persistence", 0, [{"type": "take_lease", "key": key, "holder": 7}]))
    guest.say(wire.pack_batch([frame]))

    eventually(lambda: node.dropped() == {"refused": 1})
    assert guest.hears(within_ms=100) is None


@pytest.mark.parametrize("tag", [None, 7, [], {}, "no such thing"])
def test_what_is_no_message_is_the_peer_s_fault(network: Network, others: Strangers, tag: object) -> None:
    node = network.node("n1", guard=OpenGuard())
    guest = others.guest(node, "client-7", "7")

    guest.say(wire.pack_batch([data.pack_record(("client-7", "registry", 0, [{"type": tag}]))]))

    eventually(lambda: node.dropped() == {"undecodable": 1})


# ---- in whose name -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sender", ["registry", "registry@n1", "registry@n2x", "client-1", "@", "n2"])
def test_a_node_speaks_only_for_itself(network: Network, others: Strangers, sender: str) -> None:
    n1 = network.node("n1")
    clock = mailbox(n1, "clock")
    guest = others.guest(n1, "n2")

    guest.say(in_one_frame(noted("bad", "clock", sender)))
    guest.say(in_one_frame(noted("good", "clock", "registry@n2")))

    eventually(lambda: clock.keys == ["good"])
    assert n1.dropped() == {"refused": 1}


@pytest.mark.parametrize("sender", ["client-2", "registry", "client-1@n1", ""])
def test_a_client_speaks_only_for_itself(network: Network, others: Strangers, sender: str) -> None:
    n1 = network.node("n1")
    clock = mailbox(n1, "clock")
    guest = others.guest(n1, "client-1", "8")

    guest.say(in_one_frame(noted("bad", "clock", sender)))
    guest.say(in_one_frame(noted("good", "clock", "client-1")))

    eventually(lambda: clock.keys == ["good"])
    assert n1.dropped() == {"refused": 1}


# ---- several in one frame -------------------------------------------------------------------------------------------------


def clock_of(node: ZeroMQ) -> Mailbox:
    return mailbox(node, "clock")


@pytest.mark.parametrize(
    ("offence", "reason"), [(b"\xc1", "undecodable"), (noted("x", "clock", "registry@n9"), "refused")]
)
def test_behind_the_first_offence_of_a_frame_nothing_is_looked_at(
    network: Network, others: Strangers, offence: Envelope | bytes, reason: str
) -> None:
    node = network.node("n1")
    clock = clock_of(node)
    guest = others.guest(node, "n3")

    guest.say(in_one_frame(noted("a", "clock", "registry@n3"), offence, noted("b", "clock", "registry@n3")))
    guest.say(in_one_frame(noted("c", "clock", "registry@n3")))

    eventually(lambda: clock.keys == ["a", "c"])
    assert node.dropped() == {reason: 2}


def test_a_frame_is_one_offence(network: Network, others: Strangers) -> None:
    node, other = network.node("n1"), network.node("n2")
    clock = clock_of(node)
    join(other, node)
    guest = others.guest(node, "n3")

    guest.say(in_one_frame(*[b"\xc1"] * (MAX_OFFENCES + 1)))
    guest.say(in_one_frame(Envelope("registry@n3", "clock", 0, (Noted("a"),))))

    eventually(lambda: clock.keys == ["a"])
    assert names(node) == ["n2", "n3"]
    assert msgspec.to_builtins(node.dropped()) == {"undecodable": MAX_OFFENCES + 1}


def test_of_nodes_that_share_a_key_one_that_offends_is_kept_out_alone(
    network: Network, others: Strangers, keys: KeyFolder, caplog: pytest.LogCaptureFixture
) -> None:
    node = network.node("n1", guard=KeyGuard(keys))
    bad = others.dialer()
    KeyGuard(keys).secure_client(bad.socket, node.endpoints[0])
    bad.dial(node, wire.identity("n3", "1", 1)).greet("n3")
    assert bad.hears() is not None

    for _ in range(MAX_OFFENCES):
        bad.say(b"?")
    eventually(lambda: "peer_banned who='n3 " in caplog.text)
    join(network.node("n2", guard=KeyGuard(keys)), node)

    bad.greet("n3")
    refusal = bad.hears()
    assert refusal is not None
    assert "try again later" in wire.read_refusal(refusal).reason
