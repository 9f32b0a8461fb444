"""Dependencies: which runs belong together, which wait for which, and what is handed on.

Runs of one *group* (one slot, or one submission by hand) depend on each other by their jobs' names. When a slot of a job
with others behind it is due, drafts for all of them are made together, so they are stored in one transaction; those with
upstreams begin BLOCKED. When the upstreams have ended, the run is unblocked with their results, or resolved.

    Plan, Due ─▶ drafts ─▶ Admit, AdmitSlots ─▶ coordinator ─▶ RunsMade ──▶ group
                                                coordinator ─▶ GroupsMoved ─▶ Unblock | Resolve ─▶ coordinator

The rule is `all_success`: runs when all upstreams are ok; UPSTREAM_FAILED as soon as one is bad (or its job is removed);
SKIPPED when all have ended, none is bad, and one was skipped or cancelled; EXPIRED when the wait's deadline has passed.

Lost messages: `RunsMade` and `GroupsMoved` are sent again by the coordinator until they are noted, and it asks again about
runs that stay blocked, by `RunsMade`; so `Unblock` and `Resolve` may be lost. Groups of an earlier reign are read back. The
graph is loaded when a reign begins; what changes in it the registry says (`KnowJobs`), and says again until it is noted.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, assert_never

from msgspec.structs import replace

from ..actor import COORDINATOR, PERSISTENCE, SECOND, Turn
from ..draft import draft_of
from ..graph import downstream_closure, reachable, turned, upstream_closure
from ..lifecycle import BAD, FINAL
from ..listener import Listener
from ..messages import (
    Admit,
    AdmitSlot,
    AdmitSlots,
    Draft,
    Due,
    DueSlot,
    Found,
    GroupEnd,
    GroupsMoved,
    KnowJobs,
    Lead,
    Noted,
    Plan,
    Read,
    ReadRejected,
    Resolve,
    RunsMade,
    Started,
    StepDown,
    TimerFired,
    Unblock,
)
from ..persistence.store import GetGroup, GetJobs, ListEdges
from ..records import Decision, Job, JobRecord, RunRecord, RunState
from ..schedule import is_manual

CLOSED_GROUPS: Final = 10_000
"""Groups without a waiting run that are remembered, so that a late slot of the same instant finds its siblings."""

RETRY_US: Final = SECOND

OVERDUE: Final = "its upstreams had not ended when the wait's deadline passed"

Accepted = (
    Started | Lead | StepDown | Plan | Due | RunsMade | GroupsMoved | KnowJobs | Found | ReadRejected | TimerFired
)
JobKey = tuple[str, str]
GroupKey = tuple[str, str]


class _Member:
    """A run of a group: the state it ended in, None while it lives."""

    __slots__ = ("deadline_at", "result", "run_id", "state", "waits")

    def __init__(self, run_id: int, *, waits: bool = False, deadline_at: int = 0) -> None:
        self.run_id = run_id
        self.waits = waits
        self.deadline_at = deadline_at
        self.state: RunState | None = None
        self.result = b""


class _Group:
    """The runs of one slot or one submission, by their jobs' names."""

    __slots__ = ("complete", "members")

    def __init__(self, *, complete: bool) -> None:
        self.members: dict[str, _Member] = {}
        self.complete = complete


