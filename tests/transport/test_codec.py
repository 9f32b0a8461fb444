"""What is encoded comes back the same, and nothing but a DecodeError comes from bytes that are wrong."""

import typing
from typing import Any

import msgpack
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from callsheet import data, triggers
from callsheet.actors.executor.runner import Order
from callsheet.actors.messages import (
    ROW_KINDS,
    Accepted,
    Answer,
    Assign,
    Found,
    Gauged,
    MetricsReported,
    Noted,
    Recorded,
    Started,
    TimerFired,
)
from callsheet.actors.persistence.store import Answers, Counters
from callsheet.actors.records import Event, Run
from callsheet.data import MAX_ENVELOPE_BYTES
from callsheet.errors import DataError, DecodeError
from callsheet.transport.codec import MESSAGES, NEVER_SENT, decode, encode, encode_all
from callsheet.transport.contract import MAX_ADDRESS_LENGTH, Envelope
from support.structs import LARGEST, SMALLEST, TEXT, instances, undeclared

INSTANTS = st.none() | st.integers(0, 2**50)
SIMPLE_TRIGGERS: dict[type, st.SearchStrategy[Any]] = {
    triggers.At: st.builds(triggers.At, st.integers(0, 2**50)),
    triggers.Delay: st.builds(triggers.Delay, st.integers(0, 2**40)),
    triggers.Every: st.builds(triggers.Every, st.integers(10**6, 2**40), INSTANTS | st.just("now")),
    triggers.FixedDelay: st.builds(triggers.FixedDelay, st.integers(10**6, 2**40), INSTANTS),
    triggers.Cron: st.builds(
        triggers.Cron, st.sampled_from(["0 2 * * *", "*/5 8-18 * * mon-fri"]), st.just("Europe/Berlin")
    ),
    triggers.CalendarInterval: st.builds(triggers.CalendarInterval, months=st.integers(1, 9), day=st.integers(1, 31)),
    triggers.RRule: st.builds(triggers.RRule, st.just("FREQ=DAILY;COUNT=3"), INSTANTS),
    triggers.Manual: st.just(triggers.Manual()),
    triggers.Unreadable: st.builds(triggers.Unreadable, TEXT),
}
MEMBERS = st.one_of([each for kind, each in SIMPLE_TRIGGERS.items() if kind is not triggers.FixedDelay])
CALENDARS = st.builds(
    triggers.Calendar,
    TEXT.filter(bool),
    excluded_weekdays=st.just(("sat", "sun")),
    excluded_dates=st.sampled_from([(), ("12-25", "2027-01-06")]),
)
SPECIAL: dict[type, st.SearchStrategy[Any]] = SIMPLE_TRIGGERS | {
    triggers.Union: st.builds(triggers.Union, st.lists(MEMBERS, min_size=1, max_size=3).map(tuple)),
    triggers.Difference: st.builds(
        triggers.Difference, SIMPLE_TRIGGERS[triggers.Every], SIMPLE_TRIGGERS[triggers.Cron]
    ),
    triggers.Constrained: st.builds(triggers.Constrained, MEMBERS, calendar=st.none() | TEXT.filter(bool) | CALENDARS),
    triggers.Calendar: CALENDARS,
    triggers.CatchUp: st.builds(
        triggers.CatchUp,
        st.sampled_from(["latest", "earliest", "all", "none"]),
        window_us=INSTANTS,
        max_catchup=st.integers(1, 9),
    ),
}
ROWS = st.sampled_from(sorted(ROW_KINDS)).flatmap(
    lambda name: st.lists(instances(ROW_KINDS[name], SPECIAL), max_size=3).map(tuple)
)
SPECIAL[Found] = st.builds(Found, key=TEXT, rows=ROWS)
SPECIAL[Answer] = st.builds(Answer, key=TEXT, rows=ROWS)

STRATEGIES = {tag: instances(kind, SPECIAL) for tag, kind in MESSAGES.items()}
ANY_MESSAGE = st.sampled_from(sorted(STRATEGIES)).flatmap(lambda tag: STRATEGIES[tag])
ENVELOPES = st.builds(
    Envelope,
    sender=TEXT,
    recipient=TEXT,
    epoch=st.integers(0, LARGEST),
    messages=st.lists(ANY_MESSAGE, max_size=3).map(tuple),
)


def envelope(*messages: Any) -> Envelope:
    return Envelope("persistence@n2", "registry", 7, messages)


def frame(*messages: Any, sender: Any = "a", recipient: Any = "b", epoch: Any = 1) -> bytes:
    packed: bytes = msgpack.packb([sender, recipient, epoch, list(messages)])
    return packed


def nested(depth: int) -> Any:
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("tag", sorted(MESSAGES))
def test_every_message_comes_back_as_it_was_sent(tag: str) -> None:
    @settings(max_examples=25)
    @given(STRATEGIES[tag])
    def comes_back(message: Any) -> None:
        sent = envelope(message)
        received = decode(encode(sent))
        assert received == sent
        assert type(received.messages[0]) is MESSAGES[tag]

    comes_back()


