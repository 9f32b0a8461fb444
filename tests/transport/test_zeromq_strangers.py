"""Peers that are slow, wrong, of another version, or not who they say: what they cannot do to the others."""

import time
from collections.abc import Iterator

import msgpack
import pytest
import zmq

from callsheet.actors.messages import Envelope
from callsheet.errors import DecodeError
from callsheet.transport.codec import encode
from callsheet.transport.zeromq import wire
from callsheet.transport.zeromq.offence import BAN_MS, MAX_OFFENCES, MAX_REMEMBERED, WITHIN_MS, Offenders
from callsheet.transport.zeromq.peer import MAX_WAITING, Outbox
from support.carrying import Network, Strangers, hello, join, mailbox, names, noted, strangers
from support.waiting import eventually

RUBBISH = (
    (b"",),
    (b"?",),
    (b"E",),
    (b"Exyz",),
    (b"E\xff\xff\xff\xff",),
    (b"E\x00\x00\x00\x01\xc1",),
    (b"E" + b"\x00\x00\x00\x00" * 65,),
    (b"H",),
    (b"H\x80",),
    (b"H" + b"x" * 5_000,),
    (b"E", b"in", b"parts"),
    (b"W\x80",),
    (b"R\x80",),
)


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as made:
        yield made


@pytest.fixture
def others() -> Iterator[Strangers]:
    with strangers() as made:
        yield made


def batch(*envelopes: Envelope) -> bytes:
    return wire.pack_batch([encode(envelope) for envelope in envelopes])


# ---- slow -----------------------------------------------------------------------------------------------------------------


def test_a_peer_that_reads_nothing_holds_up_nobody(network: Network, others: Strangers) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    join(n1, n2)
    clock = mailbox(n2, "clock")
    others.guest(n1, "n3")
    longest, kilobyte = 0.0, "x" * 1_000

    for number in range(60_000):
        began = time.thread_time()
        n1.send(noted(kilobyte, "clock@n3"))
        longest = max(longest, time.thread_time() - began)
        if number % 100 == 0:
            n1.send(noted(number, "clock@n2"))

    eventually(lambda: len(clock.envelopes) == 600)
    assert n1.dropped()["full"] > 1_000
    assert longest < 0.05
    assert clock.keys == [str(number) for number in range(0, 60_000, 100)]


def test_a_slow_peer_gets_in_order_what_was_not_dropped(network: Network, others: Strangers) -> None:
    n1 = network.node("n1")
    slow = others.guest(n1, "n3")
    sent = MAX_WAITING

    for number in range(sent):
        n1.send(noted(f"{number:01000}", "clock@n3"))
    keys: list[int] = []
    while len(keys) < sent:
        body = slow.hears()
        assert body is not None
        keys += [int(read_key(frame)) for frame in wire.unpack_batch(body)]

    assert keys == list(range(sent))
    assert n1.dropped() == {}


def read_key(frame: bytes) -> str:
    _, _, _, [message] = msgpack.unpackb(frame)
    key = message["key"]
    assert isinstance(key, str)
    return key


def test_an_outbox_is_limited_and_keeps_its_order() -> None:
    outbox = Outbox()

    assert outbox.put([b"0"]) == "first"
    for number in range(1, MAX_WAITING):
        assert outbox.put([b"%d" % number]) == "more"
    assert outbox.put([b"x"]) == "full"
    batch = outbox.take()
    outbox.give_back(batch)

    taken: list[bytes] = []
    while batch := outbox.take():
        assert len(batch) <= wire.MAX_BATCH
        taken += batch
    assert taken == [b"%d" % number for number in range(MAX_WAITING)]


def test_a_batch_is_limited_in_bytes_and_a_large_envelope_goes_alone() -> None:
    outbox = Outbox()
    for size in (100_000, 100_000, 100_000, 5_000_000, 1):
        outbox.put([bytes(size)])

    assert [list(map(len, outbox.take())) for _ in range(4)] == [[100_000, 100_000], [100_000], [5_000_000], [1]]
    assert outbox.put([bytes(100_000_000)]) == "first"
    assert outbox.put([b"x"]) == "full"


# ---- rubbish --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("frames", RUBBISH, ids=range(len(RUBBISH)))
def test_rubbish_is_counted_and_harms_nobody(network: Network, others: Strangers, frames: tuple[bytes, ...]) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    join(n2, n1)
    clock = mailbox(n1, "clock")

    others.dialer().dial(n1, b"who").say(*frames)
    others.guest(n1, "n3").say(*frames)
    n2.send(noted("a", "clock@n1"))

    eventually(lambda: clock.keys == ["a"])
    eventually(lambda: sum(n1.dropped().values()) >= 2)
    assert {*n1.dropped()} <= {"undecodable", "refused"}  # who sends envelopes unwelcomed is asked for a hello


