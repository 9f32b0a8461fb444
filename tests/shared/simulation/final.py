"""The final judgement: what must hold when all faults are over and the clients are quiet.

16  nothing is left in a buffer that should be empty          20  the node leads, and work flows
17  metrics equal the events                                  21  nobody starves
18  every past slot of an active job has its decision         22  memory equals what the store would rebuild
19  every run has ended, or has one reason and one next look  23  slots equal the calendar (see `slots`)

Of what has not ended, also 25 (see `deadline`) and 26 (see `word`).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from typing import Final as Constant

from callsheet.actors.actor import COORDINATOR, EXECUTOR, METRICS, Turn, sent
from callsheet.actors.coordinator.book import Live
from callsheet.actors.messages import MetricsReported, ReportMetrics
from callsheet.actors.records import RunState
from simulation.calm import SLACK_US
from simulation.memory import rebuilt
from simulation.virtual import MILLION

if TYPE_CHECKING:
    from simulation.node import Life
    from simulation.world import World

LEADS_US: Constant = 6 * MILLION
"""Three times the lease's TTL of two seconds."""
LOST_MESSAGE_US: Constant = 40 * MILLION
"""Within a process no message is lost; where the simulation loses some, the slowest audit finds out after half a minute."""
STARVES_US: Constant = 20 * MILLION
QUIET: Constant = {
    "coordinator ._held": 0,
    "coordinator .unnoted": 8,
    "coordinator ._holding": 0,
    "coordinator .unsettled": 0,
    "coordinator .untried": 0,
    "coordinator ._in_hand": 8,
    "coordinator ._deciding": 8,
    "registry ._errands": 16,
    "dependencies ._held": 0,
    "clock ._undecided": 8,
    "executor ._ended._kept": 64,
    "executor ._ended._waiting": 8,
    "executor ._ended._under_way": 64,
    "executor ._withdrawing": 0,
    "persistence ._saves": 0,
    "persistence ._reads": 0,
}
"""Buffers, by actor and the end of their path, and how much may be in them when all is quiet."""
WAITING: Constant = (RunState.BLOCKED, RunState.DELAYED, RunState.READY, RunState.PARKED)


