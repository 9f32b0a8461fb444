"""Values as MessagePack bytes: arguments, results, records. The only module that knows the msgpack package.

Data is None, booleans, integers of 64 bits, floats, text, bytes, lists (a tuple arrives as a list), maps with text keys, and
aware datetimes (they arrive in UTC). Anything else is refused with a `DataError` that names where it stands. What is read
has limits, because it may come from a peer: see `LIMITS`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, TypeVar

import msgpack
import msgspec

from .errors import DataError, DecodeError

LIMITS: Final = {
    "max_str_len": 256 * 1024,
    "max_bin_len": 1024 * 1024,
    "max_array_len": 4096,
    "max_map_len": 512,
    "max_ext_len": 64,
}
"""What one value read from a peer may hold (bytes and items)."""

MAX_ENVELOPE_BYTES: Final = 16 * 1024 * 1024
"""Bytes of one frame at most: all that travels between nodes in one piece."""

_unpack_value: Final = partial(
    msgpack.unpackb,
    raw=False,
    strict_map_key=False,
    timestamp=3,
    max_array_len=1024 * 1024,
    max_map_len=1024 * 1024,
    max_ext_len=64,
)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_SMALLEST: Final = -(2**63)
_LARGEST: Final = 2**64 - 1

EMPTY_CALL: Final = b""
"""The arguments of a call without any."""

Record = TypeVar("Record")


def pack(value: Any, *, what: str = "value", limit: int | None = None) -> bytes:
    """Encode a user's value; `what` names it in the error, `limit` is in bytes.

    Raises:
        DataError: it is not data, or larger than `limit`.
    """
    try:
        packed = _kept("pack_value", _new_value_packer)(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{what} is not data: {_fault(value) or error}; {_ADVICE}") from None
    except RecursionError:
        raise DataError(f"{what} is nested too deeply, or contains itself; {_ADVICE}") from None
    if type(value) in _CONTAINERS and _has_odd_key(value):
        raise DataError(f"{what} is not data: {_fault(value)}; {_ADVICE}")
    if limit is not None and len(packed) > limit:
        raise DataError(
            f"{what} has {len(packed):,} bytes, the limit is {limit:,}; store it elsewhere and pass where it is"
        )
    return packed


def unpack(packed: bytes) -> Any:
    """Decode a user's value that `pack` made.

    Raises:
        DecodeError: the bytes are not such a value.
    """
    try:
        return _unpack_value(packed)
    except Exception as error:  # noqa: BLE001 - whatever the bytes make the decoder raise, they are at fault
        raise DecodeError(f"not MessagePack data: {error!r}") from None


def pack_call(args: tuple[Any, ...], kwargs: Mapping[str, Any], *, what: str, limit: int) -> bytes:
    """Encode a call's arguments; a call without any is `EMPTY_CALL`."""
    if not args and not kwargs:
        return EMPTY_CALL
    return pack([list(args), kwargs], what=what, limit=limit)


def unpack_call(packed: bytes) -> tuple[list[Any], dict[str, Any]]:
    """Decode a call's arguments that `pack_call` made."""
    if not packed:
        return [], {}
    args, kwargs = unpack(packed)
    return args, kwargs


def pack_record(record: Any) -> bytes:
    """Encode one of our own structs."""
    packed = _kept("pack_record", _new_record_packer)(msgspec.to_builtins(record, builtin_types=(bytes,)))
    if len(packed) > _LARGE:
        _OF_THREAD.pack_record = None  # it would keep a buffer of that size
    return packed


def unpack_record(packed: bytes, kind: type[Record], **instead: Any) -> Record:
    """Decode and check one of our own structs; with `instead` in place of what is packed of it under these names.

    Raises:
        DecodeError: the bytes are no such struct, or larger than `LIMITS` allows.
    """
    try:
        built = msgpack.unpackb(packed, raw=False, strict_map_key=True, **LIMITS)
        return msgspec.convert({**built, **instead} if instead else built, kind, builtin_types=(bytes,))
    except Exception as error:  # noqa: BLE001 - whatever the bytes make the decoder raise, they are at fault
        fault = error if isinstance(error, msgspec.ValidationError) else repr(error)
        raise DecodeError(f"not a {getattr(kind, '__name__', kind)}: {fault}") from None


_OF_THREAD: Final = threading.local()


_LARGE: Final = 1024 * 1024

_Pack = Callable[[Any], bytes]


def _kept(name: str, make: Callable[[], _Pack]) -> _Pack:
    """The packer of this name and thread: making a new one for each value takes four times as long as packing it."""
    packer: _Pack | None = getattr(_OF_THREAD, name, None)
    if packer is None:
        packer = make()
        setattr(_OF_THREAD, name, packer)
    return packer


def _new_value_packer() -> _Pack:
    pack_value: _Pack = msgpack.Packer(use_bin_type=True, strict_types=True, default=_convert).pack
    return pack_value


def _new_record_packer() -> _Pack:
    pack_record: _Pack = msgpack.Packer(use_bin_type=True).pack
    return pack_record


_ADVICE: Final = "data is None, bool, int (64 bits), float, str, bytes, list, dict with str keys, aware datetime"


def _convert(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    if type(value) is datetime and value.utcoffset() is not None:
        since = value.astimezone(UTC) - _EPOCH  # what has no instant of UTC could be packed, and not be read again
        return msgpack.Timestamp(since.days * 86_400 + since.seconds, since.microseconds * 1_000)
    raise TypeError(f"{type(value).__name__} is not data")


_CONTAINERS: Final = frozenset((dict, list, tuple))


def _has_odd_key(value: Any) -> bool:
    """Whether a map in a value has a key that is not text: MessagePack would take it, and not give it back."""
    waiting = [value]
    while waiting:
        container = waiting.pop()
        if type(container) is dict:
            for key in container:
                if type(key) is not str:
                    return True
            items = container.values()
        else:
            items = container
        waiting.extend([item for item in items if type(item) in _CONTAINERS])
    return False


def _fault(value: Any, path: str = "it", depth: int = 0) -> str:
    """Say where in a value the first thing stands that is not data; empty if it is not found."""
    if depth > 64:
        return f"{path} is nested too deeply"
    match value:
        case None | bool() | float() | str() | bytes():
            return ""
        case int():
            return "" if _SMALLEST <= value <= _LARGEST else f"{path} is an integer beyond 64 bits"
        case datetime():
            return _fault_of_datetime(value, path)
        case list() | tuple():
            faults = (_fault(item, f"{path}[{index}]", depth + 1) for index, item in enumerate(value))
            return next((fault for fault in faults if fault), "")
        case dict():
            odd = next((key for key in value if not isinstance(key, str)), None)
            if odd is not None or None in value:
                return f"{path} has the key {odd!r}, which is not text"
            faults = (_fault(item, f"{path}[{key!r}]", depth + 1) for key, item in value.items())
            return next((fault for fault in faults if fault), "")
        case _:
            return f"{path} is of type {type(value).__name__}"


def _fault_of_datetime(value: datetime, path: str) -> str:
    if value.utcoffset() is None:
        return f"{path} is a naive datetime"
    try:
        value.astimezone(UTC)
    except OverflowError:
        return f"{path} is a datetime that UTC does not have, which ends with the years 1 and 9999"
    return ""
