"""The embedded scheduler: a node of one's own, and the vocabulary to use it.

    scheduler = Scheduler("sqlite:///jobs.db")

    @scheduler.job(cron("0 2 * * *", zone="Europe/Berlin"))
    def ingest(): ...

    scheduler.run()            # or start() and stop(), or `with scheduler:`

Jobs may be declared before the start; they are stored when it starts. What is submitted is stored when `submit` returns.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, ParamSpec, Self, TypeVar, Unpack

from msgspec.structs import replace

from ..actors.executor.functions import Function, Functions
from ..actors.executor.local_runner import DEFAULT_COMMANDS, DEFAULT_THREADS, LocalRunner
from ..actors.executor.processes.inside import WorkerReachedRun, in_worker
from ..actors.messages import MAX_BATCH
from ..actors.persistence.store import Store
from ..actors.records import DEFAULT_TENANT, Command, Hook, HookMoment, Job
from ..errors import CallsheetError, DefinitionError, NotRunning
from ..health import Health
from ..node import marks_folder, new_incarnation
from ..triggers import Trigger
from .gateway import REQUEST_S, Gateway
from .launch import end_loading
from .leadership import Leader
from .naming import Names, fitted
from .option import JobOptions, check_name, define, upstreams_of
from .questions import Target
from .running import Running
from .setup import SetupOptions, set_up
from .signals import Asking, stop_signals
from .vocabulary import Vocabulary, said_name

DRAIN_S: Final = 10.0
STOP_S: Final = 25.0
MOMENTS: Final[tuple[HookMoment, ...]] = ("before", "after", "on_success", "on_failure", "on_retry", "on_skip")

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class Scheduler(Vocabulary):
    """A scheduler within this program.

    Args:
        store: where its state is kept: `sqlite:///file.db`, `sqlite:////absolute/file.db`, `memory://`, or a store. Schedulers
            of several processes with one store are one cluster, in which each firing happens once.
        threads: how many synchronous functions run at once.
        processes: how many worker processes run functions with `executor="process"`; None: one for each processor.
        asynchronous: how many coroutines run at once.
        commands: how many commands (`shell(…)`) run at once.
        allow_shell: whether commands may run here at all; where they may not, their runs wait.
        tenant: the tenant that is meant when none is said.
        name: the node's name in its cluster, unlike that of any other; by default made from the host's name and the process.
        listen: endpoints where other nodes and clients connect, `tcp://127.0.0.1:7070`; those of this machine that share a
            durable store find each other without.
        join: endpoints of nodes of the cluster, for a node that does not share their store.
        worker_only: run what others decide: no store of its own, and never the lead. It needs `join`.
        labels: what this node has that others may not, for jobs with `labels`.
        resources: what its runs share, in whole units of each, for jobs with `resources`.
        keys: the folder of keys for the network side, as `callsheet keys` makes it; needed beyond this machine.
        insecure: listen without keys, and serve HTTP without a token, where strangers can come in.
        http: where health and metrics are served, `127.0.0.1:8080`; `http_token` is needed beyond this machine.
        drain_timeout: how long `stop` lets running jobs end by themselves, in seconds; `stop_timeout` is the limit for all.
    """

    def __init__(
        self,
        store: str | Store | None = None,
        *,
        threads: int = DEFAULT_THREADS,
        processes: int | None = None,
        asynchronous: int = 1_000,
        commands: int = DEFAULT_COMMANDS,
        allow_shell: bool = False,
        tenant: str = DEFAULT_TENANT,
        name: str = "",
        listen: Sequence[str] | str = (),
        join: Sequence[str] | str = (),
        worker_only: bool = False,
        labels: Iterable[str] = (),
        resources: Mapping[str, int] | None = None,
        keys: str | Path | None = None,
        insecure: bool = False,
        http: str | None = None,
        http_token: str | None = None,
        drain_timeout: float = DRAIN_S,
        stop_timeout: float = STOP_S,
    ) -> None:
        self.tenant = check_name(tenant, "a tenant's name")
        self._given: SetupOptions = {
            "store": store,
            "threads": threads,
            "processes": processes,
            "asynchronous": asynchronous,
            "commands": commands,
            "allow_shell": allow_shell,
            "name": name,
            "listen": listen,
            "join": join,
            "worker_only": worker_only,
            "labels": labels,
            "resources": resources,
            "keys": keys,
            "insecure": insecure,
            "http": http,
            "http_token": http_token,
            "drain_timeout": drain_timeout,
            "stop_timeout": stop_timeout,
        }
        self._setup = set_up(self._given)
        self._given["labels"] = self._setup.node.labels  # what was given may be read only once
        self._functions = Functions()
        self._names = Names(self._functions)
        self._declared: dict[tuple[str, str], Job] = {}
        self._stored: set[tuple[str, str]] = set()
        self._running: Running | None = None
        self._starter = 0
        self._started = threading.Event()
        self._lock = threading.RLock()
        self._adding = threading.RLock()

    def configure(self, **changes: Unpack[SetupOptions]) -> None:
        """Say otherwise what the constructor was told of where and how to run, in the same words, before the start.

        For who runs somebody's program, such as `callsheet node`.

        Raises:
            DefinitionError: one cannot be, or it contradicts another; nothing has changed then.
            CallsheetError: it runs already.
        """
        with self._lock:
            if self._running is not None:
                raise CallsheetError("this scheduler is running already, and cannot be configured any more")
            given: SetupOptions = {**self._given, **changes}
            self._setup = set_up(given)
            self._given = given

    # ---- start and stop -------------------------------------------------------------------------------------------------

    def start(self) -> Self:
        """Open the store, begin, and store the jobs that were declared.

        Raises:
            StoreError: the store cannot be used: another program's, newer, busy, broken.
            NotRunning: it was started already, and this process is a fork of the one where that was.
            DependencyError: the declared jobs' dependencies cannot be.
        """
        _refuse_in_worker()
        end_loading(self, "start")
        self._refuse_in_fork()
        with self._lock:
            if self._running is not None:
                raise CallsheetError("this scheduler is running already")
            incarnation, setup = new_incarnation(), self._setup
            runner = LocalRunner(
                self._functions, incarnation=incarnation, marks_folder=marks_folder(setup.store), **setup.places
            )
            running = Running(setup.store, runner, incarnation, setup.node, setup.doors)
            self._starter = threading.get_ident()
            self._started.clear()
            running.start()
            self._running = running
        try:
            if not self._setup.node.worker_only:  # there what is to run when is said by those that share the store
                self._store_jobs(list(self._declared.values()))
        except BaseException:
            self.stop(drain_timeout=0)
            raise
        finally:
            self._started.set()
        return self

    def stop(self, drain_timeout: float | None = None) -> None:
        """Stop: no new runs begin, running ones may end within `drain_timeout` seconds, then they are made to. Twice is harmless.

        What waits stays in the store, and goes on with the next start. In a fork of the process that started it this does nothing.
        """
        if not self.running:
            return
        with self._lock:
            running = self._running
            if running is None:
                return
            running.stop(self._setup.drain_s if drain_timeout is None else drain_timeout, self._setup.stop_s)
            self._running = None

    def hurry(self) -> None:
        """While it stops: do not wait any longer for running jobs to end by themselves."""
        running = self._running
        if running is not None:
            running.hurry()

    def run(self, *, started: Callable[[], None] | None = None) -> None:
        """Start, and stay until SIGINT or SIGTERM: the first stops in order, the second hurries, the third exits.

        started: called once it runs; what it raises stops the scheduler and is raised here.

        Raises:
            CallsheetError: an actor, or the lines to other nodes, failed again and again; the state is in the store.
        """
        end_loading(self, "run")
        with stop_signals(self.hurry) as asking:
            self.start()
            reason = self._stay(asking, started)
        if reason:
            raise CallsheetError(reason)

    def _stay(self, asking: Asking, started: Callable[[], None] | None) -> str:
        """Wait until it is to end, and stop; the reason, if it failed."""
        try:
            if started is not None:
                started()
            reason = self._wait_for(asking)
            stopper = threading.Thread(target=self.stop, name="stop")
            stopper.start()
            while stopper.is_alive():
                stopper.join(0.2)
            return reason
        finally:
            self.stop(drain_timeout=0)

    def _wait_for(self, asking: Asking) -> str:
        """Wait for a signal, for `stop` or one from outside, or for the node's failure, whose reason is returned."""
        running = self._running
        if running is None:
            return ""
        running.when_over(asking.ask)
        asking.wait()
        return running.failed.result() if running.failed.done() else ""

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether it was started, in this process, and has not stopped."""
        running = self._running
        return running is not None and not running.is_of_parent

    @property
    def node_name(self) -> str:
        """The name of this node in its cluster, while it runs."""
        return self._open().node.name

    @property
    def endpoints(self) -> tuple[str, ...]:
        """Where this node listens, with the ports that were found, while it runs; the first is where others are sent."""
        return self._open().node.endpoints

    @property
    def http_address(self) -> str:
        """Where health and metrics are served, with the port that was found; empty if nowhere."""
        return self._open().http_address

    @property
    def leader(self) -> Leader | None:
        """Who leads the cluster, while this runs: the node, its epoch and where it listens; None while nobody is known to."""
        return self._open_gateway().leader

    def health(self) -> Health:
        """How this node does, while it runs."""
        return self._open().node.health.report()

    @property
    def store(self) -> Store:
        """The store it was made with."""
        return self._setup.store

    def can_run(self, executor: str) -> bool:
        """Whether there are places here for jobs of a kind: thread, async, process or command."""
        places = {"thread": "threads", "async": "asynchronous", "process": "processes", "command": "commands"}
        return bool(self._setup.places[places[executor]] != 0)

    # ---- jobs -----------------------------------------------------------------------------------------------------------

    def job(
        self, trigger: Trigger | None = None, **options: Unpack[JobOptions]
    ) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
        """Declare a function as a job; it stays the function it was. For the options see `JobOptions`.

        Raises:
            DefinitionError: see `add`; or it stands without brackets, and was given the function in place of a trigger.
        """
        if callable(trigger):  # else the function would be replaced by `decorate` and never be a job, without a word
            name = getattr(trigger, "__name__", repr(trigger))
            raise DefinitionError(f"job {name!r}: write @scheduler.job(), with brackets, or @scheduler.job(every(60))")

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
        with self._adding:
            job = self._define(target, trigger, options, keep=False)
            if self._running is not None:
                self._store_jobs([job])
            self._declared[job.key] = job
        return job.name

    def add_many(self, jobs: Iterable[tuple[Callable[..., Any] | Command, Trigger | None, JobOptions]]) -> list[str]:
        """Declare many jobs at once, `(function, trigger, options)` each; return their names in order. See `add`.

        Jobs of one function share it under the name of the first of them, so a million jobs do not need a million functions.
        """
        shared: dict[int, Function] = {}
        names: list[str] = []
        batch: list[Job] = []
        for target, trigger, options in jobs:
            with self._adding:
                job = self._define(target, trigger, options, shared, keep=self._running is None or _has_own(options))
            names.append(job.name)
            batch.append(job)
            if self._running is not None and len(batch) >= MAX_BATCH * 4:
                self._store_jobs(batch)
                batch = []
        if self._running is not None and batch:
            self._store_jobs(batch)
        return names

    def _define(
        self,
        target: Callable[..., Any] | Command,
        trigger: Trigger | None,
        options: JobOptions,
        shared: dict[int, Function] | None = None,
        *,
        keep: bool = True,
    ) -> Job:
        name = options.get("name")
        if name is not None:
            check_name(name)
        tenant = check_name(options.get("tenant", self.tenant), "a tenant's name")
        known: Function | Command
        if isinstance(target, Command):
            if not self._setup.allow_shell:
                raise DefinitionError("commands run only where that is allowed: Scheduler(…, allow_shell=True)")
            known, name = target, name or check_name(target.line or " ".join(target.argv), "a command's name")
        else:
            retry = options.get("retry")
            backoff = retry if callable(retry) else None
            before = shared.get(id(target)) if shared is not None and name is not None and backoff is None else None
            known = before or self._names.make(target, name, backoff=backoff)
            name = name or known.name
            if shared is not None and backoff is None:
                shared[id(target)] = known
        job = define(name, tenant, known, trigger, self._upstreams(name, options), options)
        if isinstance(known, Function):
            self._names.keep(known)
        if keep:
            self._declared[job.key] = job
        return job

    def _upstreams(self, name: str, options: JobOptions) -> tuple[str, ...]:
        try:
            return tuple(dict.fromkeys(self._name_of(upstream) for upstream in upstreams_of(options)))
        except DefinitionError as error:
            raise DefinitionError(f"job {name!r}: {error}") from None

    def _name_of(self, job: Target) -> str:
        if isinstance(job, str | Command):
            return said_name(job)
        name = self._names.of(job)
        if name is None:
            raise DefinitionError(f"{job!r} is no job of this scheduler yet; declare it first, or give the job's name")
        return name

    def _store_jobs(self, jobs: Sequence[Job]) -> None:
        self.add_definitions(jobs)
        if len(self._stored) < 100_000:
            self._stored.update(job.key for job in jobs)

    def remove(self, job: Target) -> None:
        """Remove a job: its runs that have not begun are cancelled, its history stays."""
        name = self._change(job, "remove").job.name
        self._declared.pop((self.tenant, name), None)
        self._stored.discard((self.tenant, name))

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
        known = self._names.make(function, None if name is None else check_name(name, "a hook's name"))
        hook = Hook(
            moment=moment, job="" if job is None else self._name_of(job), tag=check_name(tag, "a tag") if tag else ""
        )
        label = f"{hook.job or ('#' + hook.tag if hook.tag else '*')}"
        definition = define(
            fitted(f"hook:{moment}:{label}:{known.name}"),
            self.tenant,
            known,
            None,
            (),
            {"idempotent": True, "overlap": "allow_all"},
        )
        definition = replace(definition, hook=hook)
        known.check_call(({},), {})
        self._names.keep(known)
        if self._running is not None:
            self._store_jobs([definition])
        self._declared[definition.key] = definition
        return definition.name

    # ---- runs -----------------------------------------------------------------------------------------------------------

    def resolve(self, job: Target) -> tuple[str, Function | None]:
        """The name of a job and, where this program has it, its function; a function that is no job yet becomes one."""
        if isinstance(job, str):
            return said_name(job), self._functions.find(job)
        if isinstance(job, Command):
            name = self._name_of(job)
            if (self.tenant, name) not in self._stored:
                self.add(job, overlap="allow_all")
            return name, None
        known = self._names.of(job)
        if known is None or (self.tenant, known) not in self._stored:
            with self._adding:  # another thread may be about to add the same function
                known = self._names.of(job) or self.add(job, None, overlap="allow_all")
        return known, self._functions.find(known)

    def has_arguments(self, name: str) -> bool:
        """Whether a call without arguments gets some from elsewhere: the job's own, or its upstreams' results."""
        job = self._declared.get((self.tenant, name))
        return job is not None and bool(job.arguments or job.after)

    def metrics(self) -> str:
        """The counters of this node in Prometheus' text format."""
        return self._open().metrics()

    def _open(self) -> Running:
        running = self._running
        if running is None:
            raise NotRunning("the scheduler is not running; call start() or use `with scheduler:`")
        if running.is_of_parent:
            raise running.refusal_in_fork()
        if not self._started.is_set() and threading.get_ident() != self._starter:
            self._started.wait(REQUEST_S)  # another thread is about to store what was declared
            return self._open()
        return running

    def _refuse_in_fork(self) -> None:
        running = self._running
        if running is not None and running.is_of_parent:
            raise running.refusal_in_fork()

    def _open_gateway(self) -> Gateway:
        return self._open().gateway


def _has_own(options: JobOptions) -> bool:
    """Whether a job has arguments without being given any: its own, or its upstreams' results."""
    return bool(options.get("args") or options.get("kwargs") or options.get("after"))


def _refuse_in_worker() -> None:
    """End the loading of a program by a worker process, which wants its functions and no second scheduler."""
    if in_worker():
        raise WorkerReachedRun
