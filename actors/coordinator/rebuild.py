"""How a new leader rebuilds its memory from the store, and squares it with what executors hold.

What the store says of the old reign is final. Each live run is entered as it stands; a run whose attempt was claimed is
settled by who holds it now, or by the start marks of the incarnation that held it:

    held by the executor of this node      goes on; its outcome will come
    its process is certainly dead          settled at once by its marks, as `rescue.py` says
    anything else                          stays with its node, which must let itself be heard (`membership.py`)

    live runs (pages) ─▶ definitions ─▶ hooks ─▶ paused and removed jobs ─▶ stock of the executors ─▶ squared, so many a turn

A step that gets no answer is asked again by a timer. Very many runs are squared in several turns: in between the leader shows
that it lives, or the next one would take the lease, and come no further either.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Final, Literal

from ..actor import DEPENDENCIES, EXECUTOR, PERSISTENCE, SECOND, Turn, on_node
from ..messages import Found, MadeRun, MarksRead, Read, RunsMade, StockTaken, TakeStock
from ..persistence.store import MAX_PAGE, GetDefinitions, GetJobs, GetLiveRuns, ListEdges, ListHeld, Question
from ..records import Condition, Job, JobRecord, LiveRun, RunState
from ..schedule import counts_from_end
from .book import Live
from .reign import AUDIT_US, UNSEEN, Reign
from .rescue import Rescue

ASK_AGAIN_US: Final = SECOND
MADE_A_MESSAGE: Final = 256

SQUARED_A_TURN: Final = 5_000
"""Runs that are entered, or settled, in one turn: about a tenth of a second."""

Step = Literal["live", "definitions", "edges", "held", "jobs", "stock", "squaring", "done"]


class Rebuild:
    """Fills a new reign."""

    def __init__(self, reign: Reign, rescue: Rescue) -> None:
        self._reign = reign
        self._rescue = rescue
        self._rows: list[LiveRun] = []
        self._found: dict[tuple[str, str, int], None] = {}
        self._versions: tuple[tuple[str, str, int], ...] = ()
        self._definitions: dict[tuple[str, str, int], Job] = {}
        self._names: tuple[tuple[str, str], ...] = ()
        self._jobs: list[JobRecord] = []
        self._asked = 0
        self._squaring: Iterator[None] = iter(())
        self._untold: Iterator[Live] | None = None
        self.left: tuple[str, ...] = ()
        self.step: Step = "live"

    @property
    def done(self) -> bool:
        """Tell whether the reign can begin its work."""
        return self.step == "done"

    def ask(self, turn: Turn) -> None:
        """Put the question of this step, again if need be; or go on, if there is none."""
        question: Question
        match self.step:
            case "live":
                question = GetLiveRuns(after=self._rows[-1].run.run_id if self._rows else 0)
            case "definitions":
                question = GetDefinitions(self._missing())
            case "edges":
                question = ListEdges()
            case "held":
                question = ListHeld()
            case "jobs":
                question = GetJobs(self._unasked())
            case "stock":
                turn.send(EXECUTOR, TakeStock(self._reign.epoch, self._strangers(), left=True))
                turn.set_timer("rebuild", turn.elapsed + ASK_AGAIN_US, steady=True)
                return
            case "squaring":
                self._go_on(turn)
                return
            case "done":
                return
        key = self._key()
        turn.send(PERSISTENCE, Read(key, question))
        turn.set_timer("rebuild", turn.elapsed + ASK_AGAIN_US, steady=True)

    def _key(self) -> str:
        """Names the question of this step, this page of it."""
        return f"rebuild/{self._reign.epoch}/{self.step}/{len(self._rows)}/{len(self._definitions)}/{self._asked}"

    def on_found(self, message: Found, turn: Turn) -> None:  # noqa: C901 - a flat table of steps
        """Take an answer and go on to the next step."""
        if message.key != self._key():
            return
        match self.step:
            case "live":
                self._rows.extend(message.rows)
                self._found.update(dict.fromkeys((it.run.tenant, it.run.job, it.run.version) for it in message.rows))
                if len(message.rows) < MAX_PAGE:
                    self._versions = tuple(self._found)
                    self._names = tuple(dict.fromkeys((tenant, name) for tenant, name, _ in self._found))
                    self.step = "definitions" if self._versions else "edges"
            case "definitions":
                found = {(job.tenant, job.name, job.version): job for job in message.rows}
                for tenant, name, version in self._missing():
                    gone = Job(tenant=tenant, name=name, version=version)
                    self._definitions[tenant, name, version] = found.get((tenant, name, version), gone)
                if not self._missing():
                    self.step = "edges"
            case "edges":
                records: tuple[JobRecord, ...] = message.rows
                for record in records:
                    if record.job.hook is not None:
                        self._reign.hooks.put(record.job)
                self.step = "held"
            case "held":
                paused: tuple[JobRecord, ...] = message.rows
                self._reign.held.update(record.job.key for record in paused)
                self.step = "jobs" if self._unasked() else "stock"
            case "jobs":
                there: tuple[JobRecord, ...] = message.rows
                for record in there:
                    self._reign.remove(record.job.key, record.state.removed)
                self._jobs += (record for record in there if counts_from_end(record.job))
                self._asked += MAX_PAGE
                self.step = "jobs" if self._unasked() else "stock"
            case _:
                return
        self.ask(turn)

    def _missing(self) -> tuple[tuple[str, str, int], ...]:
        """The next page of versions that have live runs."""
        return self._versions[len(self._definitions) : len(self._definitions) + MAX_PAGE]

    def _unasked(self) -> tuple[tuple[str, str], ...]:
        """The next page of jobs that have live runs."""
        return self._names[self._asked : self._asked + MAX_PAGE]

    def _strangers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.incarnation for row in self._rows if row.claim is not None and row.incarnation))

    # ---- squaring -------------------------------------------------------------------------------------------------------

    def on_stock_taken(self, message: StockTaken, turn: Turn) -> None:
        """Enter every live run as it really stands. Then the reign begins.

        An answer that does not speak of every life which holds runs is to another question.
        """
        marks = {mark.incarnation: mark for mark in message.marks}
        if self.step != "stock" or message.epoch != self._reign.epoch or not marks.keys() >= set(self._strangers()):
            return
        self.step = "squaring"
        self.left = message.left
        self._squaring = self._square(message, marks, turn.now)
        self._go_on(turn)

    def _go_on(self, turn: Turn) -> None:
        """Square the next runs, then tell of the next; when that were all, the reign begins."""
        squared = sum(1 for _ in islice(self._squaring, SQUARED_A_TURN))
        if squared == SQUARED_A_TURN or self._announce(turn):
            turn.set_timer("rebuild", turn.elapsed, steady=True)
            return
        self.step = "done"
        turn.cancel_timer("rebuild")
        self._rows, self._jobs, self._definitions = [], [], {}

    def _square(self, message: StockTaken, marks: Mapping[str, MarksRead], now: int) -> Iterator[None]:
        """Enter all runs, then settle them; a step for each."""
        for row in self._rows:
            self._enter(row, now)
            yield
        for record in self._jobs:
            last = self._reign.book.last_own_run(record.job.key, record.state.mark)
            if last is not None:
                self._reign.arm_after(last, record.job, record.state.mark)
        own, held = message.incarnation, set(message.held)
        begun = {mark.incarnation: set(mark.fences) for mark in message.marks if mark.readable}
        for row in self._rows:
            live = self._reign.book.live.get(row.run.run_id)
            if live is not None:
                self._settle(live, row, own, held, marks.get(row.incarnation), begun.get(row.incarnation), now)
            yield

    def _settle(
        self,
        live: Live,
        row: LiveRun,
        own: str,
        held: set[int],
        mark: MarksRead | None,
        begun: set[int] | None,
        now: int,
    ) -> None:
        if row.claim is None or _is_parked(row):
            self._resume(live, row, now)
        elif row.incarnation == own and row.claim.fence in held:
            self._continue(live, row)
        elif row.incarnation == own or (mark is not None and mark.dead):
            live.fence, live.node = row.claim.fence, row.claimed_by
            self._rescue.recover(live, now, was_begun=begun is None or live.fence in begun)
        else:
            self._continue(live, row)

    def _enter(self, row: LiveRun, now: int) -> None:
        run = row.run
        job = self._definitions[(run.tenant, run.job, run.version)]
        state, reason = RunState.READY, "read from the store"
        if row.claim is not None:
            state, reason = RunState.CLAIMED, UNSEEN
        if _is_parked(row):  # it is tried anew: this node may know the function
            state, reason = RunState.READY, "its function may be known now"
            self._reign.batch.conditions.append(Condition(run.run_id, RunState.READY, now, reason))
        elif row.condition is not None and row.condition.state is RunState.CANCELLING:
            state, reason = RunState.CANCELLING, row.condition.reason or "cancelled by request"
        live = Live(run, job, state, reason)
        live.attempts, live.crashes = row.attempts, row.crashes
        live.next_at = row.next_at or live.next_at
        live.waits = bool(run.group and job.after and not run.arguments)
        live.look_at = now + AUDIT_US
        book = self._reign.book
        earlier = None if job.overlap == "allow_all" or run.slot is None else book.last_slot_run(live.key)
        self._reign.enter(live)
        if earlier is not None:
            book.gate(live, earlier.run.run_id)
        if run.cause == "hook" and run.parent in book.live and job.hook is not None and job.hook.moment == "before":
            book.gate(book.live[run.parent], run.run_id)

    def _resume(self, live: Live, row: LiveRun, now: int) -> None:
        """A run that had no attempt in hand."""
        if live.state is RunState.CANCELLING:
            self._reign.end(live, RunState.CANCELLED, now, reason=live.reason)
        else:
            self._reign.make_ready(live, now)

    def _continue(self, live: Live, row: LiveRun) -> None:
        """Its node has it still, or will say that it has not, or is found dead."""
        assert row.claim is not None
        node = row.claimed_by
        live.fence, live.node = row.claim.fence, node
        live.place = self._reign.places.place(on_node(EXECUTOR, node), node, row.incarnation)
        live.place.take(live.job)
        begin_by = live.begin_by
        if begin_by is not None:
            self._reign.look(begin_by, "start_deadline", live)

    def _announce(self, turn: Turn) -> bool:
        """Tell dependencies of the next live runs of workflows, and say whether there are more; it answers for those that wait."""
        reign = self._reign
        if self._untold is None:
            self._untold = iter([live for live in reign.book.live.values() if live.run.group])
        lives = list(islice(self._untold, SQUARED_A_TURN))
        runs = made_runs(lives)
        for start in range(0, len(runs), MADE_A_MESSAGE):
            key = f"made/{reign.epoch}/rebuilt/{runs[start].run_id}"
            made = reign.unnoted[key] = RunsMade(key, tuple(runs[start : start + MADE_A_MESSAGE]), rebuilt=True)
            turn.send(DEPENDENCIES, made)
        return len(lives) == SQUARED_A_TURN


def _is_parked(row: LiveRun) -> bool:
    """Tell whether a run was put aside after its newest claim."""
    return row.condition is not None and row.condition.state is RunState.PARKED


def made_runs(lives: Iterable[Live]) -> list[MadeRun]:
    """Those of these runs that belong to workflows, as dependencies is told of them."""
    return [
        MadeRun(
            live.run.run_id,
            live.run.tenant,
            live.run.job,
            live.run.group,
            live.job.after if live.waits else (),
            live.run.slot,
            live.run.created_at + live.job.wait_deadline_us,
        )
        for live in lives
        if live.run.group
    ]
