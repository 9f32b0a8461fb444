"""Clients: small state machines that ask, ask again under the same key, and hold the scheduler to what it answered.

Each asks at instants that are drawn beforehand, from a stream of its own. A request is sent again every second until its answer
comes or half a minute has passed, as the gateway of a real client does; a submission that is sent again says so.

A job's pause, edit or removal is asked by one client alone, one word at a time, so that it is certain what the last word was.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct, structs

from callsheet.actors.actor import REGISTRY, on_node
from callsheet.actors.messages import (
    Accepted,
    AddJobs,
    Answer,
    CancelAccepted,
    CancelRun,
    ChangeJob,
    Envelope,
    JobChanged,
    JobsAdded,
    LeaderIs,
    Query,
    RequestRejected,
    RunsEnded,
    Submit,
    SubmitItem,
    Watch,
)
from callsheet.actors.persistence.store import GetRuns, ListDecisions, ListJobs, ListRuns
from callsheet.data import pack_call
from simulation.route import Route
from simulation.virtual import MILLION, stream
from simulation.workload import Work

if TYPE_CHECKING:
    from simulation.world import World

OUTSIDE: Final = "outside"
ASK_AGAIN_US: Final = MILLION
PLAIN: Final = 0
"""The job that waits for nothing and stays, so that there is work."""
LINKS_EVERY_US: Final = 6 * MILLION
"""How often, on the average, a client changes what waits for what."""
REQUEST_US: Final = 30 * MILLION
WATCH_AGAIN_US: Final = 5 * MILLION
BETWEEN_WORDS_US: Final = MILLION
EXPECTED: Final = {"store_full": {"store"}, "store_busy": {"store", "freeze"}, "stopping": {"stop", "leave", "roll"}}
"""Refusals that only a fault explains."""


class _Request(Struct):
    """A request that waits for its answer."""

    message: Any
    asked_at: int
    then: Callable[[Any], None]
    over: Callable[[], None] | None = None


class Client:
    """One client of the node."""

    def __init__(self, world: World, number: int) -> None:
        self._world = world
        self.name = f"client-{number}"
        self._number = number
        self._random = stream(world.seed, "workload", "client", number)
        self._requests: dict[str, _Request] = {}
        self._count = 0
        self.runs: dict[int, str] = {}
        self._waits: set[int] = set()
        self._busy: set[int] = set()
        self.is_quiet = False
        self.answers: dict[str, int] = {}
        self.route = Route(world, f"{self.name}@{OUTSIDE}", self._send_all)
        world.outside.attach(self.name, self._receive)

    def begin(self, until: int) -> None:
        """Plan all that this client will ask."""
        at = 2 * MILLION
        while at < until:
            at += int(self._random.expovariate(1.0) * 700_000)
            name = self._random.choice(ACTIONS)
            part = Random(self._random.random())
            self._world.time.call_at(at, partial(self._act, name, part))
        self._world.time.call_in(WATCH_AGAIN_US, self._watch_again)
        random = stream(self._world.seed, "workload", "client", self._number, "links")
        at = 3 * MILLION
        while at < until:
            at += int(random.expovariate(1.0) * LINKS_EVERY_US)
            self._world.time.call_at(at, partial(self._act, random.choice(LINK_ACTIONS), Random(random.random())))

    def is_free(self, work: Work) -> bool:
        """Whether a word about this job may be said now."""
        return work.number not in self._busy

    def waiting(self) -> dict[str, Any]:
        """The requests without an answer."""
        return {key: request.message for key, request in self._requests.items()}

    # ---- asking ---------------------------------------------------------------------------------------------------------

    def key(self) -> str:
        """A key that no request has had."""
        self._count += 1
        return f"{self.name}/{self._count}"

    def ask(self, message: Any, then: Callable[[Any], None], over: Callable[[], None] | None = None) -> None:
        """Send a request, again and again."""
        request = _Request(message, self._world.time.now, then, over)
        self._requests[message.key] = request
        has_epoch = isinstance(message, Submit | AddJobs | ChangeJob)
        self._send(structs.replace(message, epoch=self.route.epoch) if has_epoch else message)
        self._world.time.call_in(ASK_AGAIN_US, partial(self._ask_again, message.key))

    def _ask_again(self, key: str) -> None:
        request = self._requests.get(key)
        if request is None:
            return
        if self._world.time.now - request.asked_at > REQUEST_US:
            del self._requests[key]
            self._world.count("requests given up")
            if request.over is not None:
                request.over()
            if self._world.healed_for() > REQUEST_US:
                self._world.referee.fail(
                    "20", f"{type(request.message).__name__} {key} got no answer for 30 s after healing"
                )
            return
        self._send(request.message)
        self._world.time.call_in(ASK_AGAIN_US, partial(self._ask_again, key))

    def _send(self, message: Any) -> None:
        node = self.route.node
        if node is not None:
            self._world.outside.send(Envelope(f"{self.name}@{OUTSIDE}", on_node(REGISTRY, node), 0, (message,)))

    def _send_all(self) -> None:
        """There is another leader: what was asked of the last one may be lost."""
        for request in self._requests.values():
            self._send(request.message)

    def _receive(self, envelope: Envelope) -> bool:
        for message in envelope.messages:
            match message:
                case RunsEnded(ends=ends):
                    for end in ends:
                        self._world.promises.on_end(end)
                        self._waits.discard(end.run_id)
                case LeaderIs():
                    self.route.hear(message, envelope.sender)
                case RequestRejected(code="not_leader"):
                    self.route.doubt(envelope.sender)
                case _:
                    request = self._requests.pop(message.key, None)
                    if request is not None:
                        self._count_answer(message)
                        request.then(message)
        return True

    def _count_answer(self, message: Any) -> None:
        name = message.code if isinstance(message, RequestRejected) else type(message).__name__
        self._world.count(f"answer {name}")
        expected = EXPECTED.get(message.code) if isinstance(message, RequestRejected) else None
        if expected is not None and expected.isdisjoint(self._world.options.faults):
            self._world.referee.fail("15", f"{message.key} was refused without cause: {message.code}: {message.text}")

    # ---- acting ---------------------------------------------------------------------------------------------------------

    def _act(self, name: str, random: Random) -> None:
        if name in self._world.options.actions and not self.is_quiet:
            ACTIONS_BY_NAME[name](self, random)

    def submit(self, random: Random, *, token: bool = False, trigger: bool = False) -> None:
        """Submit one or a few runs."""
        works = [work for work in self._world.workload.works if work.job.hook is None]
        if not works:
            return
        tenant = random.choice(works).key[0]
        here = [work for work in works if work.key[0] == tenant]
        items = tuple(self._item(random, here, token=token) for _ in range(1 if trigger else random.randint(1, 4)))
        self.ask_submit(Submit(self.key(), tenant, items, "trigger" if trigger else "submit"))

    def ask_submit(self, request: Submit, then: Callable[[Accepted], None] | None = None) -> None:
        """Submit, and follow what comes of it."""

        asked_at = self._world.time.now

        def answered(message: Any) -> None:
            if isinstance(message, Accepted):
                self._world.promises.on_accepted(request, message)
                self.runs.update(dict.fromkeys(message.run_ids, request.tenant))
                self._waits.update(message.run_ids)
                if then is not None:
                    then(message)
            elif message.code == "unknown_job":
                self._judge_unknown(request.tenant, request.items[message.index].job, asked_at, message)

        self.ask(request, answered)

    def _item(self, random: Random, works: list[Work], *, token: bool) -> SubmitItem:
        work = random.choice(works)
        number, has_arguments = random.randrange(6), random.random() < 0.3
        arguments = (
            pack_call((number,), {}, what="arguments", limit=1000) if has_arguments and not work.job.after else b""
        )
        later = random.random() < 0.2
        wait = random.randrange(6 * MILLION)
        return SubmitItem(
            work.job.name,
            arguments,
            f"token-{work.number}-{number}" if token else None,
            random.choice((None, None, -100, 0, 100)),
            self._world.wall() + wait if later else 0,
        )

    def _judge_unknown(self, tenant: str, name: str, asked_at: int, message: Any) -> None:
        """A job is known if the last word about it was answered before it was asked for."""
        record = self._world.disk.tables.jobs.get((tenant, name))
        work = self._world.workload.find(tenant, name)
        said_at = self._world.last_words.get((tenant, name), 0)
        is_settled = work is not None and work.number in self._world.settled_jobs and said_at < asked_at
        if is_settled and record is not None and record.state.status != "removed":
            self._world.referee.fail(
                "15", f"{name} is stored as {record.state.status}, and was said to be unknown: {message.text}"
            )

    def cancel(self, random: Random) -> None:
        """Cancel a run of one's own; sometimes in another tenant's name."""
        if not self.runs:
            return
        run_id = list(self.runs)[-1 - random.randrange(min(len(self.runs), 5))]
        tenant = self.runs[run_id]
        is_own = random.random() < 0.9
        asked = tenant if is_own else "nobody"

        def answered(message: Any) -> None:
            if isinstance(message, CancelAccepted):
                if not is_own:
                    self._world.referee.fail("14", f"run {run_id} of {tenant} was cancelled by {asked}")
                self._world.promises.on_cancelled(run_id, message.state)

        self.ask(CancelRun(self.key(), asked, run_id), answered)

    def query(self, random: Random) -> None:
        """Ask about jobs, runs or decisions of one tenant."""
        works = self._world.workload.works
        tenant = random.choice(("acme", "umbrella"))
        name = random.choice(works).job.name if works else "none"
        question = random.choice(
            (
                ListRuns(tenant=tenant, limit=20),
                ListJobs(tenant=tenant),
                ListDecisions(tenant=tenant, job=name, limit=20),
            )
        )

        def answered(message: Any) -> None:
            for row in message.rows if isinstance(message, Answer) else ():
                owner = getattr(row, "tenant", None) or (row.run if hasattr(row, "run") else row.job).tenant
                if owner != tenant:
                    self._world.referee.fail("14", f"{tenant} asked, and was shown {row}")

        self.ask(Query(self.key(), question), answered)

    def watch(self, random: Random) -> None:
        """Ask about runs of one's own."""
        run_ids = tuple(list(self.runs)[-5:])
        if run_ids:
            tenant = self.runs[run_ids[0]]
            self.ask(Query(self.key(), GetRuns(tenant, run_ids)), lambda message: None)
            self._send(Watch(self.key(), tenant, run_ids))

    def _watch_again(self) -> None:
        by_tenant: dict[str, list[int]] = {}
        for run_id in sorted(self._waits):
            by_tenant.setdefault(self.runs.get(run_id, "probe"), []).append(run_id)
        for tenant, run_ids in by_tenant.items():
            for start in range(0, len(run_ids), 200):
                self._send(Watch(self.key(), tenant, tuple(run_ids[start : start + 200])))
        self._world.time.call_in(WATCH_AGAIN_US, self._watch_again)

    # ---- words about jobs -----------------------------------------------------------------------------------------------

    def declare(
        self,
        works: list[Work],
        then: Callable[[], None] = lambda: None,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        """Declare jobs, all at once."""
        keys = [work.key for work in works]
        jobs = tuple(work.job for work in works)
        numbers = {work.number for work in works}
        for key in keys:
            if self._world.promises.held.get(key) == "removed" or key in self._world.maybe_removed:
                self._world.promises.on_word(key)
        self._busy |= numbers
        self._world.settled_jobs -= numbers
        self._world.words.ask(keys)

        def answered(message: Any) -> None:
            is_done = isinstance(message, JobsAdded)
            self._world.words.over(keys, is_done=is_done)
            if isinstance(message, JobsAdded):
                self._world.promises.on_declared(keys, message)
                self._world.maybe_removed.difference_update(keys)
                self._world.settled_jobs.update(numbers)
                for job in jobs:
                    self._world.words.stand(job.key, job)
            else:
                refused()
            self._rest(numbers, then)

        def over() -> None:
            self._world.words.over(keys, is_done=False)
            self._rest(numbers, then)

        self.ask(AddJobs(self.key(), jobs), answered, over)

    def _rest(self, numbers: set[int], then: Callable[[], None]) -> None:
        for work in self._world.workload.all():
            if work.number in numbers:
                self._world.last_words[work.key] = self._world.time.now

        def rested() -> None:
            self._busy -= numbers
            then()

        self._world.time.call_in(BETWEEN_WORDS_US, rested)

    def change(self, random: Random, action: str) -> None:
        """Say a word about a job of one's own."""
        mine = self._mine()
        if not mine:
            return
        work = random.choice(mine)
        if action == "edit" or work.number not in self._world.settled_jobs:
            work.job = self._world.workload.edited(work, random)
            self.declare([work])
            return
        if action == "pause" and self._world.promises.held.get(work.key) == "paused":
            action = "resume"
        trigger = self._world.workload.another_trigger(random) if action == "reschedule" else None
        self._say(work, action, trigger)

    def _mine(self) -> list[Work]:
        """The jobs of one's own about which a word may be said now."""
        clients = self._world.options.clients
        works = (work for work in self._world.workload.works if work.number % clients == self._number)
        return [work for work in works if self.is_free(work)]

    def resume_all(self) -> None:
        """Let all paused jobs of one's own go on."""
        for work in self._mine():
            if self._world.promises.held.get(work.key) == "paused":
                self._say(work, "resume", None)

    def relink(self, random: Random) -> None:
        """Declare a job of one's own, but for the plain one, with other upstreams; if that is refused it stays what it was."""
        mine = [work for work in self._mine() if work.number != PLAIN and work.job.hook is None]
        if not mine:
            return
        work = random.choice(mine)
        before = work.job
        work.job = asked = self._world.workload.relinked(work, random)

        def refused() -> None:
            self._world.count("relinks refused")
            work.job = before if work.job is asked else work.job

        self._world.count("relinks")
        self.declare([work], refused=refused)

    def uproot(self, random: Random) -> None:
        """Remove a job of one's own for which others wait, but for the plain one; sometimes it is soon there again."""
        awaited = {(work.key[0], name) for work in self._world.workload.works for name in work.job.after}
        mine = [it for it in self._mine() if it.key in awaited and it.number in self._world.settled_jobs - {PLAIN}]
        if not mine:
            return
        work, is_back, wait = random.choice(mine), random.random() < 0.5, random.random()
        self._world.count("uprooted")
        self._say(work, "remove", None)
        if is_back:
            self._world.time.call_in(BETWEEN_WORDS_US + int(wait**2 * 8 * MILLION), partial(self._bring_back, work))

    def _bring_back(self, work: Work) -> None:
        if self.is_free(work) and work.number not in self._world.settled_jobs:
            self.declare([work])

    def _say(self, work: Work, action: Any, trigger: Any) -> None:
        if trigger is not None:
            work.job = structs.replace(work.job, trigger=trigger)
        if action == "resume":
            self._world.promises.on_word(work.key)
        if action == "remove":
            self._world.settled_jobs.discard(work.number)
            self._world.maybe_removed.add(work.key)
        self._busy.add(work.number)
        self._world.words.ask([work.key])
        asked_at = self._world.time.now

        def over(*, is_done: bool = False) -> None:
            self._world.words.over([work.key], is_done=is_done)
            self._rest({work.number}, lambda: None)

        def answered(message: Any) -> None:
            is_done = isinstance(message, JobChanged)
            if is_done:
                self._world.promises.on_changed(work.key, action, asked_at)
            over(is_done=is_done)
            if is_done and action != "remove":
                self._world.words.stand(work.key)

        self.ask(ChangeJob(self.key(), *work.key, action, trigger), answered, over)


ACTIONS_BY_NAME: Final[dict[str, Callable[[Client, Random], None]]] = {
    "submit": Client.submit,
    "token": partial(Client.submit, token=True),
    "trigger": partial(Client.submit, trigger=True),
    "cancel": Client.cancel,
    "pause": partial(Client.change, action="pause"),
    "reschedule": partial(Client.change, action="reschedule"),
    "remove": partial(Client.change, action="remove"),
    "edit": partial(Client.change, action="edit"),
    "query": Client.query,
    "watch": Client.watch,
    "relink": Client.relink,
    "uproot": Client.uproot,
}
LINK_ACTIONS: Final = ("relink", "relink", "uproot")
ACTIONS: Final = (
    *("submit",) * 6,
    "token",
    "token",
    "trigger",
    "trigger",
    "cancel",
    "cancel",
    "pause",
    "pause",
    "reschedule",
    "remove",
    "edit",
    "query",
    "watch",
)
