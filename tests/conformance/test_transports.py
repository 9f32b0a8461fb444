"""What every transport promises: within a node by a line in `CARRIERS`, and between two by one in `WAYS`."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest

from callsheet.actors.messages import Assign, Found, Noted, Recorded
from callsheet.actors.records import Event
from callsheet.errors import DataError
from callsheet.transport.contract import DropReason, Envelope, Transport
from callsheet.transport.in_process import InProcess
from callsheet.transport.simulated import SimulatedNetwork
from callsheet.transport.zeromq import ZeroMQ
from support.carrying import LOCAL, Mailbox, ipc_in, join, mailbox
from support.virtual_time import VirtualTime
from support.waiting import eventually

NODE = "n1"


@dataclass
class Carrier:
    """A transport without faults at node n1; `pump` lets time pass where time is virtual."""

    transport: Transport
    pump: Callable[[], object]


def in_process(folder: Path) -> Carrier:
    return Carrier(InProcess(NODE), lambda: None)


def in_process_through_codec(folder: Path) -> Carrier:
    return Carrier(InProcess(NODE, through_codec=True), lambda: None)


def simulated(folder: Path) -> Carrier:
    time = VirtualTime()
    return Carrier(SimulatedNetwork(time, Random(1)).transport(NODE), time.run)


def opened(name: str, endpoint: str) -> ZeroMQ:
    transport = ZeroMQ(name, "1", listen=[endpoint])
    transport.open()
    return transport


def zeromq_tcp(folder: Path) -> Carrier:
    return Carrier(opened(NODE, LOCAL), lambda: None)


def zeromq_ipc(folder: Path) -> Carrier:
    return Carrier(opened(NODE, ipc_in(folder, NODE)), lambda: None)


CARRIERS = (in_process, in_process_through_codec, simulated, zeromq_tcp, zeromq_ipc)


@pytest.fixture(params=CARRIERS, ids=lambda make: make.__name__)
def carrier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Carrier]:
    made: Carrier = request.param(tmp_path)
    yield made
    made.transport.close()


def noted(key: object, to: str = "clock") -> Envelope:
    return Envelope("registry", to, 3, (Noted(str(key)),))


def arrived(carrier: Carrier, mailbox: Mailbox, count: int) -> list[Envelope]:
    carrier.pump()
    eventually(lambda: len(mailbox.envelopes) >= count)
    return mailbox.envelopes


def test_an_envelope_arrives_as_it_was_sent(carrier: Carrier) -> None:
    mailbox = Mailbox()
    carrier.transport.attach("clock", mailbox.receive)
    envelope = Envelope(
        "persistence@n2",
        "clock",
        2**40,
        (Recorded((1, 2**63)), Found("k", (Event(5, "paused", text="ünï"),)), Assign(1, ())),
    )

    carrier.transport.send(envelope)

    assert arrived(carrier, mailbox, 1) == [envelope]


def test_a_batch_stays_a_batch_in_its_order(carrier: Carrier) -> None:
    mailbox = Mailbox()
    carrier.transport.attach("clock", mailbox.receive)
    batch = tuple(Noted(str(number)) for number in range(1_000))

    carrier.transport.send(Envelope("clock", "clock", 0, batch))

    [envelope] = arrived(carrier, mailbox, 1)
    assert envelope.messages == batch


def test_envelopes_without_faults_arrive_once_and_in_order(carrier: Carrier) -> None:
    mailbox = Mailbox()
    carrier.transport.attach("clock", mailbox.receive)

    for number in range(500):
        carrier.transport.send(noted(number))

    assert arrived(carrier, mailbox, 500) == [noted(number) for number in range(500)]
    assert carrier.transport.dropped() == {}


def test_each_recipient_gets_its_own_mail(carrier: Carrier) -> None:
    clock, client = Mailbox(), Mailbox()
    carrier.transport.attach("clock", clock.receive)
    carrier.transport.attach("client-1", client.receive)

    carrier.transport.send(noted("a", "clock"))
    carrier.transport.send(noted("b", "client-1"))

    assert arrived(carrier, clock, 1) == [noted("a", "clock")]
    assert arrived(carrier, client, 1) == [noted("b", "client-1")]


def test_an_address_that_names_this_node_is_a_local_one(carrier: Carrier) -> None:
    mailbox = Mailbox()
    carrier.transport.attach("clock", mailbox.receive)

    carrier.transport.send(noted("a", f"clock@{NODE}"))

    assert arrived(carrier, mailbox, 1)[0].messages == (Noted("a"),)


@pytest.mark.parametrize("address", ["nobody", f"nobody@{NODE}", "clock@elsewhere", ""])
def test_what_is_sent_to_nobody_is_dropped_and_counted(carrier: Carrier, address: str) -> None:
    mailbox = Mailbox()
    carrier.transport.attach("clock", mailbox.receive)

    carrier.transport.send(noted("a", address))
    carrier.transport.send(noted("b"))

    assert [each.messages for each in arrived(carrier, mailbox, 1)] == [(Noted("b"),)]
    assert eventually(carrier.transport.dropped) == {"absent": 1}


def test_what_a_full_mailbox_refuses_is_dropped_and_counted(carrier: Carrier) -> None:
    mailbox = Mailbox(room=2)
    carrier.transport.attach("clock", mailbox.receive)

    for number in range(5):
        carrier.transport.send(noted(number))

    assert arrived(carrier, mailbox, 2) == [noted(0), noted(1)]
    eventually(lambda: carrier.transport.dropped() == {"full": 3})


def test_a_full_mailbox_holds_up_nobody_else(carrier: Carrier) -> None:
    full, free = Mailbox(room=0), Mailbox()
    carrier.transport.attach("clock", full.receive)
    carrier.transport.attach("registry", free.receive)

    for number in range(100):
        carrier.transport.send(noted(number))
        carrier.transport.send(noted(number, "registry"))

    assert len(arrived(carrier, free, 100)) == 100


def test_a_mailbox_with_room_again_takes_what_is_sent_then(carrier: Carrier) -> None:
    mailbox = Mailbox(room=0)
    carrier.transport.attach("clock", mailbox.receive)
    carrier.transport.send(noted("early"))
    carrier.pump()
    eventually(lambda: carrier.transport.dropped() == {"full": 1})

    mailbox.room = 1
    carrier.transport.send(noted("late"))

    assert arrived(carrier, mailbox, 1) == [noted("late")]


def test_nothing_arrives_after_detaching(carrier: Carrier) -> None:
    mailbox = Mailbox()
    carrier.transport.attach("clock", mailbox.receive)
    carrier.transport.detach("clock")
    carrier.transport.detach("clock")

    carrier.transport.send(noted("a"))
    carrier.pump()

    eventually(lambda: carrier.transport.dropped() == {"absent": 1})
    assert mailbox.envelopes == []


def test_whoever_attaches_again_gets_the_mail_from_then_on(carrier: Carrier) -> None:
    first, second = Mailbox(), Mailbox()
    carrier.transport.attach("clock", first.receive)
    carrier.transport.send(noted("a"))
    arrived(carrier, first, 1)

    carrier.transport.attach("clock", second.receive)
    carrier.transport.send(noted("b"))

    assert arrived(carrier, second, 1) == [noted("b")]
    assert first.envelopes == [noted("a")]


def test_what_is_sent_after_closing_is_dropped_and_counted(carrier: Carrier) -> None:
    mailbox = Mailbox()
    carrier.transport.attach("clock", mailbox.receive)
    carrier.transport.close()
    carrier.transport.close()
    carrier.transport.attach("clock", mailbox.receive)

    carrier.transport.send(noted("a"))
    carrier.pump()

    assert carrier.transport.dropped() == {"closed": 1}
    assert mailbox.envelopes == []


def test_a_recipient_may_send_while_it_receives(carrier: Carrier) -> None:
    mailbox = Mailbox()

    def pass_on(envelope: Envelope) -> bool:
        carrier.transport.send(Envelope("clock", "registry", envelope.epoch, envelope.messages))
        return True

    carrier.transport.attach("clock", pass_on)
    carrier.transport.attach("registry", mailbox.receive)
    carrier.transport.send(noted("a"))

    assert arrived(carrier, mailbox, 1) == [Envelope("clock", "registry", 3, (Noted("a"),))]


def test_what_has_arrived_cannot_be_changed(carrier: Carrier) -> None:
    mailbox = Mailbox()
    carrier.transport.attach("clock", mailbox.receive)
    carrier.transport.send(noted("a"))
    [envelope] = arrived(carrier, mailbox, 1)

    with pytest.raises(AttributeError):
        envelope.epoch = 9  # type: ignore[misc]  # it is what must not work
    with pytest.raises(AttributeError):
        envelope.messages[0].key = "b"
    assert isinstance(envelope.messages, tuple)


@pytest.mark.parametrize("make", [each for each in CARRIERS if each is not simulated])
def test_many_threads_may_send_at_once(make: Callable[[Path], Carrier], tmp_path: Path) -> None:
    carrier, mailbox = make(tmp_path), Mailbox()
    carrier.transport.attach("clock", mailbox.receive)

    def send(sender: str) -> None:
        for number in range(200):
            carrier.transport.send(Envelope(sender, "clock", 0, (Noted(str(number)),)))
            carrier.transport.send(noted(number, "nobody"))

    threads = [threading.Thread(target=send, args=(f"client-{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=30)

    assert len(arrived(carrier, mailbox, 800)) == 800
    assert carrier.transport.dropped() == {"absent": 800}
    for number in range(4):
        sent = [each.messages[0].key for each in mailbox.envelopes if each.sender == f"client-{number}"]
        assert sent == [str(each) for each in range(200)]
    carrier.transport.close()


# ---- between two nodes ----------------------------------------------------------------------------------------------------


@dataclass
class Way:
    """A way without faults from node n1 to node n2 and back."""

    near: Transport
    far: Transport
    pump: Callable[[], object]

    def dropped(self) -> Mapping[DropReason, int]:
        """What was dropped at both ends; where it is counted is the carrier's affair."""
        return Counter(self.near.dropped()) + Counter(self.far.dropped())


