"""The embedded scheduler: a node of one's own, and the vocabulary to use it.

    scheduler = Scheduler("sqlite:///jobs.db")

    @scheduler.job(cron("0 2 * * *", zone="Europe/Berlin"))
    def ingest(): ...

    scheduler.run()            # or start() and stop(), or `with scheduler:`

Jobs may be declared before the start; they are stored when it starts. What is submitted is stored when `submit` returns.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar, Unpack

from ..actors.actor import COORDINATOR, METRICS
from ..actors.executor.functions import Function, Functions
from ..actors.executor.local_runner import DEFAULT_THREADS, LocalRunner
from ..actors.messages import (
    AddJobs,
    Answer,
    CancelRun,
    ChangeJob,
    JobChanged,
    JobsAdded,
    Query,
    ReportMetrics,
    Stop,
    SubmitItem,
)
from ..actors.persistence.store import (
    GetJobs,
    GetRuns,
    ListAttempts,
    ListDecisions,
    ListJobs,
    ListRuns,
    Question,
    Store,
)
from ..actors.persistence.urls import open_store
from ..actors.records import (
    DEFAULT_TENANT,
    MAX_ARGUMENT_BYTES,
    Attempt,
    Cause,
    Command,
    Decision,
    Hook,
    HookMoment,
    Job,
    JobRecord,
    RunRecord,
    RunState,
)
from ..data import pack_call
from ..errors import CallsheetError, DefinitionError, NotRunning, UnknownJob, UnknownRun
from ..node import Node, marks_folder, new_incarnation
from ..triggers import Preview, Trigger, preview
from .gateway import Gateway
from .handle import Handle
from .naming import Names
from .option import Duration, JobOptions, check_name, check_priority, define, duration_us
from .view import DecisionView, JobView, RunView, view_decision, view_job, view_run

DEFAULT_STORE: Final = "sqlite:///callsheet.db"
JOBS_A_MESSAGE: Final = 256
START_S: Final = 30.0
DRAIN_S: Final = 10.0
STOP_S: Final = 25.0
MOMENTS: Final[tuple[HookMoment, ...]] = ("before", "after", "on_success", "on_failure", "on_retry", "on_skip")

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Target = Callable[..., Any] | str | Command


class Scheduler:
    """A scheduler within this program.

    Args:
        store: where its state is kept: `sqlite:///file.db`, `sqlite:////absolute/file.db`, `memory://`, or a store.
        threads: how many synchronous functions run at once.
        processes: how many worker processes run functions with `executor="process"`; None: one for each processor.
        asynchronous: how many coroutines run at once.
        allow_shell: whether commands (`shell(…)`) may run.
        tenant: the tenant that is meant when none is said.
        drain_timeout: how long `stop` lets running jobs end by themselves, in seconds; `stop_timeout` is the limit for all.
    """

    def __init__(
        self,
        store: str | Store = DEFAULT_STORE,
        *,
        threads: int = DEFAULT_THREADS,
        processes: int | None = None,
        asynchronous: int = 1_000,
        allow_shell: bool = False,
        tenant: str = DEFAULT_TENANT,
        drain_timeout: float = DRAIN_S,
        stop_timeout: float = STOP_S,
    ) -> None:
        self.tenant = check_name(tenant, "a tenant's name")
        for word, number in (("threads", threads), ("asynchronous", asynchronous), ("processes", processes or 0)):
            if isinstance(number, bool) or not isinstance(number, int) or number < 0:
                raise DefinitionError(f"{word} is a number of places, 0 or more; {number!r} was given")
        self._store = open_store(store) if isinstance(store, str) else store
        self._places: dict[str, Any] = {
            "threads": threads,
            "processes": processes,
            "asynchronous": asynchronous,
            "allow_commands": allow_shell,
        }
        self._allow_shell = allow_shell
        self._drain_s, self._stop_s = drain_timeout, stop_timeout
        self._functions = Functions()
        self._names = Names(self._functions)
        self._declared: dict[tuple[str, str], Job] = {}
        self._stored: set[tuple[str, str]] = set()
        self._node: Node | None = None
        self._gateway: Gateway | None = None
        self._lock = threading.RLock()
        self._ended = threading.Event()

    # ---- start and stop -------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Open the store, begin, and store the jobs that were declared.

        Raises:
            StoreError: the store cannot be used: in use, another program's, newer, broken.
            DependencyError: the declared jobs' dependencies cannot be.
        """
        _refuse_in_worker()
        with self._lock:
            if self._node is not None:
                raise CallsheetError("this scheduler is running already")
            incarnation = new_incarnation()
            runner = LocalRunner(
                self._functions, incarnation=incarnation, marks_folder=marks_folder(self._store), **self._places
            )
            node = Node(self._store, runner, incarnation=incarnation)
            gateway = Gateway(node.transport, incarnation)
            node.start()
            self._node, self._gateway = node, gateway
            self._ended.clear()
        try:
            self._store_jobs(list(self._declared.values()))
        except BaseException:
            self.stop(drain_timeout=0)
            raise
        return self

    def stop(self, drain_timeout: float | None = None) -> None:
        """Stop: no new runs begin, running ones may end within `drain_timeout` seconds, then they are made to. Twice is harmless.

        What waits stays in the store, and goes on with the next start.
        """
        with self._lock:
            node, gateway = self._node, self._gateway
            if node is None or gateway is None:
                return
            self._stopping(node, gateway, self._drain_s if drain_timeout is None else drain_timeout)
            self._node = self._gateway = None
        self._ended.set()

    def _stopping(self, node: Node, gateway: Gateway, drain_s: float) -> None:
        stopped = gateway.expect("stopped")
        node.host.tell(COORDINATOR, Stop(int(drain_s * 1e6)), sender=gateway.address)
        try:
            stopped.result(min(self._stop_s, drain_s + 8.0))
        except TimeoutError:
            pass  # what did not end in time is ended with the pools; the store knows what it was
        node.stop(5.0)
        gateway.close("the scheduler has stopped; start it again to go on")

    def hurry(self) -> None:
        """While it stops: do not wait any longer for running jobs to end by themselves."""
        node, gateway = self._node, self._gateway
        if node is not None and gateway is not None:
            node.host.tell(COORDINATOR, Stop(0, hurry=True), sender=gateway.address)

    def run(self) -> None:
        """Start, and stay until SIGINT or SIGTERM: the first stops in order, the second hurries, the third exits.

        Raises:
            CallsheetError: an actor failed again and again; the state is in the store.
        """
        if threading.current_thread() is not threading.main_thread():
            raise CallsheetError(
                "run() handles signals and belongs on the main thread; use start() and stop() elsewhere"
            )
        asked = threading.Event()
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        count = 0

        def on_signal(number: int, frame: object) -> None:
            nonlocal count
            count += 1
            asked.set()
            if count == 2:
                threading.Thread(target=self.hurry, daemon=True).start()
            elif count > 2:
                raise SystemExit(128 + number)

        self.start()
        try:
            for number in before:
                signal.signal(number, on_signal)
            reason = self._wait_for(asked)
            stopper = threading.Thread(target=self.stop, name="stop")
            stopper.start()
            while stopper.is_alive():
                stopper.join(0.2)
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self.stop(drain_timeout=0)
        if reason:
            raise CallsheetError(reason)

    def _wait_for(self, asked: threading.Event) -> str:
        """Wait for a signal, for `stop`, or for the node's failure, whose reason is returned."""
        while not asked.wait(0.2) and not self._ended.is_set():
            node = self._node
            if node is not None and node.host.failed.done():
                return node.host.failed.result()
        return ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether it was started and has not stopped."""
        return self._node is not None

    # ---- jobs -----------------------------------------------------------------------------------------------------------

    def job(
        self, trigger: Trigger | None = None, **options: Unpack[JobOptions]
    ) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
        """Declare a function as a job; it stays the function it was. For the options see `JobOptions`.

        Raises:
            DefinitionError: see `add`.
        """

        def decorate(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
            self.add(function, trigger, **options)
            return function

        return decorate

    def add(
        self, target: Callable[..., Any] | Command, trigger: Trigger | None = None, **options: Unpack[JobOptions]
    ) -> str:
        """Declare a function or command as a job, and return its name. A job that is there already is changed, if it differs.

        Raises:
            DefinitionError: an option is wrong, the arguments do not fit, or it cannot run where it is to.
            DependencyError: an upstream is unknown, or there would be a cycle (once it has started).
        """
        job = self._define(target, trigger, options)
        if self.running:
            self._store_jobs([job])
        return job.name

    def add_many(self, jobs: Iterable[tuple[Callable[..., Any] | Command, Trigger | None, JobOptions]]) -> list[str]:
        """Declare many jobs at once, `(function, trigger, options)` each; return their names in order. See `add`."""
        names: list[str] = []
        batch: list[Job] = []
        for target, trigger, options in jobs:
            job = self._define(target, trigger, options, keep=not self.running)
            names.append(job.name)
            batch.append(job)
            if self.running and len(batch) >= JOBS_A_MESSAGE * 4:
                self._store_jobs(batch)
                batch = []
        if self.running and batch:
            self._store_jobs(batch)
        return names

    def _define(
        self, target: Callable[..., Any] | Command, trigger: Trigger | None, options: JobOptions, *, keep: bool = True
    ) -> Job:
        name = options.get("name")
        if name is not None:
            check_name(name)
        tenant = check_name(options.get("tenant", self.tenant), "a tenant's name")
        after = tuple(dict.fromkeys(self._name_of(upstream) for upstream in options.get("after", ())))
        known: Function | Command
        if isinstance(target, Command):
            if not self._allow_shell:
                raise DefinitionError("commands run only where that is allowed: Scheduler(…, allow_shell=True)")
            known, name = target, name or check_name(target.line or " ".join(target.argv), "a command's name")
        else:
            retry = options.get("retry")
            known = self._names.register(target, name, backoff=retry if callable(retry) else None)
            name = known.name
        job = define(name, tenant, known, trigger, after, options)
        if keep:
            self._declared[job.key] = job
        return job

    def _name_of(self, job: Target) -> str:
        if isinstance(job, str):
            return job
        if isinstance(job, Command):
            return job.line or " ".join(job.argv)
        name = self._names.of(job)
        if name is None:
            raise DefinitionError(f"{job!r} is no job of this scheduler yet; declare it first, or give the job's name")
        return name

    def _store_jobs(self, jobs: Sequence[Job]) -> None:
        gateway = self._open_gateway()
        for start in range(0, len(jobs), JOBS_A_MESSAGE):
            part = tuple(jobs[start : start + JOBS_A_MESSAGE])
            answer = gateway.request(AddJobs(gateway.key(), part), timeout_s=START_S)
            assert isinstance(answer, JobsAdded)
        if len(self._stored) < 100_000:
            self._stored.update(job.key for job in jobs)

    def pause(self, job: Target) -> None:
        """Fire no more slots of a job and begin none of its runs, until it is resumed; what passes is SKIPPED_PAUSED.

        Raises:
            UnknownJob: there is none of this name.
        """
        self._change(job, "pause")

    def resume(self, job: Target) -> None:
        """Let a paused job go on, from now."""
        self._change(job, "resume")

    def remove(self, job: Target) -> None:
        """Remove a job: its runs that have not begun are cancelled, its history stays."""
        name = self._change(job, "remove").job.name
        self._declared.pop((self.tenant, name), None)
        self._stored.discard((self.tenant, name))

    def reschedule(self, job: Target, trigger: Trigger) -> None:
        """Give a job another trigger, from now on."""
        self._change(job, "reschedule", trigger)

    def _change(self, job: Target, action: Any, trigger: Trigger | None = None) -> JobRecord:
        gateway = self._open_gateway()
        answer = gateway.request(ChangeJob(gateway.key(), self.tenant, self._name_of(job), action, trigger))
        assert isinstance(answer, JobChanged)
        return answer.record

    def on(
        self,
        moment: HookMoment,
        function: Callable[[dict[str, Any]], Any] | None = None,
        *,
        job: Target | None = None,
        tag: str | None = None,
        name: str | None = None,
    ) -> Any:
        """Call `function` with a map of facts at a moment of runs: of one job, of those with a tag, or of all of the tenant.

        Moments: before, after, on_success, on_failure, on_retry, on_skip. Without a function it is a decorator. The call is a
        run of its own, stored with what it follows; when it fails, nothing else is harmed.

        Raises:
            DefinitionError: no such moment, or what was given is no function of one argument.
        """
        if moment not in MOMENTS:
            raise DefinitionError(f"a hook's moment is one of {', '.join(MOMENTS)}; {moment!r} was given")
        if function is None:
            return lambda given: self.on(moment, given, job=job, tag=tag, name=name) and given
        known = self._names.register(function, name)
        hook = Hook(moment=moment, job="" if job is None else self._name_of(job), tag=tag or "")
        label = f"{hook.job or ('#' + hook.tag if hook.tag else '*')}"
        definition = define(
            f"hook:{moment}:{label}:{known.name}"[:200],
            self.tenant,
            known,
            None,
            (),
            {"idempotent": True, "overlap": "allow_all"},
        )
        definition = _with_hook(definition, hook)
        known.check_call(({},), {})
        self._declared[definition.key] = definition
        if self.running:
            self._store_jobs([definition])
        return definition.name

    # ---- runs -----------------------------------------------------------------------------------------------------------

    def submit(self, job: Target, *args: Any, **kwargs: Any) -> Handle:
        """Ask for a run of a job now, with these arguments; return when it is stored.

        `job` is a declared function, a job's name, or any other function, which becomes a job by this.

        Raises:
            DefinitionError: the arguments do not fit the function. DataError: they are not data.
            UnknownJob: no job of this name. NotRunning: it was not started. StoreFull: nothing was stored.
        """
        return self.options().submit(job, *args, **kwargs)

    def submit_many(self, calls: Iterable[Sequence[Any]]) -> list[Handle]:
        """Ask for many runs, `(job, *args)` each; return their handles in order when all are stored. See `submit`."""
        return self.options().submit_many(calls)

    def options(
        self,
        *,
        priority: int | None = None,
        idempotency_key: str | None = None,
        delay: Duration | None = None,
        at: datetime | None = None,
        timeout: float = 30.0,
    ) -> Submission:
        """Say more of what is submitted next: `scheduler.options(priority=5).submit(job, 1)`.

        idempotency_key: the same key gives the same run; with other arguments it is refused. delay, at: not before.
        timeout: how long to wait for the answer, in seconds.
        """
        return Submission(self, priority, idempotency_key, delay, at, timeout)

    def trigger(self, job: Target) -> Handle:
        """Fire a job by hand: like a slot, with its own arguments; what it waits for and what waits for it run with it."""
        return self.submit_items([(self._name_of(job), SubmitItem(self._name_of(job)))], "trigger", 30.0)[0]

    def submit_items(self, items: Sequence[tuple[str, SubmitItem]], cause: Cause, timeout_s: float) -> list[Handle]:
        """Submit checked items. `Submission` is the way to call this."""
        gateway = self._open_gateway()
        handles = [Handle(self, self.tenant, name) for name, _ in items]
        gateway.submit(self.tenant, [item for _, item in items], handles, cause, timeout_s)
        return handles

    def resolve(self, job: Target) -> tuple[str, Function | None]:
        """The name of a job and, where this program has it, its function; a function that is no job yet becomes one."""
        if isinstance(job, str):
            return job, self._functions.find(job)
        if isinstance(job, Command):
            name = self._name_of(job)
            if (self.tenant, name) not in self._stored:
                self.add(job)
            return name, None
        name = self._names.of(job) or self.add(job, None, overlap="allow_all")
        return name, self._functions.find(name)

    def has_arguments(self, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether a call without arguments gets some from elsewhere: the job's own, or its upstreams' results."""
        if args or kwargs:
            return False
        job = self._declared.get((self.tenant, name))
        return job is not None and bool(job.arguments or job.after)

    def handle(self, run_id: int) -> Handle:
        """A handle for a run that was submitted elsewhere or earlier.

        Raises:
            UnknownRun: there is none of this number.
        """
        record = self._record(run_id)
        handle = Handle(self, self.tenant, record.run.job, run_id)
        self._open_gateway().follow(handle)
        self.look_again(handle)
        return handle

    def look_again(self, handle: Handle) -> None:
        """Ask whether a run has ended, in case the news was missed."""
        gateway = self._open_gateway()
        gateway.follow(handle)
        gateway.watch(handle.tenant, (handle.run_id,))

    def cancel(self, run: Handle | int) -> RunState:
        """Cancel a run: CANCELLED at once, or CANCELLING while its function still runs.

        Raises:
            UnknownRun: there is none of this number. Refused: it has ended already.
        """
        gateway = self._open_gateway()
        run_id = run.run_id if isinstance(run, Handle) else run
        state: RunState = gateway.request(CancelRun(gateway.key(), self.tenant, run_id)).state
        return state

    # ---- questions ------------------------------------------------------------------------------------------------------

    def jobs(self, *, tag: str | None = None, limit: int = 1_000, hooks: bool = False) -> list[JobView]:
        """The tenant's jobs by name; with a tag only those that bear it."""
        found: list[JobView] = []
        after = ""
        while len(found) < limit:
            rows: tuple[JobRecord, ...] = self._ask(
                ListJobs(tenant=self.tenant, tag=tag, after=after, limit=min(limit, 500))
            )
            found.extend(view_job(row) for row in rows if hooks or row.job.hook is None)
            if len(rows) < min(limit, 500):
                break
            after = rows[-1].job.name
        return found[:limit]

    def job_view(self, job: Target) -> JobView:
        """One job.

        Raises:
            UnknownJob: there is none of this name.
        """
        name = self._name_of(job)
        rows = self._ask(GetJobs(((self.tenant, name),)))
        if not rows or rows[0].state.status == "removed":
            raise UnknownJob(f"no job {name!r} in tenant {self.tenant!r}", "unknown_job")
        return view_job(rows[0])

    def runs(
        self,
        job: Target | None = None,
        *,
        state: RunState | str | None = None,
        tag: str | None = None,
        limit: int = 100,
        before: int | None = None,
        hooks: bool = False,
    ) -> list[RunView]:
        """The tenant's runs, newest first, at most `limit`; of one job, in one state, with a tag, before a run's number."""
        question = ListRuns(
            tenant=self.tenant,
            job=None if job is None else self._name_of(job),
            state=None if state is None else RunState(state),
            tag=tag,
            limit=limit,
            before=before,
            hooks=hooks,
        )
        return [view_run(row) for row in self._ask(question)]

    def run_view(self, run_id: int) -> RunView:
        """One run.

        Raises:
            UnknownRun: there is none of this number.
        """
        return view_run(self._record(run_id))

    def decisions(self, job: Target, *, limit: int = 100) -> list[DecisionView]:
        """What became of a job's slots, newest first: fired, or skipped and why."""
        rows: tuple[Decision, ...] = self._ask(ListDecisions(tenant=self.tenant, job=self._name_of(job), limit=limit))
        return [view_decision(row) for row in rows]

    def logs(self, run_id: int) -> str:
        """What the attempts of a run printed and logged, oldest first.

        Raises:
            UnknownRun: there is none of this number.
        """
        record = self._record(run_id)
        attempts: tuple[Attempt, ...] = self._ask(ListAttempts(self.tenant, run_id))
        parts = [attempt.logs for attempt in attempts]
        if record.end is not None:
            parts.append(record.end.logs)
        return b"".join(parts).decode(errors="replace")

    def preview(self, trigger: Trigger | Target, count: int = 10, start: datetime | None = None) -> list[Preview]:
        """The next `count` instants of a trigger, or of a job, after `start` (now)."""
        if isinstance(trigger, str) or callable(trigger):
            rows = self._ask(GetJobs(((self.tenant, self._name_of(trigger)),)))
            if not rows:
                raise UnknownJob(f"no job {trigger!r} in tenant {self.tenant!r}", "unknown_job")
            job: Job = rows[0].job
            return preview(job.trigger, count, start, key=f"{job.tenant}/{job.name}")
        assert not isinstance(trigger, Command)
        return preview(trigger, count, start)

    def metrics(self) -> str:
        """The counters in Prometheus' text format."""
        gateway = self._open_gateway()
        text: str = gateway.request(ReportMetrics(gateway.key()), to=METRICS).text
        return text

    def _ask(self, question: Question) -> tuple[Any, ...]:
        gateway = self._open_gateway()
        answer = gateway.request(Query(gateway.key(), question))
        assert isinstance(answer, Answer)
        return answer.rows

    def _record(self, run_id: int) -> RunRecord:
        rows: tuple[RunRecord, ...] = self._ask(GetRuns(self.tenant, (run_id,)))
        if not rows:
            raise UnknownRun(f"no run {run_id} in tenant {self.tenant!r}", "unknown_run")
        return rows[0]

    def _open_gateway(self) -> Gateway:
        gateway = self._gateway
        if gateway is None:
            raise NotRunning("the scheduler is not running; call start() or use `with scheduler:`")
        return gateway


class Submission:
    """What is said of runs before they are submitted; made by `Scheduler.options`."""

    def __init__(
        self,
        scheduler: Scheduler,
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


def _with_hook(job: Job, hook: Hook) -> Job:
    from msgspec.structs import replace

    return replace(job, hook=hook)


def _refuse_in_worker() -> None:
    """Refuse to start in a worker process that has loaded the program for its functions."""


def shell(
    line: str = "", *, argv: Sequence[str] = (), env: dict[str, str] | None = None, folder: str = "", stdin: str = ""
) -> Command:
    """A command as a job's target: a line for `/bin/sh -c`, or `argv` to run as it is.

    Raises:
        DefinitionError: neither or both were given.
    """
    if bool(line) == bool(argv):
        raise DefinitionError("shell(…) takes a line, or argv=[…]; exactly one of them")
    return Command(line=line, argv=tuple(argv), environment=dict(env or {}), folder=folder, stdin=stdin)
