"""Dependencies: which runs belong together, which wait for which, and what is handed on.

Runs of one *group* (one slot, or one submission by hand) depend on each other by their jobs' names. When a slot of a job
with others behind it is due, drafts for all of them are made together, so they are stored in one transaction; those with
upstreams begin BLOCKED. When the upstreams have ended, the run is unblocked with their results, or resolved.

    Plan, Due ─▶ drafts ─▶ Admit, AdmitSlots ─▶ coordinator ─▶ RunsMade ──▶ group
                                                coordinator ─▶ GroupsMoved ─▶ Unblock | Resolve ─▶ coordinator

The rule is `all_success`: runs when all upstreams are ok; UPSTREAM_FAILED as soon as one is bad (or was cancelled, or never
made, because its job was removed); SKIPPED when all have ended, none is bad, and one was skipped or cancelled otherwise; EXPIRED
when the wait's deadline has passed.
A run waits for the upstreams of its own version of the job, whatever was declared since. One that has no run in the group may
still come in a slot of the same instant, and is missed when it was removed; in a submission it never comes.

Lost messages: `RunsMade` and `GroupsMoved` are sent again by the coordinator until they are noted, and it asks again about
runs that stay blocked, by `RunsMade`; so `Unblock` and `Resolve` may be lost. Groups of an earlier reign are read back. The
graph is loaded when a reign begins; what changes in it the registry says (`KnowJobs`), and says again until it is noted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, assert_never

from msgspec.structs import replace

from ..actor import COORDINATOR, PERSISTENCE, SECOND, Turn
from ..draft import draft_of
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
from .group import BY_HAND, OF_SLOT, Group, GroupKey, Groups, Member, is_by_hand
from .reading import Reading
from .workflow import Workflows

RETRY_US: Final = SECOND

OVERDUE: Final = "its upstreams had not ended when the wait's deadline passed"

Accepted = (
    Started | Lead | StepDown | Plan | Due | RunsMade | GroupsMoved | KnowJobs | Found | ReadRejected | TimerFired
)
JobKey = tuple[str, str]


class Dependencies:
    """Owns which runs wait for which."""

    def __init__(self) -> None:
        self._reset(0)

    def _reset(self, epoch: int) -> None:
        """Forget everything; epoch 0 means that there is no reign."""
        self._epoch = epoch
        self._listener = Listener(epoch)
        self._loaded = False
        self._workflows = Workflows()
        self._groups = Groups()
        self._reading = Reading(epoch)
        self._held: dict[tuple[type, str | int], tuple[str, Plan | Due | RunsMade | GroupsMoved]] = {}
        self._unsettled: dict[str, tuple[Due, tuple[GroupKey, ...]]] = {}
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
                    self._hold(message, turn)
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

    def _hold(self, message: Plan | Due | RunsMade | GroupsMoved, turn: Turn) -> None:
        """Keep what comes until the graph is loaded; what is asked for again until then waits once, as it was said last."""
        key = message.key if isinstance(message, Plan | Due) else len(self._held)
        self._held[(type(message), key)] = (turn.sender, message)

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
            self._workflows.link([record for record in records if record.job.after])
            roots = {(record.job.tenant, name) for record in records for name in record.job.after}
            missing = sorted(key for key in roots if self._workflows.find(*key) is None)
            turn.send(PERSISTENCE, Read(f"roots/{self._epoch}", GetJobs(tuple(missing))))
        elif message.key == f"roots/{self._epoch}" and not self._loaded:
            roots_found: tuple[JobRecord, ...] = message.rows
            self._workflows.link([record for record in roots_found if record.state.status != "removed"])
            self._loaded = True
            turn.cancel_timer("load")
            held, self._held = self._held, {}
            sender = turn.sender
            for turn.sender, waiting in held.values():
                self._handle(waiting, turn)
            turn.sender = sender
        elif self._reading.is_answer(message.key):
            self._on_group_found(message, turn)
            self._reading.on_answer(message.key, turn)
        elif message.key.startswith(f"slots/{self._epoch}/"):
            self._on_slots_found(message, turn)
        elif message.key.startswith(f"upstreams/{self._epoch}/"):
            self._on_upstreams_found(message, turn)

    def _know(self, records: tuple[JobRecord, ...], turn: Turn) -> None:
        """Jobs are stored as this: some wait for others, or did, or others wait for them; some are gone."""
        before = {record.job.key: self._workflows.removed_until(*record.job.key) for record in records}
        self._workflows.link(record for record in records if record.state.status != "removed")
        for record in records:
            key = record.job.key
            if record.state.status == "removed":
                self._workflows.forget(*key)
                self._miss(key, turn, is_gone=True)
            elif before[key] != self._workflows.removed_until(*key):
                self._miss(key, turn, is_gone=False)

    def _miss(self, upstream: JobKey, turn: Turn, *, is_gone: bool) -> None:
        """A job was removed: what waits for a run of it that was never made may wait in vain, though it was declared anew."""
        tenant, name = upstream
        for key, group in self._groups.all():
            if key[0] == tenant and name in group.missing():
                if is_gone:
                    group.gone.add(name)
                self._evaluate(key, turn)

    # ---- drafts ---------------------------------------------------------------------------------------------------------

    def _on_plan(self, message: Plan, turn: Turn) -> None:
        asked: list[Draft] = []
        others: list[Draft] = []
        for index, wanted in enumerate(message.items):
            job, item = wanted.job, wanted.item
            if not self._workflows.is_linked(job):
                asked.append(draft_of(job, item, message.cause))
                continue
            group = f"{BY_HAND}{message.key}/{index}"
            called = bool(item.arguments)
            asked.append(draft_of(job, item, message.cause, group=group, waits=bool(job.after) and not called))
            others += self._workflows.companions(job, group, called=called)
        turn.send(COORDINATOR, Admit(message.key, message.client, (*asked, *others), len(asked)))

    def _on_due(self, message: Due, turn: Turn) -> None:
        unread = dict.fromkeys(key for due in message.slots for key in self._unread(due))
        if unread:
            tenant = next(iter(unread))[0]  # one at a time; the others are unread still when this is answered
            key = f"slots/{self._epoch}/{message.key}/{tenant}"
            # what is said again asks the same again: either answer is to this question
            _, asked = self._unsettled.setdefault(key, (message, tuple(it for it in unread if it[0] == tenant)))
            turn.send(PERSISTENCE, Read(key, GetGroup(tenant, tuple(group for _, group in asked))))
            return
        slots = tuple(self._admit_slot(due) for due in message.slots)
        turn.send(COORDINATOR, AdmitSlots(message.key, slots))

    def _unread(self, due: DueSlot) -> list[GroupKey]:
        """The groups of a job's slots that another job's slot may have made already, in an earlier reign or long ago."""
        job = due.job
        if not self._workflows.is_linked(job) or not self._workflows.shares_groups(job):
            return []
        keys = [(job.tenant, f"{OF_SLOT}{decision.slot}") for decision in due.decisions if decision.kind == "FIRED"]
        groups = ((key, self._groups.get(key)) for key in keys)
        return [key for key, group in groups if group is None or not group.complete]

    def _on_slots_found(self, message: Found, turn: Turn) -> None:
        """What the groups of due slots have already: made by another job's slot, perhaps in an earlier reign."""
        due, asked = self._unsettled.pop(message.key, (None, ()))
        if due is None:
            return
        for key in asked:
            self._groups.open(key, complete=True).complete = True
        self._groups.sort(asked)
        self._on_group_found(message, turn)
        self._on_due(due, turn)

    def _admit_slot(self, due: DueSlot) -> AdmitSlot:
        """A due slot with its drafts. A slot whose run was made with another job's slot has it in its decision, and no draft."""
        decisions: list[Decision] = []
        rows: list[tuple[Draft, ...]] = []
        for it in due.decisions:
            decision = it
            if it.kind == "FIRED":
                present = self._groups.get((due.job.tenant, f"{OF_SLOT}{it.slot}"))
                member = present.members.get(due.job.name) if present is not None else None
                if member is not None:
                    decision = replace(it, run_id=member.run_id)
                rows.append(() if member is not None else self._slot_drafts(due.job, it.slot))
            decisions.append(decision)
        return AdmitSlot(replace(due, decisions=tuple(decisions)), tuple(rows))

    def _slot_drafts(self, job: Job, slot: int) -> tuple[Draft, ...]:
        if not self._workflows.is_linked(job):
            self._workflows.stand_alone(job, slot)
            return (Draft(job, "slot", slot, ""),)
        group = f"{OF_SLOT}{slot}"
        present = self._groups.get((job.tenant, group))
        followers = self._workflows.followers(job, group, slot, present.members if present is not None else ())
        return (Draft(job, "slot", slot, group, waits=bool(job.after)), *followers)

    # ---- groups ---------------------------------------------------------------------------------------------------------

    def _on_runs_made(self, message: RunsMade, turn: Turn) -> None:
        touched: dict[GroupKey, list[str]] = {}
        for made in message.runs:
            key = (made.tenant, made.group)
            self._groups.open(key, complete=not message.rebuilt).put(made)
            touched.setdefault(key, []).append(made.job)
        turn.reply(Noted(message.key))
        for key, jobs in touched.items():
            group = self._groups.open(key, complete=False)
            if group.can_be_judged:
                self._evaluate(key, turn, jobs)
                self._seek_upstreams(key, group, turn)
            else:
                self._reading.want(key, turn)
        self._watch_deadlines((made.deadline_at for made in message.runs if made.after), turn)
        self._groups.sort(touched)
        self._groups.forget_oldest()

    def _on_group_found(self, message: Found, turn: Turn) -> None:
        """What is stored of groups: members that ended in an earlier reign, or long ago."""
        records: tuple[RunRecord, ...] = message.rows
        touched: dict[GroupKey, Group] = {}
        for record in records:
            key = (record.run.tenant, record.run.group)
            group = self._groups.get(key)
            if group is None:
                continue
            group.complete = True
            touched[key] = group
            group.find(record)
        for key, group in touched.items():
            self._evaluate(key, turn)
            self._seek_upstreams(key, group, turn)
        self._groups.sort(touched)

    def _seek_upstreams(self, key: GroupKey, group: Group, turn: Turn) -> None:
        """Ask the store about upstreams that have no run in a group and are in no workflow of now: were they removed?

        A newer version of the job that waits may have dropped them. It is asked again when the coordinator asks again.
        """
        tenant, name = key
        missing = () if is_by_hand(name) else group.missing()
        strange = tuple((tenant, it) for it in missing if self._workflows.find(tenant, it) is None)
        if strange:
            slot = name.removeprefix(OF_SLOT)
            turn.send(PERSISTENCE, Read(f"upstreams/{self._epoch}/{slot}/{tenant}", GetJobs(strange)))

    def _on_upstreams_found(self, message: Found, turn: Turn) -> None:
        _, _, slot, tenant = message.key.split("/", 3)
        key = (tenant, f"{OF_SLOT}{slot}")
        group = self._groups.get(key)
        if group is None:
            return
        records: tuple[JobRecord, ...] = message.rows
        group.gone.update(record.job.name for record in records if record.state.status == "removed")
        self._workflows.link(
            record
            for record in records
            if record.job.name not in group.gone and self._workflows.find(*record.job.key) is None
        )
        self._evaluate(key, turn)

    def _on_groups_moved(self, message: GroupsMoved, turn: Turn) -> None:
        touched: dict[GroupKey, list[str]] = {}
        for end in message.ends:
            key = (end.tenant, end.group)
            # one that was never told of: the store knows who else is in it
            self._groups.open(key, complete=False).move(end)
            touched.setdefault(key, []).append(end.job)
        turn.reply(Noted(message.key))
        for key, jobs in touched.items():
            self._evaluate(key, turn, self._groups.open(key, complete=False).behind(jobs))
        self._groups.sort(touched)
        self._groups.forget_oldest()

    def _evaluate(self, key: GroupKey, turn: Turn, jobs: Iterable[str] | None = None) -> None:
        """Unblock or resolve runs of a group whose rule is met, or whose wait has lasted too long: those of `jobs`, or all."""
        group = self._groups.get(key)
        if group is None or not group.can_be_judged:
            return
        members = group.members
        for member in members.values() if jobs is None else [members[job] for job in jobs if job in members]:
            if not member.waits:
                continue
            after = member.after
            gone = self._gone(key, group, after)
            verdict = _verdict(after, members, gone)
            if isinstance(verdict, tuple):
                turn.send(COORDINATOR, Unblock(member.run_id, verdict))
            elif verdict is not None:
                turn.send(COORDINATOR, Resolve(member.run_id, verdict, _because(after, members, gone)))
            elif 0 < member.deadline_at <= turn.now:
                turn.send(COORDINATOR, Resolve(member.run_id, RunState.EXPIRED, OVERDUE))

    def _gone(self, key: GroupKey, group: Group, after: tuple[str, ...]) -> list[str]:
        """Of these jobs those of which a group has no run, nor will ever have one, or one that was cancelled: they were removed."""
        missing = [it for it in after if it not in group.members]
        if missing and not is_by_hand(key[1]):
            slot, until = int(key[1].removeprefix(OF_SLOT)), self._workflows.removed_until
            missing = [it for it in missing if it in group.gone or slot <= until(key[0], it)]
        # of a submission all runs are made at once: what is missing was removed when it was planned
        return missing + [it for it in after if it in group.members and group.members[it].removed]

    # ---- deadlines ------------------------------------------------------------------------------------------------------

    def _watch_deadlines(self, deadlines: Iterable[int], turn: Turn) -> None:
        """Look again when the first of these comes. Those that have passed are seen to whenever their group is evaluated."""
        at = min((it for it in deadlines if it > turn.now), default=None)
        if at is not None and (self._deadline_at is None or at < self._deadline_at):
            self._deadline_at = at
            turn.set_timer("deadline", at)

    def _on_deadline(self, turn: Turn) -> None:
        """Some waits have lasted too long: judge these; one whose group is not read yet is judged when it is."""
        self._deadline_at = None
        waiting = [
            (member.deadline_at, key, job)
            for key, group in self._groups.all()
            for job, member in group.members.items()
            if member.waits
        ]
        over: dict[GroupKey, list[str]] = {}
        for at, key, job in waiting:
            if 0 < at <= turn.now:
                over.setdefault(key, []).append(job)
        for key, jobs in over.items():
            self._evaluate(key, turn, jobs)
        self._watch_deadlines((at for at, _, _ in waiting), turn)

    def _on_timer_fired(self, message: TimerFired, turn: Turn) -> None:
        if not self._epoch:
            return
        if message.key == "load" and not self._loaded:
            self._load(turn)
        elif message.key == "groups":
            self._reading.on_timer(turn)
        elif message.key == "deadline":
            self._on_deadline(turn)


def _verdict(
    after: tuple[str, ...], members: dict[str, Member], gone: list[str]
) -> tuple[bytes, ...] | RunState | None:
    """What becomes of a run that waits for `after`, of which `gone` were removed: its upstreams' results, a final state, or None."""
    states = [members[name].state if name in members else None for name in after]
    if any(state in BAD for state in states) or gone:
        return RunState.UPSTREAM_FAILED
    if any(state is None for state in states):
        return None
    if all(state is RunState.SUCCEEDED for state in states):
        handed = tuple(result for name in after if (result := members[name].result) is not None)
        assert len(handed) == len(after), "a group is judged only when its results are here"
        return handed
    assert all(state in FINAL for state in states)
    return RunState.SKIPPED


def _because(after: tuple[str, ...], members: dict[str, Member], gone: list[str]) -> str:
    if gone:
        return f"its upstream {gone[0]!r} was removed"
    named = (f"{name!r} ended {members[name].state}" for name in after if name in members)
    return "upstream " + ", ".join(named)