def between_simulated(folder: Path) -> Way:
    time = VirtualTime()
    network = SimulatedNetwork(time, Random(1))
    return Way(network.transport("n1"), network.transport("n2"), time.run)


def _between(near: str, far: str) -> Way:
    one, other = opened("n1", near), opened("n2", far)
    join(one, other)
    return Way(one, other, lambda: None)


def between_zeromq_tcp(folder: Path) -> Way:
    return _between(LOCAL, LOCAL)


def between_zeromq_ipc(folder: Path) -> Way:
    return _between(ipc_in(folder, "n1"), ipc_in(folder, "n2"))


WAYS = (between_simulated, between_zeromq_tcp, between_zeromq_ipc)


@pytest.fixture(params=WAYS, ids=lambda make: make.__name__.removeprefix("between_"))
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Way]:
    made: Way = request.param(tmp_path)
    yield made
    made.near.close()
    made.far.close()


def away(key: object, to: str = "clock@n2") -> Envelope:
    return Envelope("registry@n1", to, 3, (Noted(str(key)),))


def test_an_envelope_arrives_at_another_node_as_it_was_sent(way: Way) -> None:
    clock = mailbox(way.far, "clock")
    envelope = Envelope(
        "persistence@n1",
        "clock@n2",
        2**40,
        (Recorded((1, 2**63)), Found("k", (Event(5, "paused", text="ünï"),)), Assign(1, ())),
    )

    way.near.send(envelope)
    way.pump()

    eventually(lambda: clock.envelopes == [envelope])


