"""What the functions leave behind: which attempt really began, when, and how it ended. The scheduler's books are not asked.

The trace judges by itself what can be judged from starts alone: that a run which may begin once begins once, that no two
attempts of a run run at a time, that nothing starts early, or after it was cancelled, paused or removed for certain.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from callsheet.actors.executor.runner import Order
from callsheet.actors.records import AttemptOutcome, Run, RunState
from simulation.runner import result_of

if TYPE_CHECKING:
    from simulation.world import World


class Begin(Struct):
    """A function that was called, by true time. `ends` is how it ended: an outcome, "died" with its process, None while it runs."""

    order: Order
    life: str
    at: int
    ends: AttemptOutcome | None = None
    died: bool = False
    given_up: bool = False
    forgiven: bool = False

    @property
    def runs(self) -> bool:
        """Whether it runs now."""
        return self.ends is None and not self.died


class Trace:
    """All starts, by run and by fence."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.by_run: dict[int, list[Begin]] = {}
        self.by_fence: dict[int, Begin] = {}
        self._running_by_job: dict[tuple[str, str], list[Begin]] = {}
        self.ends: dict[str, int] = {}
        self.nodes: set[str] = set()

    def began(self, order: Order, life: str) -> int:
        """A function was called; answers how often one was for this run."""
        begin = Begin(order, life, self._world.time.now)
        before = self.by_run.setdefault(order.run_id, [])
        self._judge(begin, [it for it in before if not it.forgiven])
        before.append(begin)
        self.nodes.add(self._world.born[life].node)
        self.by_fence[order.fence] = begin
        self._running_by_job.setdefault((order.tenant, order.job), []).append(begin)
        return len(before)

    def ended(self, fence: int, outcome: AttemptOutcome) -> None:
        """A function ended."""
        self._leave(fence).ends = outcome
        self.ends[outcome] = self.ends.get(outcome, 0) + 1

    def given_up(self, fence: int) -> None:
        """A function was told to stop, did not listen, and goes on although its attempt is over."""
        self.by_fence[fence].given_up = True

    def died(self, fence: int) -> None:
        """A function died with its process."""
        self._leave(fence).died = True
        self.ends["died"] = self.ends.get("died", 0) + 1

    def forgive(self, run_id: int) -> None:
        """The store lost, as it may, what it knew of a run: what began before does not count."""
        for begin in self.by_run.get(run_id, ()):
            begin.forgiven = True

    def running(self) -> list[Begin]:
        """What runs now."""
        return [begin for begins in self._running_by_job.values() for begin in begins]

    def _leave(self, fence: int) -> Begin:
        begin = self.by_fence[fence]
        self._running_by_job[begin.order.tenant, begin.order.job].remove(begin)
        return begin

    # ---- judging --------------------------------------------------------------------------------------------------------

    def _judge(self, begin: Begin, before: list[Begin]) -> None:
        order, tables, fail = begin.order, self._world.disk.tables, self._world.referee.fail
        run = tables.runs.get(order.run_id)
        name = f"run {order.run_id} of {order.job} (fence {order.fence}, attempt {order.attempt})"
        if run is None:
            fail("4", f"{name} began, and is not stored")
            return
        if order.fence in self.by_fence and not self.by_fence[order.fence].forgiven:
            fail("4", f"{name} began twice under one fence")
        if self._is_stray(begin):
            self._world.count("strays begun")  # its claim counts as begun, and here it does begin
            self._judge_before(begin, before, name)
            return
        if order.run_id in tables.ends:
            fail("8", f"{name} began after it had ended {tables.ends[order.run_id].state}")
        self._judge_claim(begin, name)
        self._judge_before(begin, before, name)
        self._judge_time(begin, run, name)
        self._world.deadlines.on_begin(
            order, run, is_first=order.run_id not in self.by_run or not self.by_run[order.run_id]
        )
        self._judge_words(begin, run, name)
        self._world.partings.on_begin(self._world.find_life(self._world.born[begin.life]), name)
        self._judge_overlap(begin, run, name)
        self._judge_upstreams(begin, run, name)

    def _is_stray(self, begin: Begin) -> bool:
        """Whether an attempt was given up before it began, on a machine whose marks nobody can revoke."""
        return self._world.options.apart and self.is_given_up(begin)

    def is_given_up(self, begin: Begin) -> bool:
        """Whether the store says that the attempt died, and it may go on all the same."""
        run_id, fence = begin.order.run_id, begin.order.fence
        end = self._world.disk.tables.ends.get(run_id)
        if end is not None and end.fence == fence and end.state in (RunState.LOST, RunState.QUARANTINED):
            return True
        attempts = self._world.disk.tables.attempts.get(run_id, ())
        return any(it.fence == fence and it.outcome == "crashed" for it in attempts)

    def _judge_claim(self, begin: Begin, name: str) -> None:
        synced = self._world.disk.synced if self._world.disk.durable else self._world.disk.tables
        facts = synced.facts.get(begin.order.run_id)
        holder = facts.current() if facts is not None else None
        if holder is None or holder.entry.fence != begin.order.fence:
            self._world.referee.fail("8", f"{name} began; the durable claim is {holder}")
        elif holder.incarnation != begin.life:
            self._world.referee.fail("8", f"{name} began in {begin.life}, it is claimed for {holder.incarnation}")

    def _judge_before(self, begin: Begin, before: list[Begin], name: str) -> None:
        fail = self._world.referee.fail
        for earlier in before:
            if earlier.runs and not earlier.given_up and not self.is_given_up(earlier):
                fail("5", f"{name} began while fence {earlier.order.fence} runs")
        definition = self._world.definition(begin.order.run_id)
        if definition is None:
            return
        if definition.delivery == "at_most_once":
            for earlier in before:
                if earlier.ends not in ("failed", "timed_out", "snoozed") and not earlier.given_up:
                    ends = earlier.ends or "did not end"
                    fail("4", f"{name} may begin once, and began again; fence {earlier.order.fence} {ends}")
        attempts = definition.retry.attempts if definition.retry is not None else 1
        asked = sum(it.ends in ("snoozed", "cancelled") for it in before)
        if len(before) + 1 > attempts + definition.max_crashes + asked:
            fail(
                "7",
                f"{name} is start {len(before) + 1}, with {attempts} attempts and {definition.max_crashes} crashes allowed",
            )
        spent = sum(it.ends in ("failed", "timed_out") and self._was_told(it) for it in before)
        if spent >= attempts:
            fail("7", f"{name} began after {spent} of {attempts} attempts had failed")

    def _was_told(self, begin: Begin) -> bool:
        """Whether the store knows that the attempt came back."""
        run_id, fence = begin.order.run_id, begin.order.fence
        return any(
            it.fence == fence and it.outcome in ("failed", "timed_out")
            for it in self._world.disk.tables.attempts.get(run_id, ())
        )

    def _judge_time(self, begin: Begin, run: Run, name: str) -> None:
        highest = self._world.highest_wall()
        facts = self._world.disk.tables.facts.get(run.run_id)
        waits_for = [run.not_before]
        if facts is not None and facts.progress is not None:
            waits_for.append(facts.progress.next_at)
        if run.slot is not None and run.cause == "slot":
            waits_for.append(run.slot)
        if max(waits_for) > highest:
            self._world.referee.fail("9", f"{name} began {(max(waits_for) - highest) / 1e6} s early")

    def _judge_words(self, begin: Begin, run: Run, name: str) -> None:
        promises = self._world.promises
        if run.run_id in promises.cancelled:
            self._world.referee.fail("10", f"{name} began after its cancel was acknowledged")
        word = promises.is_held(run)
        if word:
            self._world.referee.fail("10", f"{name} began after its job was {word}")

    def _judge_overlap(self, begin: Begin, run: Run, name: str) -> None:
        definition = self._world.definition(run.run_id)
        if definition is None or definition.overlap != "skip" or run.slot is None:
            return
        for other in self._running_by_job.get((run.tenant, run.job), ()):
            rival = self._world.disk.tables.runs.get(other.order.run_id)
            known = rival is not None and rival.slot is not None and rival.version == run.version
            if not known or other.given_up or other.forgiven or other.order.run_id == run.run_id:
                continue
            if not self.is_given_up(other):
                self._world.referee.fail("11", f"{name} began while run {other.order.run_id} of its job runs")

    def _judge_upstreams(self, begin: Begin, run: Run, name: str) -> None:
        definition, tables = self._world.definition(run.run_id), self._world.disk.tables
        if definition is None or not definition.after or not run.group or run.arguments:
            return
        numbers = tables.by_group.get((run.tenant, run.group), ())
        by_job = {tables.runs[number].job: number for number in numbers}
        handed = []
        for upstream in definition.after:
            end = tables.ends.get(by_job.get(upstream, -1))
            if end is None or end.state is not RunState.SUCCEEDED:
                state = "not ended" if end is None else end.state
                self._world.referee.fail("12", f"{name} began; its upstream {upstream} has {state}")
                return
            handed.append(result_of(upstream, by_job[upstream]))
        if tuple(handed) != begin.order.handed:
            self._world.referee.fail("12", f"{name} was handed {begin.order.handed}, its upstreams answered {handed}")