def test_whoever_goes_on_is_disconnected_and_kept_out(
    network: Network, others: Strangers, caplog: pytest.LogCaptureFixture
) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    join(n2, n1)
    clock = mailbox(n1, "clock")
    bad = others.guest(n1, "n3")
    gone = bad.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)

    for _ in range(MAX_OFFENCES):
        bad.say(b"Exyz")

    assert gone.poll(10_000)
    gone.close()
    eventually(lambda: names(n1) == ["n2"])
    bad.greet("n3")
    refusal = bad.hears()
    assert refusal is not None
    assert "try again later" in wire.read_refusal(refusal).reason
    bad.say(batch(noted("bad", "clock", "registry@n3")))
    n2.send(noted("a", "clock@n1"))
    eventually(lambda: n1.dropped() == {"undecodable": MAX_OFFENCES + 1})
    eventually(lambda: clock.keys == ["a"])
    assert ("n1", "lost", "n3", "1") in network.news
    assert "peer_banned who='n3'" in caplog.text


def test_a_listener_that_sends_rubbish_is_let_go(network: Network, others: Strangers) -> None:
    n1 = network.node("n1")
    listener, endpoint = others.listener()
    n1.connect(endpoint)
    identity, _ = listener.socket.recv_multipart()

    for _ in range(MAX_OFFENCES):
        listener.say(identity, b"?")

    eventually(lambda: "cannot be read" in n1.refusals().get(endpoint, ""))
    assert n1.dropped() == {"undecodable": MAX_OFFENCES}


def test_offences_are_forgotten_and_bans_end() -> None:
    offenders = Offenders()

    for number in range(MAX_OFFENCES - 1):
        assert not offenders.note("a", number)
    assert not offenders.note("a", WITHIN_MS + MAX_OFFENCES)
    at = WITHIN_MS + MAX_OFFENCES
    assert [offenders.note("a", at) for _ in range(MAX_OFFENCES - 1)] == [False] * (MAX_OFFENCES - 2) + [True]
    assert offenders.is_banned("a", at + BAN_MS - 1)
    assert not offenders.is_banned("b", at)
    assert not offenders.is_banned("a", at + BAN_MS)
    assert not offenders.is_banned("a", at)


def test_of_too_many_offenders_the_earliest_is_forgotten() -> None:
    offenders = Offenders()

    for number in range(MAX_REMEMBERED + 1):
        for _ in range(MAX_OFFENCES):
            offenders.note(str(number), 0)

    assert not offenders.is_banned("0", 0)
    assert offenders.is_banned("1", 0)


def test_a_batch_comes_back_as_it_was_packed() -> None:
    for envelopes in ([b"a"], [b"", b"bc", bytes(70_000)], [b"x"] * wire.MAX_BATCH):
        assert wire.unpack_batch(wire.pack_batch(envelopes)) == envelopes
    with pytest.raises(DecodeError, match="more than 64 envelopes"):
        wire.unpack_batch(wire.pack_batch([b"x"] * (wire.MAX_BATCH + 1)))


# ---- other versions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("major", "minor"), [(wire.MAJOR + 1, 0), (0, 9), (wire.MAJOR, wire.MINOR + 2)])
def test_another_version_is_refused_with_both_named(
    network: Network, others: Strangers, major: int, minor: int
) -> None:
    n1 = network.node("n1")
    other = others.dialer().dial(n1, wire.identity("n2", "1", 1))

    other.greet("n2", major=major, minor=minor)

    answer = other.hears()
    assert answer is not None
    assert answer[0] == wire.REFUSED
    refusal = wire.read_refusal(answer)
    assert f"protocol {wire.MAJOR}.{wire.MINOR} is spoken here, and {major}.{minor} there" in refusal.reason
    assert (refusal.major, refusal.minor) == (wire.MAJOR, wire.MINOR)


def test_a_neighbouring_minor_is_welcome(network: Network, others: Strangers) -> None:
    n1 = network.node("n1")
    other = others.dialer().dial(n1, wire.identity("n2", "1", 1))

    other.greet("n2", minor=wire.MINOR + 1)

    assert (other.hears() or b"?")[0] == wire.WELCOME
    eventually(lambda: names(n1) == ["n2"])


def test_who_is_refused_again_and_again_is_logged_once_for_a_while(
    network: Network, others: Strangers, caplog: pytest.LogCaptureFixture
) -> None:
    n1 = network.node("n1")
    other = others.dialer().dial(n1, wire.identity("n2", "1", 1))

    with caplog.at_level("INFO", "callsheet.transport"):
        for _ in range(40):
            other.greet("n2", major=wire.MAJOR + 1)
            assert (other.hears() or b"?")[0] == wire.REFUSED

    assert caplog.text.count("hello_refused") == 1