class Dependencies:
    """Owns which runs wait for which."""

    def __init__(self) -> None:
        self._reset(0)

    def _reset(self, epoch: int) -> None:
        """Forget everything; epoch 0 means that there is no reign."""
        self._epoch = epoch
        self._listener = Listener(epoch)
        self._loaded = False
        self._jobs: dict[str, dict[str, Job]] = {}
        self._roots: dict[str, dict[str, Job]] = {}
        self._downstream: dict[str, dict[str, list[str]]] = {}
        self._groups: OrderedDict[GroupKey, _Group] = OrderedDict()
        self._held: list[tuple[str, Plan | Due | RunsMade | GroupsMoved]] = []
        self._unsettled: dict[str, Due] = {}
        self._deadline_at: int | None = None

    def receive(self, message: Accepted, turn: Turn) -> None:  # noqa: C901 - a flat table of messages
        """Take a message; what needs the graph waits until it is loaded."""
        match message:
            case Plan() | Due() if 0 < turn.epoch < self._epoch:
                pass  # of an older reign: it may be stored already, and who sent it asks this reign again
            case Plan() | Due() | RunsMade() | GroupsMoved():
                if self._loaded:
                    self._handle(message, turn)
                elif self._epoch:
                    self._held.append((turn.sender, message))
            case KnowJobs():
                if self._listener.hears(message, turn):
                    self._know(message.records, turn)
            case Found():
                self._on_found(message, turn)
            case Lead():
                if message.epoch > self._epoch:
                    self._reset(message.epoch)
                    self._load(turn)
            case StepDown():
                if message.epoch >= self._epoch:
                    self._reset(0)
            case TimerFired():
                self._on_timer_fired(message, turn)
            case ReadRejected():
                turn.set_timer("load", turn.elapsed + RETRY_US, steady=True)
            case Started():
                pass
            case _:
                assert_never(message)

    def settle(self, turn: Turn) -> None:
        """Nothing is gathered here: each message is answered by itself."""

    def _handle(self, message: Plan | Due | RunsMade | GroupsMoved, turn: Turn) -> None:
        match message:
            case Plan():
                self._on_plan(message, turn)
            case Due():
                self._on_due(message, turn)
            case RunsMade():
                self._on_runs_made(message, turn)
            case GroupsMoved():
                self._on_groups_moved(message, turn)
            case _:
                assert_never(message)

    # ---- the graph ------------------------------------------------------------------------------------------------------

    def _load(self, turn: Turn) -> None:
        turn.send(PERSISTENCE, Read(f"edges/{self._epoch}", ListEdges()))
        turn.set_timer("load", turn.elapsed + RETRY_US, steady=True)

    def _on_found(self, message: Found, turn: Turn) -> None:
        if message.key == f"edges/{self._epoch}" and not self._loaded:
            records: tuple[JobRecord, ...] = message.rows
            self._link([record.job for record in records if record.job.after])
            roots = {(record.job.tenant, name) for record in records for name in record.job.after}
            missing = sorted(key for key in roots if key[1] not in self._jobs[key[0]])
            turn.send(PERSISTENCE, Read(f"roots/{self._epoch}", GetJobs(tuple(missing))))
        elif message.key == f"roots/{self._epoch}" and not self._loaded:
            roots_found: tuple[JobRecord, ...] = message.rows
            self._link([record.job for record in roots_found if record.state.status != "removed"])
            self._loaded = True
            turn.cancel_timer("load")
            held, self._held = self._held, []
            sender = turn.sender
            for turn.sender, waiting in held:
                self._handle(waiting, turn)
            turn.sender = sender
        elif message.key.startswith(f"group/{self._epoch}/"):
            self._on_group_found(message, turn)
        elif message.key.startswith(f"slots/{self._epoch}/"):
            self._on_slots_found(message, turn)

    def _link(self, jobs: list[Job]) -> None:
        for job in jobs:
            known = self._jobs.setdefault(job.tenant, {})
            roots = self._roots.setdefault(job.tenant, {})
            (known if job.after else roots)[job.name] = job
            (roots if job.after else known).pop(job.name, None)
        for tenant in dict.fromkeys(job.tenant for job in jobs):
            self._downstream[tenant] = turned({name: job.after for name, job in self._jobs[tenant].items()})

    def _know(self, records: tuple[JobRecord, ...], turn: Turn) -> None:
        """Jobs are stored as this: some wait for others, or did, or others wait for them; some are gone."""
        self._link([record.job for record in records if record.state.status != "removed"])
        for tenant, name in (record.job.key for record in records if record.state.status == "removed"):
            self._jobs.get(tenant, {}).pop(name, None)
            self._roots.get(tenant, {}).pop(name, None)
            self._downstream[tenant] = turned({job: it.after for job, it in self._jobs.get(tenant, {}).items()})
            for (group_tenant, group), members in list(self._groups.items()):
                if group_tenant == tenant and name not in members.members:
                    self._evaluate((tenant, group), turn)

    def _edges(self, tenant: str) -> dict[str, tuple[str, ...]]:
        return {name: job.after for name, job in self._jobs.get(tenant, {}).items()}

    def _is_linked(self, job: Job) -> bool:
        return bool(job.after) or job.name in self._downstream.get(job.tenant, ())

    # ---- drafts ---------------------------------------------------------------------------------------------------------

    def _on_plan(self, message: Plan, turn: Turn) -> None:
        asked: list[Draft] = []
        others: list[Draft] = []
        for index, wanted in enumerate(message.items):
            job, item = wanted.job, wanted.item
            if not self._jobs or not self._is_linked(job):
                asked.append(draft_of(job, item, message.cause))
                continue
            group = f"m/{message.key}/{index}"
            called = bool(item.arguments)
            asked.append(draft_of(job, item, message.cause, group=group, waits=bool(job.after) and not called))
            names = self._companions(job, called=called)
            others += [self._companion(job.tenant, name, group, slot=None) for name in names]
        turn.send(COORDINATOR, Admit(message.key, message.client, (*asked, *others), len(asked)))

    def _companions(self, job: Job, *, called: bool) -> list[str]:
        """The jobs that run with one that is fired by hand: what it waits for, and what can then follow."""
        edges = self._edges(job.tenant)
        closure = [] if called else upstream_closure(edges, job.name)
        needed = [name for name in closure if self._is_known(job.tenant, name)]
        following = downstream_closure(self._downstream.get(job.tenant, {}), edges, [*needed, job.name])
        return [*needed, *(name for name in following if name != job.name)]

    def _is_known(self, tenant: str, name: str) -> bool:
        """Tell whether a job of the graph is there; one that was removed is not."""
        return name in self._jobs.get(tenant, {}) or name in self._roots.get(tenant, {})

    def _companion(self, tenant: str, name: str, group: str, slot: int | None) -> Draft:
        """A run that belongs to another's group."""
        job = self._jobs[tenant].get(name)
        if job is None:
            return Draft(self._roots[tenant][name], "dependency", slot, group)
        return Draft(job, "dependency", slot, group, waits=True)

    def _on_due(self, message: Due, turn: Turn) -> None:
        unread = dict.fromkeys(key for due in message.slots for key in self._unread(due))
        if unread:
            self._unsettled[message.key] = message
            tenant = next(iter(unread))[0]  # one at a time; the others are unread still when this is answered
            groups = tuple(group for its_tenant, group in unread if its_tenant == tenant)
            turn.send(PERSISTENCE, Read(f"slots/{self._epoch}/{message.key}", GetGroup(tenant, groups)))
            return
        slots = tuple(self._admit_slot(due) for due in message.slots)
        turn.send(COORDINATOR, AdmitSlots(message.key, slots))

    def _unread(self, due: DueSlot) -> list[GroupKey]:
        """The groups of a job's slots that another job's slot may have made already, in an earlier reign or long ago."""
        job = due.job
        if not self._jobs or not self._is_linked(job) or not self._shares_groups(job):
            return []
        keys = [(job.tenant, f"s/{decision.slot}") for decision in due.decisions if decision.kind == "FIRED"]
        return [key for key in keys if key not in self._groups or not self._groups[key].complete]

    def _shares_groups(self, job: Job) -> bool:
        """Tell whether the runs of a slot of this job can also be made by a slot of another one."""
        edges = self._edges(job.tenant)
        following = reachable(self._downstream.get(job.tenant, {}), job.name)
        around = {*following, *(name for each in (job.name, *following) for name in upstream_closure(edges, each))}
        jobs, roots = self._jobs.get(job.tenant, {}), self._roots.get(job.tenant, {})
        others = (jobs.get(name) or roots.get(name) for name in sorted(around) if name != job.name)
        return any(other is not None and not is_manual(other) for other in others)

    def _on_slots_found(self, message: Found, turn: Turn) -> None:
        """What the groups of due slots have already: made by another job's slot, perhaps in an earlier reign."""
        due = self._unsettled.pop(message.key.removeprefix(f"slots/{self._epoch}/"), None)
        if due is None:
            return
        unread = list(dict.fromkeys(key for slot in due.slots for key in self._unread(slot)))
        for key in unread:
            if key[0] == unread[0][0]:
                self._groups.setdefault(key, _Group(complete=True)).complete = True
        self._on_group_found(message, turn)
        self._on_due(due, turn)

    def _admit_slot(self, due: DueSlot) -> AdmitSlot:
        """A due slot with its drafts. A slot whose run was made with another job's slot has it in its decision, and no draft."""
        if not self._jobs or not self._is_linked(due.job):
            alone = (decision.slot for decision in due.decisions if decision.kind == "FIRED")
            return AdmitSlot(due, tuple((Draft(due.job, "slot", slot, ""),) for slot in alone))
        decisions: list[Decision] = []
        rows: list[tuple[Draft, ...]] = []
        for it in due.decisions:
            decision = it
            if it.kind == "FIRED":
                present = self._groups.get((due.job.tenant, f"s/{it.slot}"))
                member = present.members.get(due.job.name) if present is not None else None
                if member is not None:
                    decision = replace(it, run_id=member.run_id)
                rows.append(() if member is not None else self._slot_drafts(due.job, it.slot))
            decisions.append(decision)
        return AdmitSlot(replace(due, decisions=tuple(decisions)), tuple(rows))

    def _slot_drafts(self, job: Job, slot: int) -> tuple[Draft, ...]:
        following = reachable(self._downstream.get(job.tenant, {}), job.name)
        group = f"s/{slot}"
        present = self._groups.get((job.tenant, group))
        new = [name for name in following if present is None or name not in present.members]
        companions = (self._companion(job.tenant, name, group, slot) for name in new)
        return (Draft(job, "slot", slot, group, waits=bool(job.after)), *companions)

    # ---- groups ---------------------------------------------------------------------------------------------------------

    def _on_runs_made(self, message: RunsMade, turn: Turn) -> None:
        touched: dict[GroupKey, None] = {}
        for made in message.runs:
            key = (made.tenant, made.group)
            group = self._groups.get(key)
            if group is None:
                group = self._groups[key] = _Group(complete=not message.rebuilt)
            member = group.members.get(made.job)
            if member is None or member.run_id != made.run_id:
                member = group.members[made.job] = _Member(made.run_id)
            member.waits, member.deadline_at = made.waits, made.deadline_at
            touched[key] = None
        turn.reply(Noted(message.key))
        for key in touched:
            if self._groups[key].complete:
                self._evaluate(key, turn)
            else:
                self._read_group(key, turn)
        self._watch_deadlines((made.deadline_at for made in message.runs if made.waits), turn)
        self._close_groups()

    def _read_group(self, key: GroupKey, turn: Turn) -> None:
        """Ask the store for the members that ended in an earlier reign; asked again when the coordinator asks again."""
        tenant, group = key
        turn.send(PERSISTENCE, Read(f"group/{self._epoch}/{tenant}", GetGroup(tenant, (group,))))

    def _on_group_found(self, message: Found, turn: Turn) -> None:
        records: tuple[RunRecord, ...] = message.rows
        touched: dict[GroupKey, None] = {}
        for record in records:
            key = (record.run.tenant, record.run.group)
            group = self._groups.get(key)
            if group is None:
                continue
            group.complete = True
            touched[key] = None
            member = group.members.setdefault(record.run.job, _Member(record.run.run_id))
            if record.end is not None and member.run_id == record.run.run_id:
                member.state, member.result = record.end.state, record.end.result
        for key in touched:
            self._evaluate(key, turn)

    def _on_groups_moved(self, message: GroupsMoved, turn: Turn) -> None:
        touched: dict[GroupKey, None] = {}
        for end in message.ends:
            key = (end.tenant, end.group)
            group = self._groups.get(key)
            if group is None:  # it was never told of: the store knows who else is in it
                group = self._groups[key] = _Group(complete=False)
            self._move(group, end)
            touched[key] = None
        turn.reply(Noted(message.key))
        for key in touched:
            self._evaluate(key, turn)
        self._close_groups()

    @staticmethod
    def _move(group: _Group, end: GroupEnd) -> None:
        member = group.members.get(end.job)
        if member is None or member.run_id != end.run_id:
            member = group.members[end.job] = _Member(end.run_id)
        member.state, member.result = end.state, end.result

    def _evaluate(self, key: GroupKey, turn: Turn) -> None:
        """Unblock or resolve the runs of a group whose rule is met, or whose wait has lasted too long."""
        group = self._groups.get(key)
        if group is None or not group.complete:
            return
        jobs = self._jobs.get(key[0], {})
        for name, member in group.members.items():
            if not member.waits or member.state is not None:
                continue
            if not self._is_known(key[0], name):
                continue  # it was removed, or the word of it was lost; the wait's deadline ends it
            job = jobs.get(name)
            after = job.after if job is not None else ()
            # of a submission all runs are made at once: what is missing was removed when it was planned
            is_whole = key[1].startswith("m/")
            gone = [it for it in after if it not in group.members and (is_whole or not self._is_known(key[0], it))]
            verdict = _verdict(after, group.members, gone)
            if isinstance(verdict, tuple):
                turn.send(COORDINATOR, Unblock(member.run_id, verdict))
            elif verdict is not None:
                turn.send(COORDINATOR, Resolve(member.run_id, verdict, _because(after, group.members, gone)))
            elif 0 < member.deadline_at <= turn.now:
                turn.send(COORDINATOR, Resolve(member.run_id, RunState.EXPIRED, OVERDUE))

    def _close_groups(self) -> None:
        """Forget the oldest groups beyond the limit in which nothing waits."""
        while len(self._groups) > CLOSED_GROUPS:
            key, group = next(iter(self._groups.items()))
            if any(member.state is None for member in group.members.values()):
                self._groups.move_to_end(key)
                return
            del self._groups[key]

    # ---- deadlines ------------------------------------------------------------------------------------------------------

    def _watch_deadlines(self, deadlines: Iterable[int], turn: Turn) -> None:
        """Look again when the first of these comes. Those that have passed are seen to whenever their group is evaluated."""
        at = min((it for it in deadlines if it > turn.now), default=None)
        if at is not None and (self._deadline_at is None or at < self._deadline_at):
            self._deadline_at = at
            turn.set_timer("deadline", at)

    def _on_deadline(self, turn: Turn) -> None:
        """Some waits have lasted too long: judge the groups of these; one that is not read yet is judged when it is."""
        self._deadline_at = None
        waiting = [
            (member.deadline_at, key)
            for key, group in self._groups.items()
            for member in group.members.values()
            if member.waits and member.state is None
        ]
        for key in dict.fromkeys(key for at, key in waiting if 0 < at <= turn.now):
            self._evaluate(key, turn)
        self._watch_deadlines((at for at, _ in waiting), turn)

    def _on_timer_fired(self, message: TimerFired, turn: Turn) -> None:
        if not self._epoch:
            return
        if message.key == "load" and not self._loaded:
            self._load(turn)
        elif message.key == "deadline":
            self._on_deadline(turn)


def _verdict(
    after: tuple[str, ...], members: dict[str, _Member], gone: list[str]
) -> tuple[bytes, ...] | RunState | None:
    """What becomes of a run that waits for `after`, of which `gone` were removed: its upstreams' results, a final state, or None."""
    states = [members[name].state if name in members else None for name in after]
    if any(state in BAD for state in states) or gone:
        return RunState.UPSTREAM_FAILED
    if any(state is None for state in states):
        return None
    if all(state is RunState.SUCCEEDED for state in states):
        return tuple(members[name].result for name in after)
    assert all(state in FINAL for state in states)
    return RunState.SKIPPED


def _because(after: tuple[str, ...], members: dict[str, _Member], gone: list[str]) -> str:
    if gone:
        return f"its upstream {gone[0]!r} was removed"
    named = (f"{name!r} ended {members[name].state}" for name in after if name in members)
    return "upstream " + ", ".join(named)
