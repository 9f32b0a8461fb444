"""Real frames: an envelope of every message type, with fields drawn from a seed."""

from functools import cache
from random import Random
from typing import Any

from msgspec import inspect

from callsheet import triggers
from callsheet.actors.messages import ROW_KINDS, Answer, Envelope, Found
from callsheet.transport.codec import MESSAGES, encode
from callsheet.transport.zeromq import wire

MAX_DEPTH = 4  # below it containers are empty
SCALARS: dict[type[inspect.Type], tuple[Any, ...]] = {
    inspect.NoneType: (None,),
    inspect.BoolType: (False, True),
    inspect.IntType: (0, 1, -1, 127, 128, 65_536, 2**31, 2**53, 2**63 - 1, -(2**63)),
    inspect.FloatType: (0.0, -1.5, 1e300, float("inf")),
    inspect.StrType: ("", "a", "clock", "ünï", "x" * 40, "0 2 * * *", "Europe/Berlin", "\x00", "\U0001d54f"),
    inspect.BytesType: (b"", b"\x00", b"\xc1" * 20),
}

# Structs that check what they are given.
CHECKED: dict[type, tuple[Any, ...]] = {
    triggers.At: (triggers.At(0), triggers.At(2**50)),
    triggers.Delay: (triggers.Delay(5),),
    triggers.Every: (triggers.Every(10**6), triggers.Every(10**7, 3), triggers.Every(10**7, "now")),
    triggers.FixedDelay: (triggers.FixedDelay(10**6),),
    triggers.Cron: (triggers.Cron("0 2 * * *", "Europe/Berlin"), triggers.Cron("*/5 8-18 * * mon-fri")),
    triggers.CalendarInterval: (triggers.CalendarInterval(months=2, day=31),),
    triggers.RRule: (triggers.RRule("FREQ=DAILY;COUNT=3"),),
    triggers.Manual: (triggers.Manual(),),
    triggers.Unreadable: (triggers.Unreadable("no time zone"),),
    triggers.Union: (triggers.Union((triggers.At(1), triggers.Every(10**6))),),
    triggers.Difference: (triggers.Difference(triggers.Every(10**6), triggers.Cron("0 2 * * *")),),
    triggers.Constrained: (triggers.Constrained(triggers.Every(10**6), calendar="work"),),
    triggers.Calendar: (triggers.Calendar("work", excluded_weekdays=("sat", "sun")),),
    triggers.CatchUp: (triggers.CatchUp("latest"), triggers.CatchUp("all", max_catchup=5)),
}


def frames(random: Random, each: int = 3) -> list[bytes]:
    """Encoded envelopes, some of every message type, and some that carry several."""
    made = [
        encode(_envelope(random, *[_message(kind, random) for _ in range(count)]))
        for kind in MESSAGES.values()
        for count in range(1, each + 1)
    ]
    kinds = list(MESSAGES.values())
    return made + [
        encode(_envelope(random, *[_message(random.choice(kinds), random) for _ in range(8)])) for _ in kinds
    ]


def greetings(random: Random) -> list[bytes]:
    """Hellos, welcomes and refusals."""
    endpoint = random.choice(("", "tcp://127.0.0.1:7070"))
    hellos = [
        wire.Hello(wire.MAJOR, wire.MINOR, "n1", "1-ab", "node", endpoint),
        wire.Hello(wire.MAJOR, wire.MINOR, "client-7", "1-ab", "client", endpoint),
    ]
    packed = [wire.pack_greeting(kind, hello) for kind in (wire.HELLO, wire.WELCOME) for hello in hellos]
    return [*packed, wire.pack_refusal("for a reason")]


def _envelope(random: Random, *messages: Any) -> Envelope:
    return Envelope(random.choice(("registry@n2", "client-7", "x@y@z", "")), "clock", random.randrange(2**40), messages)


@cache
def _info(kind: type) -> inspect.Type:
    """How a type is made; finding out takes milliseconds."""
    return inspect.type_info(kind)


def _message(kind: type, random: Random) -> Any:
    if kind in (Found, Answer):
        row = random.choice(list(ROW_KINDS.values()))
        return kind("k", tuple(_value(_info(row), random, 0) for _ in range(random.randrange(3))))
    return _value(_info(kind), random, 0)


def _value(info: inspect.Type, random: Random, depth: int) -> Any:
    """A value of a type; containers are short, and empty where they are deep."""
    if type(info) in SCALARS:
        return random.choice(SCALARS[type(info)])
    match info:
        case inspect.LiteralType(values=values):
            return random.choice(values)
        case inspect.EnumType(cls=kind):
            return random.choice([*kind.__members__.values()])
        case inspect.UnionType(types=types):
            return _value(random.choice(types), random, depth)
        case inspect.StructType(cls=kind, fields=fields):
            if kind in CHECKED:
                return random.choice(CHECKED[kind])
            return kind(**{field.name: _value(field.type, random, depth + 1) for field in fields})
        case inspect.Metadata(type=inner):
            return _value(inner, random, depth)
        case _:
            return _container(info, random, depth + 1)


def _container(info: inspect.Type, random: Random, depth: int) -> Any:
    count = random.randrange(3) if depth < MAX_DEPTH else 0
    match info:
        case inspect.VarTupleType(item_type=item):
            return tuple(_value(item, random, depth) for _ in range(count))
        case inspect.TupleType(item_types=items):
            return tuple(_value(item, random, depth) for item in items)
        case inspect.DictType(value_type=value):
            return {str(number): _value(value, random, depth) for number in range(count)}
        case inspect.FrozenSetType(item_type=item):
            return frozenset(_value(item, random, depth) for _ in range(count))
        case _:
            raise NotImplementedError(f"{info}: say here how to make one")