@given(ENVELOPES)
def test_every_envelope_comes_back_as_it_was_sent(sent: Envelope) -> None:
    assert decode(encode(sent)) == sent
    assert encode(decode(encode(sent))) == encode(sent)


@pytest.mark.parametrize("number", [0, -1, SMALLEST, LARGEST, 2**64 - 1])
def test_integers_of_64_bits_come_back(number: int) -> None:
    assert decode(encode(envelope(Recorded((number,))))).messages == (Recorded((number,)),)


@pytest.mark.parametrize("kind", sorted(ROW_KINDS))
def test_rows_come_back_with_their_type(kind: str) -> None:
    @settings(max_examples=10)
    @given(st.lists(instances(ROW_KINDS[kind], SPECIAL), min_size=1, max_size=3).map(tuple))
    def come_back(rows: tuple[Any, ...]) -> None:
        [found, answer] = decode(encode(envelope(Found("k", rows), Answer("k", rows)))).messages
        assert found.rows == answer.rows == rows
        assert {type(row) for row in found.rows} == {ROW_KINDS[kind]}

    come_back()


def test_every_row_a_store_can_answer_has_a_name_on_the_wire() -> None:
    assert {*ROW_KINDS.values()} == {*typing.get_args(Answers)}


def test_no_message_but_those_with_named_rows_has_a_field_that_cannot_be_checked() -> None:
    assert sorted(path for kind in MESSAGES.values() for path in undeclared(kind)) == ["Answer.rows", "Found.rows"]