class Final:
    """Judges a world at its end."""

    def __init__(self, world: World) -> None:
        self._world = world

    def judge(self) -> None:
        """All of it."""
        world = self._world
        life = world.leader()
        if life is None:
            world.referee.fail("20", f"nobody leads at the end; up are {[it.holder for it in world.lives()]}")
            return
        world.promises.check()
        self._judge_leadership(life)
        self._judge_probes(life)
        self._judge_runs(life)
        world.slots.judge_end()
        self._judge_buffers(life)
        self._judge_memory(life)
        self._judge_metrics(life)
        self._judge_progress()

    def _fail(self, invariant: str, text: str) -> None:
        self._world.referee.fail(invariant, text)

    # ---- 20, leadership -------------------------------------------------------------------------------------------------

    def _judge_leadership(self, life: Life) -> None:
        """All know who leads, and nobody else does; and when all was well it did not change any more."""
        world = self._world
        changed_us = world.referee.leadership.taken_at - max(world.healed_at, world.stirred_at)
        if changed_us > LEADS_US:
            self._fail("20", f"{life.holder} took over {changed_us / 1e6} s after all was well")
        for other in world.lives():
            coordinator = other.actors[COORDINATOR]
            leader = coordinator._election.leader
            if (leader.node, leader.incarnation) != (life.node.name, life.incarnation):
                self._fail("20", f"{life.holder} leads, {other.holder} follows {leader}")
            if coordinator._election.cut_off or (coordinator._lead is not None) != (other is life):
                self._fail("20", f"{life.holder} leads, {other.holder} is cut off, or believes that it leads")
        if len(world.lives()) != len(world.nodes):
            self._fail("20", f"only {[it.holder for it in world.lives()]} are up at the end")
        world.count("worlds with work on several nodes", int(len(world.trace.nodes) > 1))

    # ---- 20 -------------------------------------------------------------------------------------------------------------

    def _judge_probes(self, life: Life) -> None:
        world, tables = self._world, self._world.disk.tables
        lead = life.actors[COORDINATOR]._lead
        if lead is None or not lead.is_ready:
            self._fail("20", f"{life.holder} holds the lease, and does not lead at the end")
        if not world.probes:
            self._fail("20", f"no probe was accepted within {world.healed_for() / 1e6} s of healing")
        slack = LOST_MESSAGE_US if "local" in world.options.faults else 0
        for asked_at, run_id in world.probes:
            end = tables.ends.get(run_id)
            begins = world.trace.by_run.get(run_id, [])
            late = (begins[0].at if begins else world.time.now) - max(asked_at, world.healed_at + LEADS_US)
            if late > LEADS_US + slack or (end is None and world.time.now - asked_at > LEADS_US + slack):
                self._fail(
                    "20",
                    f"a probe (run {run_id}) that was asked {(asked_at - world.healed_at) / 1e6} s after healing began {late / 1e6} s late: {end}",
                )

    # ---- 19, 21 ---------------------------------------------------------------------------------------------------------

    def _judge_runs(self, life: Life) -> None:
        world, tables = self._world, self._world.disk.tables
        lead = life.actors[COORDINATOR]._lead
        book = lead.reign.book
        batches = [batch for batch in (lead.reign.sent, lead.reign.batch) if batch is not None]
        ending = {end.run_id for batch in batches for end in batch.ends}
        for run_id in tables.live:
            live = book.live.get(run_id)
            if run_id in ending:
                continue
            if live is None:
                self._fail(
                    "22", f"run {run_id} of {tables.live[run_id].job} has not ended, and the leader does not know it"
                )
            else:
                self._judge_live(live)
        world.count("live at the end", len(tables.live))

    def _judge_live(self, live: Live) -> None:
        name = f"run {live.run.run_id} of {live.run.job} is {live.state}"
        now, wall = self._world.time.now, self._world.wall()
        self._world.deadlines.judge_live(live)
        if not live.reason:
            self._fail("19", f"{name} and has no reason")
        if live.state in WAITING and live.look_at is None:
            self._fail("19", f"{name} and nobody looks at it again")
        begins = self._world.trace.by_run.get(live.run.run_id, [])
        if live.state in (RunState.CLAIMED, RunState.RUNNING, RunState.CANCELLING):
            waits = any(live.fence in life.runner.waiting() for life in self._world.lives())
            if not waits and not any(begin.runs for begin in begins):
                age = now - begins[-1].at if begins else wall - live.ready_at
                if age > self._patience():
                    self._fail("19", f"{name} by fence {live.fence}, and nothing of it runs")
        elif live.state is RunState.READY:
            free = sum(life.runner.capacity.of(live.job.executor) for life in self._world.lives())
            busy = sum(begin.order.kind == live.job.executor for begin in self._world.trace.running())
            if wall - live.ready_at > self._patience() and busy < free and live.key not in self._held():
                self._fail(
                    "21",
                    f"{name} for {(wall - live.ready_at) / 1e6} s although {free - busy} places are free: {live.reason}",
                )
        elif live.state is RunState.DELAYED and live.look_at is not None and live.look_at < wall - self._patience():
            self._fail("19", f"{name} since its next look passed {(wall - live.look_at) / 1e6} s ago")
        elif live.state is RunState.BLOCKED:
            self._judge_blocked(live, name, wall)

    def _judge_blocked(self, live: Live, name: str, wall: int) -> None:
        """Something that has not ended must stand before it."""
        tables = self._world.disk.tables
        self._world.words.judge_blocked(live)
        if wall - live.run.created_at < self._patience():
            return
        group = tables.by_group.get((live.run.tenant, live.run.group), []) if live.run.group else []
        siblings = {tables.runs[number].job: number for number in group}
        waits = [siblings[job] for job in live.job.after if siblings.get(job) in tables.live] if live.waits else []
        gates = [number for number, followers in self._book().gated.items() if live.run.run_id in followers]
        if live.waits and not live.run.group.startswith("m/") and any(job not in siblings for job in live.job.after):
            return  # its upstreams may come in a slot of the same instant, until its deadline
        stands = [number for number in (*waits, *gates) if number in tables.live]
        freed_at = max((self._world.deadlines.ended_at(number) for number in siblings.values()), default=0)
        if not stands and self._world.time.now - freed_at > self._patience(SLACK_US):
            ends = {job: tables.ends[number].state for job, number in siblings.items() if number in tables.ends}
            self._fail(
                "12",
                f"{name} ({live.reason}; waits {live.waits}, gates {live.gates}), and nothing stands before it: {ends}",
            )

    def _book(self) -> Any:
        life = self._world.leader()
        assert life is not None
        return life.actors[COORDINATOR]._lead.reign.book

    def _held(self) -> set[tuple[str, str]]:
        return {
            key for key, record in self._world.disk.tables.jobs.items() if record.state.status in ("paused", "removed")
        }

    def _patience(self, usual_us: int = STARVES_US) -> int:
        return usual_us + (LOST_MESSAGE_US if "local" in self._world.options.faults else 0)

    # ---- 16, 22, 17 -----------------------------------------------------------------------------------------------------

    def _judge_buffers(self, life: Life) -> None:
        """What waits for answers is nearly empty when all is quiet."""
        for name, most in QUIET.items():
            address, _, end = name.partition(" ")
            found = {path: size for path, size in sizes(life.actors[address]) if path.endswith(end)}
            if not found:
                self._fail(
                    "16", f"{address} has no buffer {end} any more: it has {sorted(sizes(life.actors[address]))}"
                )
            for path, size in found.items():
                if size > most:
                    self._fail("16", f"{address}{path} holds {size} at the end, when all is quiet")
        reign = life.actors[COORDINATOR]._lead.reign
        if max(life.mail().values()) > 64:
            self._fail("16", f"letters wait at the end, when all is quiet: {life.mail()}")
        strays = [number for number in reign.book.gated if number not in reign.book.live]
        if strays:
            self._fail("16", f"runs wait at the gates of {strays}, which have ended")
        marks = life.runner.marked() - len(life.runner._running) - len(life.actors[EXECUTOR]._ended)
        if marks > 64:
            self._fail("16", f"{marks} start marks are set of attempts that were recorded")
        out = reign.places.out()
        with_attempt = sum(1 for live in reign.book.live.values() if live.fence)
        if out != with_attempt:
            self._fail("16", f"{out} places are taken, {with_attempt} runs have an attempt in hand")

    def _judge_memory(self, life: Life) -> None:
        """What a new leader would know is what this one knows."""
        coordinator = life.actors[COORDINATOR]
        if coordinator._lead._save is not None or coordinator._lead.reign.batch:
            return
        self._world.count("memories compared")
        theirs, ours = rebuilt(self._world, life), coordinator._lead.reign
        for run_id in sorted({*ours.book.live, *theirs.book.live}):
            old, new = ours.book.live.get(run_id), theirs.book.live.get(run_id)
            if old is None or new is None:
                self._fail(
                    "22",
                    f"run {run_id}: the leader knows {old and old.state}, a new one would know {new and new.state}",
                )
            elif _essence(old) != _essence(new):
                self._fail(
                    "22",
                    f"run {run_id} of {old.run.job}: the leader knows {_essence(old)}, a new one would know {_essence(new)}",
                )
        if ours.held != theirs.held:
            self._fail("22", f"the leader holds {sorted(ours.held)}, a new one would hold {sorted(theirs.held)}")

    def _judge_metrics(self, life: Life) -> None:
        life.empty(METRICS)  # the world ended a moment after some event
        metrics = life.actors[METRICS]
        turn = Turn(0)
        metrics.receive(ReportMetrics("end"), turn)
        text = sent(turn.effects, MetricsReported)[0].text
        shown = {}
        for line in text.splitlines():
            name, _, value = line.rpartition(" ")
            if name and not line.startswith("#"):
                shown[name] = float(value)
        for name, count in self._world.referee.events.shown(life).items():
            if shown.get(name, 0.0) != count:
                self._fail("17", f"metrics show {shown.get(name)} for {name}, the events say {count}")

    # ---- progress -------------------------------------------------------------------------------------------------------

    def _judge_progress(self) -> None:
        """A world in which nothing happened shows nothing: some work must have been done, probes do not count."""
        world = self._world
        probes = {run_id for _, run_id in world.probes}
        ends = world.disk.tables.ends.items()
        has_worked = any(end.state is RunState.SUCCEEDED for run_id, end in ends if run_id not in probes)
        if not world.options.until_s and not has_worked:
            self._fail("progress", f"no run but probes succeeded: {dict(world.counts)}")


