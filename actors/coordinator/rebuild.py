"""How a new leader rebuilds its memory from the store, and squares it with what executors hold.

What the store says of the old reign is final. Each live run is entered as it stands; a run whose attempt was claimed is
settled by who holds it now, or by the start marks of the incarnation that held it:

    held by the executor of this node      goes on; its outcome will come
    its process is certainly dead          settled at once by its marks, as `rescue.py` says
    anything else                          stays with its node, which must let itself be heard (`membership.py`)

    live runs (pages) ─▶ definitions ─▶ hooks ─▶ paused and removed jobs ─▶ stock of the executors ─▶ settled

A step that gets no answer is asked again by a timer.
"""

from __future__ import annotations

from typing import Final, Literal

from ..actor import EXECUTOR, PERSISTENCE, SECOND, Turn, on_node
from ..messages import Found, MadeRun, Read, RunsMade, StockTaken, TakeStock
from ..persistence.store import MAX_PAGE, GetDefinitions, GetJobs, GetLiveRuns, ListEdges, ListHeld, Question
from ..records import Condition, Job, JobRecord, LiveRun, RunState
from ..schedule import counts_from_end
from .book import Live
from .reign import AUDIT_US, UNSEEN, Reign
from .rescue import Rescue

ASK_AGAIN_US: Final = SECOND
MADE_A_MESSAGE: Final = 256

Step = Literal["live", "definitions", "edges", "held", "jobs", "stock", "done"]


class Rebuild:
    """Fills a new reign."""

    def __init__(self, reign: Reign, rescue: Rescue) -> None:
        self._reign = reign
        self._rescue = rescue
        self._rows: list[LiveRun] = []
        self._definitions: dict[tuple[str, str, int], Job] = {}
        self._jobs: list[JobRecord] = []
        self._asked = 0
        self.left: tuple[str, ...] = ()
        self.step: Step = "live"

    @property
    def done(self) -> bool:
        """Tell whether the reign can begin its work."""
        return self.step == "done"

    def ask(self, turn: Turn) -> None:
        """Put the question of this step, again if need be."""
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
                if len(message.rows) < MAX_PAGE:
                    self.step = "definitions" if self._missing() else "edges"
            case "definitions":
                found: tuple[Job, ...] = message.rows
                asked = self._missing()
                self._definitions.update({(job.tenant, job.name, job.version): job for job in found})
                for tenant, name, version in asked:
                    gone = Job(tenant=tenant, name=name, version=version)
                    self._definitions.setdefault((tenant, name, version), gone)
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
        wanted = dict.fromkeys((row.run.tenant, row.run.job, row.run.version) for row in self._rows)
        return tuple(version for version in wanted if version not in self._definitions)[:MAX_PAGE]

    def _unasked(self) -> tuple[tuple[str, str], ...]:
        """The next page of jobs that have live runs."""
        names = dict.fromkeys((row.run.tenant, row.run.job) for row in self._rows)
        return tuple(names)[self._asked : self._asked + MAX_PAGE]

    def _strangers(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(row.incarnation for row in self._rows if row.claim is not None and row.incarnation))

    # ---- squaring -------------------------------------------------------------------------------------------------------

    def on_stock_taken(self, message: StockTaken, turn: Turn) -> None:
        """Enter every live run as it really stands. The reign begins.

        An answer that does not speak of every life which holds runs is to another question.
        """
        marks = {mark.incarnation: mark for mark in message.marks}
        if self.step != "stock" or message.epoch != self._reign.epoch or not marks.keys() >= set(self._strangers()):
            return
        self.step = "done"
        turn.cancel_timer("rebuild")
        own, held = message.incarnation, set(message.held)
        begun = {mark.incarnation: set(mark.fences) for mark in message.marks if mark.readable}
        for row in self._rows:
            self._enter(row, turn.now)
        for record in self._jobs:
            last = self._reign.book.last_own_run(record.job.key, record.state.mark)
            if last is not None:
                self._reign.arm_after(last, record.job, record.state.mark)
        for row in self._rows:
            live = self._reign.book.live.get(row.run.run_id)
            if live is None:
                continue
            mark = marks.get(row.incarnation)
            if row.claim is None or _is_parked(row):
                self._resume(live, row, turn.now)
            elif row.incarnation == own and row.claim.fence in held:
                self._go_on(live, row)
            elif row.incarnation == own or (mark is not None and mark.dead):
                live.fence, live.node = row.claim.fence, row.claimed_by
                known = begun.get(row.incarnation)
                self._rescue.recover(live, turn.now, was_begun=known is None or live.fence in known)
            else:
                self._go_on(live, row)
        self._announce(turn)
        self._rows, self._jobs = [], []
        self.left = message.left

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

    def _go_on(self, live: Live, row: LiveRun) -> None:
        """Its node has it still, or will say that it has not, or is found dead."""
        assert row.claim is not None
        node = row.claimed_by
        live.fence, live.node = row.claim.fence, node
        live.place = self._reign.places.place(on_node(EXECUTOR, node), node, row.incarnation)
        live.place.take(live.job)
        begin_by = live.begin_by
        if begin_by is not None:
            self._reign.look(begin_by, "start_deadline", live)

    def _announce(self, turn: Turn) -> None:
        """Tell dependencies which runs of workflows live; it answers for those that wait."""
        runs = made_runs(self._reign)
        for start in range(0, len(runs), MADE_A_MESSAGE):
            key = f"made/{self._reign.epoch}/rebuilt/{start}"
            self._reign.unnoted[key] = RunsMade(key, tuple(runs[start : start + MADE_A_MESSAGE]), rebuilt=True)
            turn.send("dependencies", self._reign.unnoted[key])


def _is_parked(row: LiveRun) -> bool:
    """Tell whether a run was put aside after its newest claim."""
    return row.condition is not None and row.condition.state is RunState.PARKED


def made_runs(reign: Reign, *, waiting_only: bool = False) -> list[MadeRun]:
    """The live runs of workflows, as dependencies is told of them."""
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
        for live in reign.book.live.values()
        if live.run.group and (live.waits or not waiting_only)
    ]
