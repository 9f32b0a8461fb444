"""What is said of runs before they are submitted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from ..actors.executor.functions import Function
from ..actors.messages import SubmitItem
from ..actors.records import MAX_ARGUMENT_BYTES
from ..data import pack_call
from ..errors import DefinitionError
from .handle import Handle
from .option import Duration, check_name, check_priority, duration_us
from .questions import Target

if TYPE_CHECKING:
    from .vocabulary import Vocabulary


class Submission:
    """What is said of runs before they are submitted; made by `Scheduler.options`."""

    def __init__(
        self,
        scheduler: Vocabulary,
        priority: int | None,
        token: str | None,
        delay: Duration | None,
        at: datetime | None,
        timeout: float | None,
    ) -> None:
        self._scheduler = scheduler
        self._priority = None if priority is None else check_priority(priority)
        self._token = None if token is None else check_name(token, "an idempotency key")
        self._not_before = _not_before(delay, at)
        self.timeout_s = None if timeout is None else duration_us(timeout, "timeout") / 1_000_000

    def submit(self, job: Target, *args: Any, **kwargs: Any) -> Handle:
        """See `Scheduler.submit`."""
        return self._scheduler.submit_items([self.item(job, args, kwargs)], "submit", self.timeout_s)[0]

    def submit_many(self, calls: Iterable[Sequence[Any]]) -> list[Handle]:
        """See `Scheduler.submit_many`."""
        items = self.items(calls)
        return self._scheduler.submit_items(items, "submit", self.timeout_s) if items else []

    def item(self, job: Target, args: tuple[Any, ...], kwargs: dict[str, Any]) -> SubmitItem:
        """One run as it is asked for, checked."""
        return self._item(self._target(job), args, kwargs)

    def items(self, calls: Iterable[Sequence[Any]]) -> list[SubmitItem]:
        """Runs as they are asked for, checked, in order."""
        if self._token is not None:
            raise DefinitionError("one idempotency key names one run; submit them one by one")
        items: list[SubmitItem] = []
        target: _Resolved | None = None
        for call in calls:
            if isinstance(call, str) or not isinstance(call, Sequence) or not call:
                raise DefinitionError(f"submit_many takes (job, *arguments) for each run; found {call!r}")
            if target is None or call[0] is not target.job:
                target = self._target(call[0])
            items.append(self._item(target, tuple(call[1:]), {}))
        return items

    def _target(self, job: Target) -> _Resolved:
        name, function = self._scheduler.resolve(job)
        return _Resolved(job, name, function, f"job {name!r}: its arguments")

    def _item(self, target: _Resolved, args: tuple[Any, ...], kwargs: dict[str, Any]) -> SubmitItem:
        name, function, packed = target.name, target.function, b""
        if args or kwargs:
            if function is not None:
                function.check_call(args, kwargs)
            packed = pack_call(args, kwargs, what=target.what, limit=MAX_ARGUMENT_BYTES)
        elif function is not None and not self._scheduler.has_arguments(name):
            function.check_call(args, kwargs)
        return SubmitItem(name, packed, self._token, self._priority, self._not_before)


class _Resolved(NamedTuple):
    """A job as it was said, its name and function, and how its arguments are called in an error."""

    job: Target
    name: str
    function: Function | None
    what: str


def _not_before(delay: Duration | None, at: datetime | None) -> int:
    if delay is not None and at is not None:
        raise DefinitionError("say delay or at, not both")
    if at is not None:
        if not isinstance(at, datetime):
            raise DefinitionError(f"at is an aware datetime; {at!r} was given")
        if at.tzinfo is None:
            raise DefinitionError(
                f"at={at} has no time zone; give one, for example at.replace(tzinfo=ZoneInfo('Europe/Berlin'))"
            )
        return int(at.timestamp() * 1_000_000)
    if delay is None:
        return 0
    now = datetime.now().astimezone()
    return int((now + timedelta(microseconds=duration_us(delay, "delay"))).timestamp() * 1_000_000)