def test_what_is_learned_in_vain_again_and_again_is_logged_once_for_a_while(
    network: Network, caplog: pytest.LogCaptureFixture
) -> None:
    n1 = network.node("n1")

    for _ in range(40):
        n1.learn("n2", "tcp://*:1")

    assert caplog.text.count("endpoint_unusable node='n2' endpoint='tcp://*:1' why=no_endpoint") == 1


def test_a_hello_of_a_far_version_need_only_say_which(network: Network, others: Strangers) -> None:
    n1 = network.node("n1")
    other = others.dialer().dial(n1, b"from the future")

    other.say(b"H" + msgpack.packb({"major": 40_000, "minor": 2, "who": ["else", {"knows": "what"}]}))

    assert "40000.2 there" in wire.read_refusal(other.hears() or b"").reason


def test_a_listener_of_another_version_is_told_to_a_person(
    network: Network, others: Strangers, caplog: pytest.LogCaptureFixture
) -> None:
    client = network.open("client-1")
    listener, endpoint = others.listener()

    client.connect(endpoint)
    identity, _ = listener.socket.recv_multipart()
    listener.say(identity, wire.pack_greeting(wire.WELCOME, hello("n1", major=9)))

    eventually(lambda: "1.0 is spoken here, and 9.0 there" in client.refusals().get(endpoint, ""))
    assert client.peers() == []
    assert "line_refused" in caplog.text


# ---- in the name of others ------------------------------------------------------------------------------------------------


def test_a_second_connection_cannot_take_an_identity(network: Network, others: Strangers) -> None:
    n1 = network.node("n1")
    victim = others.guest(n1, "n2")

    thief = others.dialer().dial(n1, wire.identity("n2", "1", 1))
    thief.greet("n2")
    n1.send(noted("a", "clock@n2"))

    body = victim.hears()
    assert body is not None
    assert body[0] == wire.ENVELOPES
    assert thief.hears(within_ms=300) is None


@pytest.mark.parametrize("identity", [b"n2", b"n3\x001\x001", b"n2\x002\x001"])
def test_a_hello_that_is_not_of_its_identity_is_refused(network: Network, others: Strangers, identity: bytes) -> None:
    n1 = network.node("n1")
    thief = others.dialer().dial(n1, identity)

    thief.greet("n2", "1")

    assert "the identity of this line is not that of n2" in wire.read_refusal(thief.hears() or b"").reason
    assert n1.peers() == []


def test_a_node_cannot_come_in_the_name_of_the_one_it_calls(network: Network, others: Strangers) -> None:
    n1 = network.node("n1")
    thief = others.dialer().dial(n1, wire.identity("n1", "1", 1))

    thief.greet("n1")

    assert "give each node a name of its own" in wire.read_refusal(thief.hears() or b"").reason


def test_a_name_of_a_client_is_not_that_of_a_node(network: Network, others: Strangers) -> None:
    n1 = network.node("n1")

    for name, kind in (("client-1", "node"), ("n2", "client")):
        stranger = others.dialer().dial(n1, wire.identity(name, "1", 1))
        stranger.say(b"H" + msgpack.packb({**vars_of(hello(name)), "kind": kind}))

    eventually(lambda: n1.dropped() == {"undecodable": 2})


def vars_of(said: wire.Hello) -> dict[str, object]:
    return {field: getattr(said, field) for field in said.__struct_fields__}


def test_what_is_for_another_node_is_not_passed_on(network: Network, others: Strangers) -> None:
    n1, n2 = network.node("n1"), network.node("n2")
    join(n1, n2)
    clock = mailbox(n2, "clock")

    others.guest(n1, "n3").say(batch(noted("a", "clock@n2", "registry@n3")))

    eventually(lambda: n1.dropped() == {"absent": 1})
    assert clock.envelopes == []


def test_whoever_speaks_before_the_hello_is_asked_for_it(network: Network, others: Strangers) -> None:
    n1 = network.node("n1")
    clock = mailbox(n1, "clock")
    stranger = others.dialer().dial(n1, wire.identity("n2", "1", 1))

    stranger.say(batch(noted("a", "clock", "registry@n2")))

    assert stranger.hears() == b"S"
    assert clock.envelopes == []
    assert n1.dropped() == {"refused": 1}


def test_whoever_is_asked_for_its_hello_says_it(network: Network, others: Strangers) -> None:
    n1 = network.node("n1")
    listener, endpoint = others.listener()
    n1.connect(endpoint)

    for asks in (b"S", b"S", b""):
        identity, body = listener.socket.recv_multipart()
        assert wire.read_hello(body).name == "n1"
        if asks:
            listener.say(identity, asks)