def test_what_only_a_host_may_say_cannot_come_from_a_peer() -> None:
    assert not {*NEVER_SENT} & {*MESSAGES.values()}
    with pytest.raises(DataError, match="TimerFired is no message that may be sent"):
        encode(envelope(TimerFired("next")))
    for message in ({"type": "timer", "key": "next"}, {"type": "started", "node": "n1", "incarnation": "i"}):
        with pytest.raises(DecodeError, match="unknown type"):
            decode(frame(message))


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        (object(), "object is no message"),
        (Run(1, "t", "j", 1, "submit", None, "", 0, 0, 0, b""), "Run is no message"),
        (Recorded((2**64,)), "not data"),
        (Noted("\ud800"), "not data"),
        (Noted(object()), "not data"),  # type: ignore[arg-type]  # a bug of the sender
        (Found("k", (Event(1, "x"), Counters(1, 2, 3))), "rows of Counters, Event"),
        (Answer("k", (object(),)), "rows of object"),
    ],
)
def test_what_is_no_data_is_the_senders_fault(message: Any, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        encode(envelope(message))


@pytest.mark.parametrize(
    "message",
    [
        MetricsReported("k", "x" * (data.LIMITS["max_str_len"] + 1)),
        Recorded(tuple(range(data.LIMITS["max_array_len"] + 1))),
        Gauged({str(number): 1.0 for number in range(data.LIMITS["max_map_len"] + 1)}),
        Assign(1, (Order(1, 1, 1, "t", "j", "thread", "f", bytes(data.LIMITS["max_bin_len"] + 1)),)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_value_that_a_receiver_would_refuse_is_not_sent(message: Any) -> None:
    with pytest.raises(DataError, match=f"longer than a receiver takes.*it carries {type(message).__name__}"):
        encode(envelope(message))


def test_an_envelope_that_is_too_large_names_its_size_and_what_it_carries() -> None:
    orders = tuple(Order(n, n, 1, "t", "j", "thread", "f", bytes(data.LIMITS["max_bin_len"])) for n in range(17))

    with pytest.raises(
        DataError, match=r"'persistence@n2' to 'registry' has 17,.* bytes, the limit is 16,777,216.*Assign"
    ):
        encode_all(envelope(Assign(1, orders)))


def test_messages_that_are_too_large_together_go_in_several_frames_in_order() -> None:
    orders = [Assign(1, (Order(n, n, 1, "t", "j", "thread", "f", bytes(2**20)),)) for n in range(40)]

    frames = encode_all(envelope(*orders))

    assert 3 <= len(frames) <= 4
    assert all(len(each) <= MAX_ENVELOPE_BYTES for each in frames)
    assert [message for each in frames for message in decode(each).messages] == orders


def test_more_messages_than_an_array_holds_go_in_several_frames() -> None:
    messages = tuple(Noted(str(number)) for number in range(10_000))

    assert [message for each in encode_all(envelope(*messages)) for message in decode(each).messages] == [*messages]


def test_a_small_envelope_is_one_frame() -> None:
    assert encode_all(envelope(Noted("k"))) == [encode(envelope(Noted("k")))]


@pytest.mark.parametrize(
    "sent",
    [Envelope("x" * (MAX_ADDRESS_LENGTH + 1), "b", 1, ()), Envelope("a", "b", -1, ()), Envelope("a", "b", 2**63, ())],
)
def test_an_envelope_that_a_receiver_would_refuse_is_not_sent(sent: Envelope) -> None:
    with pytest.raises(DataError):
        encode(sent)


NOTED = {"type": "noted", "key": "k"}


def test_a_frame_by_hand_is_understood() -> None:
    assert decode(frame(NOTED, sender="x", recipient="y", epoch=3)) == Envelope("x", "y", 3, (Noted("k"),))
    assert decode(frame({**NOTED, "from a newer version": 1})).messages == (Noted("k"),)


@pytest.mark.parametrize(
    "wrong",
    [
        b"",
        b"\xc1",
        frame(NOTED)[:-1],
        frame(NOTED) + b"\x00",
        msgpack.packb({}),
        msgpack.packb([]),
        msgpack.packb(["a", "b", 1]),
        msgpack.packb(["a", "b", 1, [], "more"]),
        frame(sender=1),
        frame(sender=b"a"),
        frame(sender="x" * 256),
        frame(epoch="1"),
        frame(epoch=1.0),
        frame(epoch=True),
        frame(epoch=-1),
        frame(epoch=2**63),
        frame("noted"),
        frame(None),
        frame({}),
        frame({"type": "no such"}),
        frame({"type": ["noted"], "key": "k"}),
        frame({"type": None}),
        frame({"type": "noted"}),
        frame({"type": "noted", "key": 1}),
        frame({"type": "noted", "key": b"k"}),
        frame({1: 2}),
        frame({"type": "accepted", "key": "k", "run_ids": [1.5], "durable": True}),
        frame({"type": "accepted", "key": "k", "run_ids": [1], "durable": 1}),
        frame({"type": "found", "key": "k", "rows": [1]}),
        frame({"type": "found", "key": "k", "rows": ["event"]}),
        frame({"type": "found", "key": "k", "rows": ["no such", []]}),
        frame({"type": "found", "key": "k", "rows": ["event", "x"]}),
        frame({"type": "found", "key": "k", "rows": ["event", [[1]]]}),
        frame({"type": "found", "key": "k", "rows": ["event", [[1, "kind"]], 3]}),
        frame({"type": "found", "key": "k", "rows": [["event"], []]}),
        frame({"type": "recorded", "fences": list(range(4097))}),
        frame({"type": "noted", "key": "x" * (256 * 1024 + 1)}),
        frame({"type": "e_gauged", "values": {str(n): 1.0 for n in range(513)}}),
        frame({"type": "noted", "key": msgpack.ExtType(5, b"x")}),
        frame({"type": "noted", "key": msgpack.Timestamp(1)}),
        frame(nested(400)),
        b"\x91" * 100_000,
        b"\x81\xa1a" * 100_000,
        b"\xdd\xff\xff\xff\xff",
        b"\xdf\xff\xff\xff\xff",
        b"\xdb\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        bytes(MAX_ENVELOPE_BYTES + 1),
    ],
)
def test_a_wrong_frame_is_the_peers_fault(wrong: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(wrong)


@given(st.binary(max_size=200))
@example(frame(NOTED))
def test_random_bytes_are_an_envelope_or_the_peers_fault(noise: bytes) -> None:
    assert_decoded_or_refused(noise)


@settings(max_examples=300)
@given(
    ENVELOPES, st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4), st.booleans()
)
def test_a_frame_with_wrong_bytes_is_an_envelope_or_the_peers_fault(
    sent: Envelope, changes: list[tuple[int, int]], cut: bool
) -> None:
    mutated = bytearray(encode(sent))
    for position, value in changes:
        mutated[position % len(mutated)] = value
    assert_decoded_or_refused(bytes(mutated[: changes[0][0] % len(mutated)] if cut else mutated))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(SMALLEST, LARGEST) | st.floats() | TEXT | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300)
@given(ENVELOPES.filter(lambda sent: sent.messages), st.data())
def test_a_frame_with_a_wrong_value_is_an_envelope_or_the_peers_fault(sent: Envelope, chance: st.DataObject) -> None:
    built = msgpack.unpackb(encode(sent))
    place: Any = built[3]
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = chance.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or chance.draw(st.integers(0, 4)) == 0:
            break
        place = place[key]
    place[key] = chance.draw(VALUES)
    assert_decoded_or_refused(msgpack.packb(built))


def assert_decoded_or_refused(received: bytes) -> None:
    """What was accepted must be able to go on its way again: nothing unchecked has come in."""
    try:
        accepted = decode(received)
    except DecodeError:
        return
    assert all(type(message) in MESSAGES.values() for message in accepted.messages)
    assert encode(decode(encode(accepted))) == encode(accepted)


def test_a_message_costs_its_fields_and_little_more() -> None:
    sent = envelope(Accepted("k", tuple(range(100)), durable=True))

    assert len(encode(sent)) < 180
    assert Started not in MESSAGES.values()