def test_envelopes_arrive_at_another_node_once_and_in_order(way: Way) -> None:
    clock = mailbox(way.far, "clock")

    for number in range(2_000):
        way.near.send(away(number))
    way.pump()

    eventually(lambda: len(clock.envelopes) == 2_000)
    assert clock.keys == [str(number) for number in range(2_000)]
    assert way.dropped() == {}


def test_an_answer_goes_where_the_sender_says(way: Way) -> None:
    registry = mailbox(way.near, "registry")

    def answer(envelope: Envelope) -> bool:
        way.far.send(Envelope("clock@n2", envelope.sender, 0, envelope.messages))
        return True

    way.far.attach("clock", answer)
    way.near.send(away("a"))
    way.pump()

    eventually(lambda: registry.envelopes == [Envelope("clock@n2", "registry@n1", 0, (Noted("a"),))])


def test_what_is_sent_to_nobody_at_another_node_is_dropped_and_counted(way: Way) -> None:
    clock = mailbox(way.far, "clock")

    way.near.send(away("a", "nobody@n2"))
    way.near.send(away("b"))
    way.pump()

    eventually(lambda: clock.keys == ["b"])
    eventually(lambda: way.dropped() == {"absent": 1})


def test_a_full_mailbox_at_another_node_holds_up_nobody_else(way: Way) -> None:
    full = Mailbox(room=2)
    way.far.attach("clock", full.receive)
    registry = mailbox(way.far, "registry")

    for number in range(100):
        way.near.send(away(number))
        way.near.send(away(number, "registry@n2"))
    way.pump()

    eventually(lambda: len(registry.envelopes) == 100)
    eventually(lambda: way.dropped() == {"full": 98})
    assert full.keys == ["0", "1"]


def test_what_is_too_large_for_a_frame_arrives_in_parts(way: Way) -> None:
    clock = mailbox(way.far, "clock")
    messages = tuple(Noted(str(number % 10) * 200_000) for number in range(120))

    way.near.send(Envelope("registry@n1", "clock@n2", 3, messages))
    way.pump()

    eventually(lambda: len(clock.messages) == 120)
    assert tuple(clock.messages) == messages
    assert len(clock.envelopes) == 2


def test_what_can_never_travel_is_told_to_whoever_sends_it(way: Way) -> None:
    with pytest.raises(DataError):
        way.near.send(Envelope("registry@n1", "clock@n2", 3, (object(),)))

    assert way.near.dropped() == {"unsendable": 1}


def test_a_node_that_has_closed_is_sent_nothing(way: Way) -> None:
    clock = mailbox(way.far, "clock")
    way.far.close()

    def is_told() -> bool:  # not of what was on the line when it was lost
        way.near.send(away("a"))
        way.pump()
        return sum(way.dropped().values()) > 0

    eventually(is_told)
    assert {*way.dropped()} <= {"absent", "cut", "lost"}
    assert clock.envelopes == []
