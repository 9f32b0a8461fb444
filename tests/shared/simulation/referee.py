"""The referee: sees every commit, message and event, and stops the simulation when an invariant does not hold.

    0   no actor fails by itself                       9   nothing starts early
    1   one holder per epoch, epochs grow             10   nothing starts after an acknowledged cancel, pause or removal
    2   no write with an old epoch                    11   overlap
    3   one run per slot, one decision per slot       12   dependencies
    4   one start of what may begin once              14   tenants
    5   one live attempt per run                      15   what was acknowledged is there after any crash
    6   legal moves only, final is final              16   buffers stay bounded, and are empty when all is quiet
    7   attempts grow by one, up to the maximum       17   metrics equal the events
    8   a stale fence changes nothing                 18 … 23  at the end, see `simulation.final`
    24  what was said of a job is gone by             25  deadlines
    26  nothing waits for a job that was removed      27  an orderly stop leaves nothing unrecorded
    28  nothing begins on a drained node

24 and 26 are judged by `simulation.word`, 25 by `simulation.deadline`, 27 and 28 by `simulation.parting`: when a commit or a start
shows it, and at the end; and what is to be done at once only where nothing has held it up, see `simulation.calm`.

This module judges commits; `simulation.leadership` whoever leads. Starts are judged by the trace, acknowledgements by the promises, the end by `final`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from callsheet.actors.lifecycle import FINAL
from callsheet.actors.messages import Envelope, Happened
from callsheet.actors.persistence import store as contract
from callsheet.actors.persistence.store import Write
from callsheet.actors.records import Attempt, ClaimEntry, Decision, End, Run, RunState
from simulation.event import Events
from simulation.leadership import Leadership
from simulation.virtual import Interruption

if TYPE_CHECKING:
    from simulation.node import Life
    from simulation.world import World


class Violation(Interruption):
    """An invariant does not hold."""

    def __init__(self, invariant: str, text: str, at: int) -> None:
        super().__init__(f"invariant {invariant}: {text} (at {at / 1e6:.6f} s)")
        self.invariant = invariant
        self.text = text
        self.at = at


class Referee:
    """Looks on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.events = Events()
        self.leadership = Leadership(world)
        self._saves: dict[Life, list[Any]] = {}
        self._origin: dict[Life, dict[int, int]] = {}
        self._spent: dict[int, int] = {}
        self.spans: dict[tuple[str, str, int], list[tuple[int, int]]] = {}

    def fail(self, invariant: str, text: str) -> None:
        """Stop the simulation."""
        raise Violation(invariant, text, self._world.time.now)

    # ---- messages and events --------------------------------------------------------------------------------------------

    def on_saves(self, life: Life, envelope: Envelope) -> None:
        """Remember in which reign each write was meant."""
        saves, origin = self._saves.setdefault(life, []), self._origin.setdefault(life, {})
        for message in envelope.messages:
            if type(message).__name__ == "Save":
                saves.append(message)
                for write in message.writes:
                    origin[id(write)] = message.epoch
        if len(saves) > 2_000:
            self.forget_saves(life)

    def forget_saves(self, life: Life) -> None:
        """Nothing of this process is on its way to the store."""
        self._saves.pop(life, None)
        self._origin.pop(life, None)

    def on_event(self, life: Life, address: str, event: Any) -> None:
        """An actor reports an event."""
        self.events.count(life, event)
        if isinstance(event, Happened) and event.event.kind == "actor_failed":
            if "told to fail by a test" in event.event.text:
                self._world.count("actors failed on purpose")
            else:
                self.fail("0", event.event.text)
        elif isinstance(event, Happened) and event.event.kind in ("message_unsendable", "actor_not_closed"):
            self.fail("0", event.event.text)

    # ---- commits --------------------------------------------------------------------------------------------------------

    def on_commit(self, life: Life, writes: tuple[Write, ...], epoch: int) -> Callable[[], None]:
        """A batch is about to be committed: judge it by what is stored; answers what judges it afterwards."""
        lease = self._world.disk.tables.lease
        if lease is None or (lease.holder, lease.epoch) != (life.holder, epoch):
            return partial(self.fail, "2", f"{life.holder} wrote in epoch {epoch}, the lease is {lease}")
        origins = self._origin.get(life, {})
        before = {}
        for write in writes:
            origin = origins.get(id(write), epoch)
            if origin != epoch:
                self.fail("2", f"{type(write).__name__} of epoch {origin} was written in epoch {epoch}")
            if isinstance(write, contract.AdvanceJob):
                record = self._world.disk.tables.jobs.get((write.tenant, write.job))
                before[write.tenant, write.job] = record
        self._spent = {
            attempt.run_id: attempt.attempts + attempt.crashes
            for write in writes
            if isinstance(write, contract.AddAttempts)
            for attempt in write.attempts
        }
        judgements = [self._judge(write) for write in writes]

        def after() -> None:
            self._world.count("commits")
            for judgement in judgements:
                judgement()
            self._judge_slots(writes, before)
            self._world.promises.on_stored(writes)
            self._world.words.on_stored(writes)

        return after

    @staticmethod
    def _nothing() -> None:
        """Judge nothing."""

    def _judge(self, write: Write) -> Callable[[], None]:  # noqa: C901 - a flat table of writes
        """Judge one write before it is done; answers what is to be judged when all are."""
        match write:
            case contract.AddRuns(runs=runs):
                return partial(self._judge_runs, runs)
            case contract.AddEnds(ends=ends):
                for end in ends:
                    self._judge_end(end)
            case contract.AddClaim(claim=claim):
                for entry in claim.entries:
                    self._judge_claim(entry)
            case contract.AddAttempts(attempts=attempts):
                for attempt in attempts:
                    self._judge_attempt(attempt)
            case contract.AddSubmissions(submissions=submissions):
                for submission in submissions:
                    if submission.key in self._world.disk.tables.submissions:
                        self.fail("15", f"submission {submission.key} was made twice")
            case contract.AddReceipts(receipts=receipts):
                for receipt in receipts:
                    if receipt.key in self._world.disk.tables.receipts:
                        self.fail("15", f"the change of jobs {receipt.key} was carried out twice")
            case contract.AddDecisions(decisions=decisions):
                for decision in decisions:
                    self._judge_decision(decision)
        return self._nothing

    def _judge_runs(self, runs: tuple[Run, ...]) -> None:
        for run in runs:
            self._judge_run(run)

    def _judge_run(self, run: Run) -> None:
        tables = self._world.disk.tables
        if tables.runs.get(run.run_id) is not run:
            return  # its token was there before
        self._world.count("runs made")
        if run.slot is None:
            return
        numbers = tables.by_job.get((run.tenant, run.job), ())
        twins = [number for number in numbers if tables.runs[number].slot == run.slot and number != run.run_id]
        if twins:
            self.fail("3", f"slot {run.slot} of {run.job} has runs {twins} and {run.run_id} ({run.cause})")
        definition = self._world.definition(run.run_id)
        if run.cause == "slot" and definition is not None and definition.overlap == "skip":
            self._judge_overlap(run)

    def _judge_overlap(self, run: Run) -> None:
        """A slot does not fire while a run of an earlier commit lives, unless all are to be caught up with and it came first."""
        definition = self._world.definition(run.run_id)
        is_caught_up = definition is not None and definition.catchup.policy == "all"
        tables = self._world.disk.tables
        for number in tables.by_job.get((run.tenant, run.job), ()):
            other = tables.runs[number]
            if (
                other.cause == "slot"
                and number in tables.live
                and other.created_at < run.created_at
                and number < run.run_id
                and not (is_caught_up and run.slot is not None and run.slot <= other.created_at)
            ):
                self.fail(
                    "11", f"slot {run.slot} of {run.job} fired as run {run.run_id} while run {number} had not ended"
                )

    def _judge_claim(self, entry: ClaimEntry) -> None:
        tables = self._world.disk.tables
        if entry.fence <= tables.fence:
            self.fail("8", f"fence {entry.fence} of run {entry.run_id} does not grow, {tables.fence} was used")
        if entry.run_id in tables.ends:
            self.fail("6", f"run {entry.run_id} was claimed after it had ended {tables.ends[entry.run_id].state}")
        facts = tables.facts.get(entry.run_id)
        spent = 0 if facts is None or facts.progress is None else facts.progress.attempts + facts.progress.crashes
        spent = self._spent.get(entry.run_id, spent)
        if entry.attempt != spent + 1:
            self.fail("7", f"run {entry.run_id} was claimed for attempt {entry.attempt} after {spent} were spent")

    def _judge_attempt(self, attempt: Attempt) -> None:
        tables = self._world.disk.tables
        self._judge_fence(attempt.run_id, attempt.fence, "attempt")
        facts = tables.facts.get(attempt.run_id)
        progress = facts.progress if facts is not None else None
        old = (progress.attempts, progress.crashes) if progress is not None else (0, 0)
        step = (attempt.attempts - old[0], attempt.crashes - old[1])
        wanted = {"failed": (1, 0), "timed_out": (1, 0), "crashed": (0, 1)}.get(attempt.outcome, (0, 0))
        if step != wanted:
            self.fail("7", f"run {attempt.run_id} {attempt.outcome}, its attempts and crashes moved by {step}")
        definition = self._world.definition(attempt.run_id)
        most = 1 if definition is None or definition.retry is None else definition.retry.attempts
        if attempt.outcome in ("failed", "timed_out") and attempt.attempts >= most:
            self.fail("7", f"run {attempt.run_id} goes on after {attempt.attempts} of {most} attempts")
        if attempt.outcome == "crashed":
            self._judge_crash(attempt.run_id, attempt.fence, "counted as a crash")

    def _judge_end(self, end: End) -> None:
        tables = self._world.disk.tables
        there = tables.ends.get(end.run_id)
        if there is not None and there != end:
            self.fail("6", f"run {end.run_id} ended {there.state}, and again {end.state}")
        if end.state not in FINAL:
            self.fail("6", f"run {end.run_id} ended {end.state}, which is not final")
        if there is not None:
            return
        self._world.deadlines.on_end(end)
        self._world.words.on_end(end)
        if end.fence:
            self._judge_fence(end.run_id, end.fence, "end")
        if end.state in (RunState.LOST, RunState.QUARANTINED):
            self._judge_crash(end.run_id, end.fence, str(end.state))
        if end.state is RunState.SUCCEEDED:
            begin = self._world.trace.by_fence.get(end.fence)
            if begin is None or begin.ends != "succeeded":
                self.fail("8", f"run {end.run_id} SUCCEEDED by fence {end.fence}, whose function did not: {begin}")
        self._world.count(f"ended {end.state}")

    def _judge_fence(self, run_id: int, fence: int, what: str) -> None:
        facts = self._world.disk.tables.facts.get(run_id)
        if facts is None or facts.holder is None or facts.holder.entry.fence != fence:
            self.fail("8", f"an {what} of run {run_id} by fence {fence}; its claim is {facts and facts.holder}")

    def _judge_crash(self, run_id: int, fence: int, word: str) -> None:
        """LOST is only what had really begun, as far as marks can be read."""
        facts = self._world.disk.tables.facts.get(run_id)
        if facts is None or facts.holder is None:
            return
        born = self._world.born.get(facts.holder.incarnation)
        if born is None:
            return
        self.leadership.judge_loss(born, run_id, fence, word)
        self._world.partings.judge_loss(run_id, fence, word)
        can_be_read = not self._world.options.apart and born.boot == self._world.machines[0].boot
        if can_be_read and fence not in self._world.trace.by_fence:
            self.fail(
                "15", f"run {run_id} is {word} by fence {fence}, whose function was never called; marks can be read"
            )

    # ---- slots ----------------------------------------------------------------------------------------------------------

    def _judge_decision(self, decision: Decision) -> None:
        work = self._world.disk.tables.jobs.get((decision.tenant, decision.job))
        if work is None:
            self.fail("18", f"a decision for {decision.job}, which is not stored")
            return
        if decision.slot > self._world.highest_wall():
            self.fail("9", f"slot {decision.slot} of {decision.job} was decided {decision.kind} before its time")

    def _judge_slots(self, writes: tuple[Write, ...], before: dict[tuple[str, str], Any]) -> None:
        """Marks move with decisions, and every slot that a mark passes has its decision, once."""
        decided: dict[tuple[str, str], list[Decision]] = {}
        for write in writes:
            if isinstance(write, contract.AddDecisions):
                for decision in write.decisions:
                    decided.setdefault((decision.tenant, decision.job), []).append(decision)
        for key, decisions in decided.items():
            for decision in decisions:
                self._world.count(f"decided {decision.kind}", decision.count)
                self._add_span(key, decision)
        mixed = {
            (write.tenant, write.job)
            for write in writes
            if isinstance(write, contract.AdvanceJob) and before[write.tenant, write.job] is not None
            if write.version != before[write.tenant, write.job].state.version
        }
        for key, old in before.items():
            record = self._world.disk.tables.jobs.get(key)
            if old is None or record is None or record.state.version != old.state.version or key in mixed:
                continue
            # the same words may stand in a commit twice, when their saying was not answered and they were said again
            told = {(decision.slot, decision.kind): decision for decision in decided.get(key, [])}
            self._world.slots.judge(record, old.state.mark, list(told.values()))
        for key, decisions in decided.items():
            record = self._world.disk.tables.jobs[key]
            if key not in before or record.state.mark < decisions[-1].last:
                stale = any(
                    isinstance(write, contract.AdvanceJob) and write.version != record.state.version for write in writes
                )
                if not stale:
                    self.fail(
                        "18", f"decisions up to {decisions[-1].last} of {key}, the mark stays {record.state.mark}"
                    )

    def _add_span(self, key: tuple[str, str], decision: Decision) -> None:
        """A slot is decided once: single slots must not stand there already."""
        if decision.slot != decision.last:
            return
        spans = self.spans.setdefault((*key, 0), [])
        at = bisect_left(spans, (decision.slot, 0))
        if at < len(spans) and spans[at][0] == decision.slot:
            stored = self._world.disk.tables.decisions.get(key, {}).get(decision.slot)
            if stored is not decision and decision.kind == "FIRED":
                self.fail(
                    "3",
                    f"slot {decision.slot} of {key} is decided {decision.kind}, and was {stored and stored.kind} before",
                )
            return
        spans.insert(at, (decision.slot, decision.slot))

    def forget_spans(self) -> None:
        """The store lost commits: what is decided, and who led last, is what it says now."""
        self.leadership.forget()
        self.spans = {
            (*key, 0): sorted((slot, slot) for slot, it in slots.items() if it.slot == it.last)
            for key, slots in self._world.disk.tables.decisions.items()
        }
