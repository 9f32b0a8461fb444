"""What every transport promises. A carrier joins by a line in `CARRIERS`."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import pytest

from callsheet.actors.messages import Assign, Found, Noted, Recorded
from callsheet.actors.records import Event
from callsheet.transport.contract import Envelope, Transport
from callsheet.transport.in_process import InProcess
from callsheet.transport.simulated import SimulatedNetwork
from support.virtual_time import VirtualTime
from support.waiting import eventually

NODE = "n1"


@dataclass
class Carrier:
    """A transport without faults at node n1; `pump` lets time pass where time is virtual."""

    transport: Transport
    pump: Callable[[], object]


def in_process() -> Carrier:
    return Carrier(InProcess(NODE), lambda: None)


def in_process_through_codec() -> Carrier:
    return Carrier(InProcess(NODE, through_codec=True), lambda: None)


def simulated() -> Carrier:
    time = VirtualTime()
    return Carrier(SimulatedNetwork(time, Random(1)).transport(NODE), time.run)


CARRIERS = (in_process, in_process_through_codec, simulated)


@pytest.fixture(params=CARRIERS, ids=lambda make: make.__name__)
def carrier(request: pytest.FixtureRequest) -> Iterator[Carrier]:
    made: Carrier = request.param()
    yield made
    made.transport.close()


class Mailbox:
    """Keeps what arrives, up to its room."""

    def __init__(self, room: int = 1_000_000) -> None:
        self.envelopes: list[Envelope] = []
        self.room = room

    def receive(self, envelope: Envelope) -> bool:
        if len(self.envelopes) >= self.room:
            return False
        self.envelopes.append(envelope)
        return True

    @property
    def messages(self) -> list[object]:
        return [message for envelope in self.envelopes for message in envelope.messages]


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


@pytest.mark.parametrize("make", [in_process, in_process_through_codec])
def test_many_threads_may_send_at_once(make: Callable[[], Carrier]) -> None:
    carrier, mailbox = make(), Mailbox()
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
