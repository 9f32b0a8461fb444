"""What is said of runs before they are submitted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

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
        timeout_s: float,
    ) -> None:
        self._scheduler = scheduler
        self._priority = None if priority is None else check_priority(priority)
        self._token = None if token is None else check_name(token, "an idempotency key")
        self._not_before = _not_before(delay, at)
        self._timeout_s = timeout_s

    def submit(self, job: Target, *args: Any, **kwargs: Any) -> Handle:
        """See `Scheduler.submit`."""
        name, item = self._item(job, args, kwargs)
        return self._scheduler.submit_items([(name, item)], "submit", self._timeout_s)[0]

    def submit_many(self, calls: Iterable[Sequence[Any]]) -> list[Handle]:
        """See `Scheduler.submit_many`."""
        if self._token is not None:
            raise DefinitionError("one idempotency key names one run; submit them one by one")
        items = [self._item(call[0], tuple(call[1:]), {}) for call in calls]
        return self._scheduler.submit_items(items, "submit", self._timeout_s) if items else []

    def _item(self, job: Target, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, SubmitItem]:
        name, function = self._scheduler.resolve(job)
        packed = b""
        if function is not None and not self._scheduler.has_arguments(name, args, kwargs):
            function.check_call(args, kwargs)
        if args or kwargs:
            packed = pack_call(args, kwargs, what=f"job {name!r}: its arguments", limit=MAX_ARGUMENT_BYTES)
        return name, SubmitItem(name, packed, self._token, self._priority, self._not_before)


def _not_before(delay: Duration | None, at: datetime | None) -> int:
    if delay is not None and at is not None:
        raise DefinitionError("say delay or at, not both")
    if at is not None:
        if at.tzinfo is None:
            raise DefinitionError(
                f"at={at} has no time zone; give one, for example at.replace(tzinfo=ZoneInfo('Europe/Berlin'))"
            )
        return int(at.timestamp() * 1_000_000)
    if delay is None:
        return 0
    now = datetime.now().astimezone()
    return int((now + timedelta(microseconds=duration_us(delay, "delay"))).timestamp() * 1_000_000)