def sizes(thing: object, path: str = "", depth: int = 4) -> Iterator[tuple[str, int]]:
    """The sizes of all containers within an actor, by their path."""
    names = [*getattr(thing, "__dict__", ()), *getattr(thing, "__slots__", ())]
    for name in names:
        value = getattr(thing, name, None)
        if isinstance(value, dict | list | set | deque):
            yield f"{path}.{name}", len(value)
        elif depth and type(value).__module__.startswith("callsheet.actors"):
            yield from sizes(value, f"{path}.{name}", depth - 1)


def _essence(live: Live) -> tuple[object, ...]:
    """What must be the same in any memory of a run."""
    state = live.state
    if state is RunState.RUNNING:
        state = RunState.CLAIMED
    if state is RunState.PARKED:  # a new leader tries it anew
        state = RunState.READY
    waits = bool(live.run.group and live.job.after and not live.run.arguments and not live.fence)
    if waits:  # a new leader asks for the upstreams' results again, and lets the run go on when it has them
        state = RunState.BLOCKED if state in (RunState.READY, RunState.DELAYED) else state
    # runs that may overlap are paced only by the leader that caught up with their slots
    paced = live.gates if live.job.overlap != "allow_all" else 0
    if state is RunState.BLOCKED and live.gates and not paced and not waits:
        state = RunState.READY
    blocked = (waits, paced) if state is RunState.BLOCKED else ()
    return (str(state), live.attempts, live.crashes, live.fence, blocked)
