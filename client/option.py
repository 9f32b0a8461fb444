"""From what a person says of a job to its definition: checked, and in the units of the records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final, TypedDict, cast, get_args

from ..actors.executor.functions import Function
from ..actors.records import (
    DEFAULT_MAX_CRASHES,
    DEFAULT_WAIT_DEADLINE_US,
    LONGEST_US,
    MAX_ARGUMENT_BYTES,
    MAX_ATTEMPTS,
    MAX_DEFINITION_BYTES,
    MAX_NAME_LENGTH,
    MAX_PRIORITY,
    MAX_TAGS,
    Command,
    Delivery,
    ExecutorKind,
    Job,
    Overlap,
    Retry,
)
from ..actors.requirement import check_labels, check_resources
from ..data import pack_call, pack_record
from ..errors import DefinitionError, UnknownRun
from ..triggers import CatchUp, Manual, Trigger, TriggerError
from ..triggers.compiler import compile_trigger
from ..triggers.decision import MAX_MAX_CATCHUP
from ..triggers.errors import UnknownCalendarError
from ..triggers.preview import wall_clock

Duration = float | timedelta
Backoff = Callable[[int], Any]
Retrying = Retry | Backoff | None

LARGEST_S: Final = LONGEST_US // 1_000_000

MAX_RUN_ID: Final = 2**63 - 1


class JobOptions(TypedDict, total=False):
    """What may be said of a job beside its function and trigger. Durations are seconds or timedeltas.

    name: by default the function's module and qualified name.
    args, kwargs: what slots call the function with.
    executor: "thread", "async", "process"; async functions choose themselves.
    retry: `fixed`, `linear`, `exponential`, or a function of the attempt that answers seconds.
    idempotent: a lost attempt may be repeated (at least once); so it is with a retry policy.
    timeout: for one attempt. deadline: for all attempts, from the run's creation. start_deadline: until the first begins.
    priority: −100 to 100, larger is sooner. overlap: "skip" or "allow_all".
    catchup: "latest", "earliest", "all", "none"; catchup_window: older slots are skipped; max_catchup: slots fired at once.
    after: jobs (functions or names) whose results are its first arguments; wait_deadline: how long it waits for them.
    tags: words to find it by. tenant: whose it is. description: a sentence for people.
    labels: it runs only on nodes that bear all of these, "gpu" or "zone=eu-1". resources: units of what the runs of a node
    share, {"memory_gb": 4}; it runs where so many are free.
    """

    name: str
    args: Sequence[Any]
    kwargs: Mapping[str, Any]
    executor: ExecutorKind
    retry: Retrying
    idempotent: bool
    timeout: Duration
    deadline: Duration
    start_deadline: Duration
    priority: int
    overlap: Overlap
    catchup: str
    catchup_window: Duration
    max_catchup: int
    after: Iterable[Any]
    wait_deadline: Duration
    tags: Iterable[str]
    labels: Iterable[str]
    resources: Mapping[str, int]
    tenant: str
    max_crashes: int
    description: str


# ---- retry --------------------------------------------------------------------------------------------------------------


def fixed(delay: Duration, attempts: int = 3, **more: Any) -> Retry:
    """Try again after the same wait each time; `attempts` counts all tries, the first too.

    `more`: jitter "full" (default), "equal" or "none"; retry_on, give_up_on: exception classes or their names.
    """
    return _retry("fixed", attempts, delay, None, more)


def linear(delay: Duration, attempts: int = 3, **more: Any) -> Retry:
    """Wait `delay` times the number of the attempt that failed. See `fixed` for `attempts` and `more`."""
    return _retry("linear", attempts, delay, None, more)


def exponential(first: Duration = 1.0, cap: Duration = 3600.0, attempts: int = 3, **more: Any) -> Retry:
    """Wait `first`, then twice as long each time, at most `cap`. See `fixed` for `attempts` and `more`."""
    return _retry("exponential", attempts, first, cap, more)


def _retry(kind: Any, attempts: int, delay: Duration, cap: Duration | None, more: dict[str, Any]) -> Retry:
    _check_attempts(attempts)
    jitter = more.pop("jitter", "full")
    if jitter not in ("full", "equal", "none"):
        raise DefinitionError(f"jitter is 'full', 'equal' or 'none'; {jitter!r} was given")
    retry_on, give_up_on = (_names(more.pop(word, ())) for word in ("retry_on", "give_up_on"))
    if more:
        raise DefinitionError(f"a retry knows jitter, retry_on and give_up_on; {', '.join(more)} was given")
    return Retry(
        kind=kind,
        attempts=attempts,
        delay_us=duration_us(delay, "delay"),
        cap_us=duration_us(LARGEST_S if cap is None else cap, "cap"),
        jitter=jitter,
        retry_on=retry_on,
        give_up_on=give_up_on,
    )


def _check_attempts(attempts: Any) -> None:
    if isinstance(attempts, bool) or not isinstance(attempts, int) or not 1 <= attempts <= MAX_ATTEMPTS:
        raise DefinitionError(
            f"attempts is a number from 1 to {MAX_ATTEMPTS:,}, and counts the first; {attempts!r} was given"
        )


def _names(given: Any) -> tuple[str, ...]:
    """Exception classes, one or several, or their names, as names."""
    several = given if isinstance(given, list | tuple | set | frozenset) else (given,)
    names = []
    for it in several:
        if isinstance(it, str):
            names.append(it)
        elif isinstance(it, type) and issubclass(it, BaseException):
            names.append(f"{it.__module__}.{it.__qualname__}" if it.__module__ != "builtins" else it.__qualname__)
        else:
            raise DefinitionError(f"expected an exception class or its name, found {it!r}")
    return tuple(sorted(names))


# ---- checks -------------------------------------------------------------------------------------------------------------


def duration_us(given: Any, what: str) -> int:
    """Return a duration in µs.

    Raises:
        DefinitionError: not a number of seconds or a timedelta, negative, or longer than a hundred years.
    """
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= LARGEST_S:
        raise DefinitionError(
            f"{what} is a number of seconds or a timedelta, up to a hundred years; {given!r} was given"
        )
    return round(seconds * 1_000_000)


def check_name(name: Any, what: str = "a job's name") -> str:
    """Return a name as it is.

    Raises:
        DefinitionError: not text, empty, too long, or with characters that cannot be printed.
    """
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME_LENGTH or not name.isprintable():
        raise DefinitionError(f"{what} is printable text of 1 to {MAX_NAME_LENGTH} characters; {name!r} was given")
    return name


def check_priority(priority: Any) -> int:
    """Return a priority as it is.

    Raises:
        DefinitionError: not a whole number from −100 to 100.
    """
    if isinstance(priority, bool) or not isinstance(priority, int) or abs(priority) > MAX_PRIORITY:
        raise DefinitionError(
            f"priority is a whole number from −{MAX_PRIORITY} to {MAX_PRIORITY}; {priority!r} was given"
        )
    return priority


def check_text(text: Any, what: str) -> str:
    """Return a text as it is.

    Raises:
        DefinitionError: not text, or with half a character of UTF-16 (a surrogate) in it, which nothing can store.
    """
    if not isinstance(text, str):
        raise DefinitionError(f"{what} is text; {text!r} was given")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DefinitionError(
            f"{what} is text that UTF-8 can carry; {text[error.start]!r} at place {error.start} cannot be: a file's name or "
            "bytes that were read with 'surrogateescape' must be decoded otherwise"
        ) from None
    return text


def check_run_id(run_id: Any, tenant: str) -> int:
    """Return the number of a run as it is.

    Raises:
        DefinitionError: it is no whole number.
        UnknownRun: no run can have it: they count from 1 to 2^63 − 1.
    """
    if isinstance(run_id, bool) or not isinstance(run_id, int):
        raise DefinitionError(f"a run is named by its number; {run_id!r} was given")
    if not 1 <= run_id <= MAX_RUN_ID:
        raise UnknownRun(f"no run {run_id} in tenant {tenant!r}", "unknown_run")
    return run_id


def check_count(count: Any, what: str, largest: int = MAX_RUN_ID) -> int:
    """Return a number of things as it is.

    Raises:
        DefinitionError: not a whole number from 0 to the largest.
    """
    if isinstance(count, bool) or not isinstance(count, int) or not 0 <= count <= largest:
        raise DefinitionError(f"{what} is a whole number from 0 to {largest:,}; {count!r} was given")
    return count


def check_trigger(trigger: Any, job: str) -> Trigger:
    """Return a trigger as it is.

    Raises:
        DefinitionError: it is none, or one that no schedule can be made of.
    """
    if not isinstance(trigger, get_trigger_types()):
        raise DefinitionError(f"job {job!r}: expected a trigger such as cron(…) or every(…), found {trigger!r}")
    known = cast("Trigger", trigger)
    try:
        compile_trigger(known, anchor=wall_clock())
    except UnknownCalendarError as error:
        raise DefinitionError(
            f"job {job!r}: {error}; a scheduler keeps none by name: give the calendar itself, calendar=Calendar(…)"
        ) from None
    except TriggerError as error:
        raise DefinitionError(f"job {job!r}: {error}") from None
    return known


def _choice(given: Any, what: str, choices: tuple[str, ...]) -> Any:
    if given not in choices:
        raise DefinitionError(f"{what} is one of {', '.join(map(repr, choices))}; {given!r} was given")
    return given


def _tags(given: Iterable[str]) -> tuple[str, ...]:
    if not isinstance(given, Iterable):
        raise DefinitionError(f"tags is a list of words; {given!r} was given")
    if isinstance(given, str):
        raise DefinitionError(f"tags is a list of words, not one text: tags=[{given!r}]")
    tags = tuple(dict.fromkeys(check_name(tag, "a tag") for tag in given))
    if len(tags) > MAX_TAGS:
        raise DefinitionError(f"a job has at most {MAX_TAGS} tags; {len(tags)} were given")
    return tags


# ---- the definition -----------------------------------------------------------------------------------------------------


def define(
    name: str,
    tenant: str,
    target: Function | Command,
    trigger: Trigger | None,
    after: tuple[str, ...],
    options: JobOptions,
) -> Job:
    """Return the definition of a job.

    Raises:
        DefinitionError: an option is unknown or wrong, arguments do not fit the function, or it cannot run where it is to.
    """
    try:
        return check_definition(_define(name, tenant, target, trigger, after, options))
    except DefinitionError as error:
        text = str(error)
        raise error if text.startswith("job ") else DefinitionError(f"job {name!r}: {text}") from None


def _define(
    name: str,
    tenant: str,
    target: Function | Command,
    trigger: Trigger | None,
    after: tuple[str, ...],
    options: JobOptions,
) -> Job:
    unknown = sorted(set(options) - set(JobOptions.__annotations__))
    if unknown:
        known = ", ".join(sorted(JobOptions.__annotations__))
        raise DefinitionError(f"job {name!r}: unknown option {', '.join(unknown)}; known are {known}")
    if trigger is not None:
        check_trigger(trigger, name)
    args, kwargs = _items(options, "args", "arguments"), _map(options.get("kwargs", {}))
    fires = trigger is not None and not isinstance(trigger, Manual)
    if isinstance(target, Function) and (fires or after or args or kwargs):
        target.check_call(args, kwargs, handed=len(after))
    retry = retry_of(options.get("retry"))
    delivery: Delivery = "at_least_once" if _truth(options, "idempotent", retry is not None) else "at_most_once"
    return Job(
        tenant=tenant,
        name=name,
        target=target.name if isinstance(target, Function) else "",
        command=target if isinstance(target, Command) else None,
        trigger=Manual() if trigger is None else trigger,
        executor=_executor(name, target, options.get("executor")),
        delivery=delivery,
        arguments=pack_call(args, kwargs, what=f"job {name!r}: its arguments", limit=MAX_ARGUMENT_BYTES),
        priority=check_priority(options.get("priority", 0)),
        retry=retry,
        attempt_timeout_us=_optional_us(options, "timeout", at_least=1),
        run_deadline_us=_optional_us(options, "deadline"),
        start_deadline_us=_optional_us(options, "start_deadline"),
        overlap=_choice(options.get("overlap", "skip"), "overlap", get_args(Overlap)),
        catchup=CatchUp(
            policy=_choice(options.get("catchup", "latest"), "catchup", ("latest", "earliest", "all", "none")),
            window_us=_optional_us(options, "catchup_window"),
            max_catchup=_number(options, "max_catchup", CatchUp().max_catchup, MAX_MAX_CATCHUP),
        ),
        after=after,
        wait_deadline_us=_optional_us(options, "wait_deadline") or DEFAULT_WAIT_DEADLINE_US,
        tags=_tags(options.get("tags", ())),
        labels=check_labels(options.get("labels", ())),
        resources=check_resources(options.get("resources", {})),
        max_crashes=_number(options, "max_crashes", DEFAULT_MAX_CRASHES, MAX_ATTEMPTS),
        description=_text(options, "description"),
    )


def check_definition(job: Job) -> Job:
    """Return a definition as it is.

    Raises:
        DefinitionError: something in it, such as a calendar's name or a command's environment, cannot be stored, or it is too large.
    """
    try:
        size = len(pack_record(job))
    except (UnicodeEncodeError, OverflowError) as error:  # a surrogate, a number of more than 64 bits
        raise DefinitionError(f"job {job.name!r}: it cannot be stored: {error}") from None
    if size > MAX_DEFINITION_BYTES:
        raise DefinitionError(
            f"job {job.name!r}: its definition is {size:,} bytes, more than the {MAX_DEFINITION_BYTES:,} allowed; "
            "keep what is large in a file, and give its name"
        )
    return job


def retry_of(given: Retrying) -> Retry | None:
    """Return the policy; a function of the attempt is one too, and is asked where the attempt ran."""
    if given is None or isinstance(given, Retry):
        return given
    if given in (fixed, linear, exponential):
        raise DefinitionError(
            f"retry is {given.__name__}(…), with what it is to be, such as {given.__name__}(1); it was not called"
        )
    if callable(given):
        attempts = getattr(given, "attempts", 3)
        _check_attempts(attempts)
        return Retry(kind="custom", attempts=attempts, delay_us=1_000_000, jitter="none")
    raise DefinitionError(
        f"retry is fixed(…), linear(…), exponential(…) or a function of the attempt; {given!r} was given"
    )


def upstreams_of(options: JobOptions) -> tuple[Any, ...]:
    """The jobs that are waited for, as they were said.

    Raises:
        DefinitionError: it is no list.
    """
    return _items(options, "after", "jobs")


def _items(options: JobOptions, word: str, what: str) -> tuple[Any, ...]:
    given = options.get(word, ())
    if isinstance(given, str):
        raise DefinitionError(f"{word} is a list of {what}, not one: {word}=[{given!r}]")
    if not isinstance(given, Iterable):
        raise DefinitionError(f"{word} is a list of {what}; {given!r} was given")
    return tuple(given)


def _map(given: Any) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise DefinitionError(f"kwargs is a map of arguments by their names; {given!r} was given")
    return dict(given)


def _number(options: JobOptions, word: str, default: int, largest: int) -> int:
    given = options.get(word, default)
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= largest:
        raise DefinitionError(f"{word} is a number from 1 to {largest:,}; {given!r} was given")
    return given


def _truth(options: JobOptions, word: str, default: bool) -> bool:
    given = options.get(word, default)
    if not isinstance(given, bool):
        raise DefinitionError(f"{word} is True or False; {given!r} was given")
    return given


def _text(options: JobOptions, word: str) -> str:
    return check_text(options.get(word, ""), word)


def _optional_us(options: JobOptions, word: str, at_least: int = 0) -> int | None:
    given = options.get(word)
    if given is None:
        return None
    length = duration_us(given, word)
    if length < at_least:
        raise DefinitionError(f"{word} is longer than nothing; {given!r} was given")
    return length


def _executor(name: str, target: Function | Command, asked: str | None) -> ExecutorKind:
    if isinstance(target, Command):
        if asked not in (None, "command"):
            raise DefinitionError(f"job {name!r} is a command and runs as a process of its own; leave `executor` out")
        return "command"
    if target.kind == "async":
        if asked not in (None, "async"):
            raise DefinitionError(f"job {name!r} is an async function and runs on the event loop; leave `executor` out")
        return "async"
    chosen: ExecutorKind = _choice(asked or "thread", f"job {name!r}: executor", ("thread", "process"))
    if chosen == "process":
        target.check_place()
    return chosen


def get_trigger_types() -> tuple[type, ...]:
    """The classes of triggers."""
    return get_args(Trigger)
