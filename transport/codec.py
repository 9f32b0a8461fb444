"""Envelopes as bytes, and bytes as envelopes.

A frame is the MessagePack array `[sender, recipient, epoch, messages]`. A message is a map of its fields with its tag, chosen
by hand in `actors.messages`, under `type`; fields at their defaults may be left out by a foreign sender, unknown ones are
ignored. Small records inside are arrays of their fields in order. `Found` and `Answer` carry rows of a type that depends on
the question; there `rows` is `[name, list]` with a name of `ROW_KINDS`.

    Envelope ─▶ plain values ─▶ MessagePack ─▶ frame ─▶ MessagePack, within limits ─▶ every field checked ─▶ Envelope

What is read may come from anybody: its size, lengths and depth are limited before it is looked at, and each field is checked
against its declared type before any actor sees it. Whatever is wrong with it is the peer's fault, a `DecodeError`. What is
to be sent is held to the same limits, so that nobody sends what every receiver would refuse; that is a `DataError`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Final

import msgspec
from msgspec.structs import replace

from .. import data
from ..actors import messages as declared
from ..actors.messages import ROW_KINDS, Answer, Found, PeerRestarted, RunnerReported, Started, TimerFired
from ..data import MAX_ENVELOPE_BYTES
from ..errors import DataError, DecodeError
from .contract import MAX_ADDRESS_LENGTH, Envelope, Fields

_ROWS: Final = (Found, Answer)
"""The messages whose rows are typed by name."""

NEVER_SENT: Final = (PeerRestarted, RunnerReported, Started, TimerFired)
"""What an actor is told by its host or its port alone: no peer may claim that a timer fired or that an actor was restarted."""

_LARGEST_EPOCH: Final = 2**63 - 1
_SURELY_WITHIN: Final = 1024
"""No frame of so few bytes holds anything longer than `data.LIMITS` allows (a map of 513 takes twice that)."""


def _collect() -> dict[str, type[msgspec.Struct]]:
    """Find every message type of `actors.messages` that may be sent, by its tag."""
    kinds: dict[str, type[msgspec.Struct]] = {}
    for kind in vars(declared).values():
        if not (
            isinstance(kind, type)
            and issubclass(kind, msgspec.Struct)
            and kind.__module__.startswith(declared.__name__)
        ):
            continue
        tag = kind.__struct_config__.tag
        if tag is not None and kind not in NEVER_SENT:
            assert isinstance(tag, str), f"the tag of {kind.__name__} is {tag!r}; give it a text"
            assert kinds.setdefault(tag, kind) is kind, (
                f"{kind.__name__} and {kinds[tag].__name__} share the tag {tag!r}"
            )
    return kinds


MESSAGES: Final = _collect()
"""Every message type that may be sent, by its tag."""

_TAGS: Final = {kind: tag for tag, kind in MESSAGES.items()}
_ROW_NAMES: Final = {kind: name for name, kind in ROW_KINDS.items()}
_ROW_TUPLES: Final[dict[str, Any]] = {name: tuple[kind, ...] for name, kind in ROW_KINDS.items()}  # type: ignore[valid-type]


# A struct, because msgspec analyses any other type at each use.
class Frame(msgspec.Struct, array_like=True, frozen=True, forbid_unknown_fields=True):
    """A frame whose messages were not looked at yet: each a map of whatever fields it came with."""

    sender: Annotated[str, msgspec.Meta(max_length=MAX_ADDRESS_LENGTH)]
    recipient: Annotated[str, msgspec.Meta(max_length=MAX_ADDRESS_LENGTH)]
    epoch: Annotated[int, msgspec.Meta(ge=0, le=_LARGEST_EPOCH)]
    messages: tuple[dict[str, Any], ...]


class _TooLarge(DataError):
    """More than one frame can hold; a part of it may fit."""


def encode(envelope: Envelope) -> bytes:
    """Encode an envelope as one frame.

    Raises:
        DataError: it is larger than one frame or one value in it may be, or contains what is not data or no message.
    """
    sender, recipient, epoch = envelope.sender, envelope.recipient, envelope.epoch
    if len(sender) > MAX_ADDRESS_LENGTH or len(recipient) > MAX_ADDRESS_LENGTH:
        raise DataError(f"{_name(envelope)} has an address longer than {MAX_ADDRESS_LENGTH} characters")
    if not 0 <= epoch <= _LARGEST_EPOCH:
        raise DataError(f"{_name(envelope)} has the epoch {epoch}; expected 0 to {_LARGEST_EPOCH}")
    messages = [_with_named_rows(message) for message in envelope.messages]
    try:
        frame = data.pack_record((sender, recipient, epoch, messages))
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise DataError(f"{_name(envelope)} contains what is not data: {error}; {_describe(envelope)}") from None
    if len(frame) > MAX_ENVELOPE_BYTES:
        raise _TooLarge(
            f"{_name(envelope)} has {len(frame):,} bytes, the limit is {MAX_ENVELOPE_BYTES:,}; send it in parts; "
            f"{_describe(envelope)}"
        )
    if len(frame) > _SURELY_WITHIN and not _is_within_limits(frame):
        raise _TooLarge(
            f"{_name(envelope)} holds a text, bytes, list or map that is longer than a receiver takes ({data.LIMITS}); "
            f"send it in parts; {_describe(envelope)}"
        )
    return frame


def encode_all(envelope: Envelope) -> list[bytes]:
    """Encode an envelope as the fewest frames, in order: more than one only when its messages are too large together.

    Raises:
        DataError: a message is too large alone, or contains what is not data.
    """
    try:
        return [encode(envelope)]
    except _TooLarge:
        if len(envelope.messages) <= 1:
            raise
    half = len(envelope.messages) // 2
    return [
        frame
        for part in (envelope.messages[:half], envelope.messages[half:])
        for frame in encode_all(replace(envelope, messages=part))
    ]


def decode(frame: bytes) -> Envelope:
    """Decode and check one frame.

    Raises:
        DecodeError: it is no envelope of known messages, or beyond the limits.
    """
    read = unpack(frame)
    return Envelope(read.sender, read.recipient, read.epoch, check(read.messages))


def unpack(frame: bytes) -> Frame:
    """Decode one frame, and check all of it but its messages: whoever may not send them need not have them checked.

    Raises:
        DecodeError: it is no frame, or beyond the limits.
    """
    if len(frame) > MAX_ENVELOPE_BYTES:
        raise DecodeError(f"an envelope of {len(frame):,} bytes, the limit is {MAX_ENVELOPE_BYTES:,}")
    return data.unpack_record(frame, Frame)


def check(messages: Iterable[Fields]) -> tuple[Any, ...]:
    """Check the messages of a frame, each against its declared type.

    Raises:
        DecodeError: one is unknown, or not what its type says.
    """
    return tuple(map(_checked, messages))


def _checked(fields: Fields) -> Any:
    """Check one message against its declared type."""
    tag = fields.get("type")
    kind = MESSAGES.get(tag) if isinstance(tag, str) else None
    if kind is None:
        raise DecodeError(f"a message of the unknown type {tag!r}")
    message = _convert(fields, kind, tag)
    return _with_typed_rows(message) if kind in _ROWS else message


def _convert(value: Any, kind: Any, name: object) -> Any:
    try:
        return msgspec.convert(value, kind, builtin_types=(bytes,))
    except (ValueError, RecursionError, ArithmeticError, LookupError, OSError) as error:  # a struct checks itself, too
        raise DecodeError(f"not a {name}: {error}") from None


def _is_within_limits(frame: bytes) -> bool:
    """Say whether a receiver would take the frame; reading it is the cheapest way to know."""
    try:
        data.unpack_record(frame, object)
    except DecodeError:
        return False
    return True


def _with_named_rows(message: Any) -> Any:
    """Check that it is a message, and put the name of their type before its rows, if it has some."""
    kind = type(message)
    if kind not in _TAGS:
        raise DataError(f"{kind.__name__} is no message that may be sent (see actors.messages, NEVER_SENT)")
    if kind not in _ROWS or not message.rows:
        return message
    kinds = {type(row) for row in message.rows}
    row_kind = type(message.rows[0])
    if len(kinds) > 1 or row_kind not in _ROW_NAMES:
        found = ", ".join(sorted(each.__name__ for each in kinds))
        raise DataError(f"{kind.__name__} carries rows of {found}; expected one of {', '.join(ROW_KINDS)}")
    return replace(message, rows=(_ROW_NAMES[row_kind], message.rows))


def _with_typed_rows(message: Found | Answer) -> Found | Answer:
    """Check the rows of a message against the type that stands before them."""
    match message.rows:
        case ():
            return message
        case (str(name), rows) if kind := _ROW_TUPLES.get(name):
            return replace(message, rows=_convert(rows, kind, name))
        case _:
            raise DecodeError(f"rows without the name of their type; expected one of {', '.join(ROW_KINDS)}")


def _name(envelope: Envelope) -> str:
    return f"the envelope from {envelope.sender!r} to {envelope.recipient!r}"


def _describe(envelope: Envelope) -> str:
    """Name the messages of an envelope for a person, the first few of them."""
    names = [type(message).__name__ for message in envelope.messages[:5]]
    more = len(envelope.messages) - len(names)
    return f"it carries {', '.join(names) or 'nothing'}{f' and {more} more' if more else ''}"
