from __future__ import annotations

from typing import Any

import pytest

from callsheet.actors.actor import SECOND, Emit, SetTimer, deliver, sent
from callsheet.actors.messages import (
    Found,
    LeaseLost,
    LeaseRejected,
    LeaseSeen,
    LeaseTaken,
    Read,
    ReadRejected,
    RenewLease,
    Save,
    Saved,
    SaveRejected,
    Started,
    TakeLease,
    TimerFired,
    WatchLease,
)
from callsheet.actors.persistence.memory import MemoryStore
from callsheet.actors.persistence.persistence import Persistence
from callsheet.actors.persistence.store import AddRuns, Committed, GetRuns, InsertJob, Lease, Store, Write
from callsheet.actors.records import Run
from callsheet.errors import Fenced, NameTaken, StoreBusy, StoreError, StoreFull, StoreUnknown
from support.actors import NOW, make_job, make_record


def run(number: int, token: str | None = None) -> AddRuns:
    return AddRuns((Run(number, "t", "work", 1, "submit", None, "", NOW, NOW, 0, b"", token),))


def save(key: str, *writes: Write, epoch: int = 1) -> Save:
    return Save(key, epoch, writes)


class Counting(MemoryStore):
    """A memory store that counts its commits, and fails when told."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = 0
        self.error: Exception | None = None
        self.after = False
        self.broken: Exception | None = None
        self.tidied = 0
        self.entered: list[str] = []

    def commit(self, writes: Any, **more: Any) -> Committed:
        self.commits += 1
        error, self.error = self.error, None
        if error is not None and not self.after:
            raise error
        committed = super().commit(writes, **more)
        if error is not None:
            raise error
        return committed

    def lease(self) -> Lease | None:
        """Fail where it is broken."""
        if self.broken is not None:
            raise self.broken
        return super().lease()

    def read(self, question: Any) -> list[Any]:
        """Fail where it is broken."""
        if self.broken is not None:
            raise self.broken
        return super().read(question)

    def enter(self, holder: str) -> None:
        """Fail where it is broken."""
        if self.broken is not None:
            raise self.broken
        self.entered.append(holder)
        super().enter(holder)

    def tidy(self) -> bool:
        """Count."""
        self.tidied += 1
        return False


def leading(store: Store | None = None) -> tuple[Persistence, Counting]:
    held = store if isinstance(store, Counting) else Counting()
    actor = Persistence(held)
    (taken,) = sent(deliver(actor, TakeLease("n/i", "", None), sender="coordinator"), LeaseTaken)
    assert taken.epoch == 1
    return actor, held


def test_all_that_waits_is_written_in_one_transaction_and_answered_after_it() -> None:
    actor, store = leading()
    effects = deliver(actor, save("a", run(1)), save("b", run(2)), save("c", run(3)), now=NOW)
    assert store.commits == 1
    assert [saved.key for saved in sent(effects, Saved)] == ["a", "b", "c"]


def test_who_saves_and_asks_sees_what_it_saved() -> None:
    actor, _ = leading()
    effects = deliver(actor, Read("r", GetRuns("t", (1,))), save("a", run(1)), now=NOW)
    (found,) = sent(effects, Found)
    assert [row.run.run_id for row in found.rows] == [1]


def test_a_repeated_save_is_answered_and_not_written_again() -> None:
    actor, store = leading()
    deliver(actor, save("a", run(1)), now=NOW)
    effects = deliver(actor, save("a", run(1)), now=NOW)
    assert [saved.key for saved in sent(effects, Saved)] == ["a"]
    assert store.commits == 1


def test_a_save_of_another_epoch_is_fenced() -> None:
    actor, store = leading()
    (rejected,) = sent(deliver(actor, save("a", run(1), epoch=7), now=NOW), SaveRejected)
    assert (rejected.code, store.commits) == ("fenced", 0)


def test_who_has_lost_the_lease_is_told_so() -> None:
    actor, store = leading()
    store.take_lease("other", "", store.lease())
    (rejected,) = sent(deliver(actor, save("a", run(1)), now=NOW), SaveRejected)
    assert rejected.code == "fenced"
    assert sent(deliver(actor, RenewLease("n/i", 1), now=NOW), LeaseLost) == [LeaseLost(1)]


def test_a_renewed_lease_beats() -> None:
    actor, _ = leading()
    assert deliver(actor, RenewLease("n/i", 1), now=NOW) == []
    (seen,) = sent(deliver(actor, WatchLease(), now=NOW), LeaseSeen)
    assert (seen.lease.epoch, seen.lease.beat) == (1, 1)


def test_full_and_busy_are_told_apart() -> None:
    actor, store = leading()
    for error, code in ((StoreFull("no room"), "full"), (StoreBusy("locked"), "busy")):
        store.error = error
        (rejected,) = sent(deliver(actor, save(code, run(1)), now=NOW), SaveRejected)
        assert rejected.code == code


def test_that_something_cannot_be_read_is_reported_and_ever_more_seldom() -> None:
    store = Counting()
    actor = Persistence(store)
    store.broken = StoreError("job 'a' cannot be read")
    reported = []
    for second in range(200):
        effects = deliver(actor, Read("q", GetRuns("t", (1,))), now=NOW + second * SECOND, sender="clock")
        assert sent(effects, ReadRejected) == [ReadRejected("q", "job 'a' cannot be read")]
        reported += [(second, it.event.event.kind) for it in effects if isinstance(it, Emit)]
    assert reported[:3] == [(0, "read_rejected"), (1, "read_rejected"), (3, "read_rejected")]
    assert len(reported) < 12


@pytest.mark.parametrize("error", [StoreFull("no room"), StoreBusy("locked"), StoreError("broken")], ids=type)
def test_a_save_that_was_refused_stays_refused_by_its_key_when_a_copy_of_it_comes_late(error: StoreError) -> None:
    actor, store = leading()
    store.error = error
    (rejected,) = sent(deliver(actor, save("a", run(1)), now=NOW), SaveRejected)
    assert sent(deliver(actor, save("a", run(1)), now=NOW), SaveRejected) == [rejected]
    effects = deliver(actor, save("b", run(1)), Read("r", GetRuns("t", (1,))), now=NOW)
    assert [saved.key for saved in sent(effects, Saved)] == ["b"]


def test_an_unknown_outcome_is_read_back() -> None:
    actor, store = leading()
    store.error = StoreUnknown("cut off")
    assert [it.code for it in sent(deliver(actor, save("a", run(1)), now=NOW), SaveRejected)] == ["busy"]
    store.error, store.after = StoreUnknown("cut off"), True
    assert [it.key for it in sent(deliver(actor, save("b", run(2)), now=NOW), Saved)] == ["b"]


def test_a_commit_that_took_effect_unseen_still_tells_what_it_found() -> None:
    actor, store = leading()
    deliver(actor, save("a", run(1, token="t1")), now=NOW)
    store.error, store.after = StoreUnknown("cut off"), True
    (saved,) = sent(deliver(actor, save("b", run(2, token="t1")), now=NOW), Saved)
    assert [(new, old.run_id) for new, old in saved.committed.tokens] == [(2, 1)]


def test_each_batch_gets_its_own_share_of_what_was_there_before() -> None:
    actor, _ = leading()
    record = make_record(make_job())
    insert = InsertJob(record.job, record.state)
    first, second = sent(deliver(actor, save("a", insert), save("b", insert, run(1)), now=NOW), Saved)
    assert (first.committed.existing, second.committed.existing) == ((), (("t", "work"),))


def test_the_store_is_tidied_when_nothing_was_written_for_a_while() -> None:
    actor, _ = leading()
    effects = deliver(actor, save("a", run(1)), now=NOW)
    assert [effect.key for effect in effects if isinstance(effect, SetTimer)] == ["tidy"]


def test_only_who_leads_tidies_the_store() -> None:
    actor, store = leading()
    deliver(actor, save("a", run(1)), now=NOW)
    deliver(actor, TimerFired("tidy"), now=NOW, elapsed=NOW + 1_000_000)
    assert store.tidied == 1
    deliver(actor, save("b", run(2)), now=NOW)
    store.take_lease("other", "", store.lease())
    deliver(actor, RenewLease("n/i", 1), now=NOW)
    deliver(actor, TimerFired("tidy"), now=NOW, elapsed=NOW + 2_000_000)
    assert store.tidied == 1
    follower = Persistence(store)
    assert [effect for effect in deliver(follower, save("c", run(3)), now=NOW) if isinstance(effect, SetTimer)] == []
    deliver(follower, TimerFired("tidy"), now=NOW, elapsed=NOW + 3_000_000)
    assert store.tidied == 1


# ---- the lease, on every node -------------------------------------------------------------------------------------------


def test_who_starts_enters_the_store_by_its_node_and_incarnation() -> None:
    store = Counting()
    assert deliver(Persistence(store), Started("n", "i")) == []
    assert store.entered == ["n/i"]


def test_who_watches_the_lease_is_told_how_it_stands_and_whether_its_holder_is_dead() -> None:
    store = Counting()
    actor = Persistence(store)
    deliver(actor, Started("n", "i"))
    assert sent(deliver(actor, WatchLease(), sender="coordinator"), (LeaseSeen, LeaseRejected)) == [
        LeaseSeen(None, dead=False)
    ]
    lease = store.take_lease("other/1", "", None)
    assert sent(deliver(actor, WatchLease(), sender="coordinator"), (LeaseSeen, LeaseRejected)) == [
        LeaseSeen(lease, dead=True)
    ]
    lease = store.take_lease("n/i", "", lease)
    assert sent(deliver(actor, WatchLease(), sender="coordinator"), (LeaseSeen, LeaseRejected)) == [
        LeaseSeen(lease, dead=False)
    ]
    store.broken = StoreError("the disk is gone")
    assert sent(deliver(actor, WatchLease(), sender="coordinator"), (LeaseSeen, LeaseRejected)) == [
        LeaseRejected("the disk is gone")
    ]


def test_the_lease_is_taken_only_as_it_was_seen() -> None:
    store = Counting()
    actor = Persistence(store)
    seen = store.take_lease("other/1", "", None)
    assert seen is not None
    store.renew_lease("other/1", 1)
    for old in (None, seen):
        (rejected,) = sent(deliver(actor, TakeLease("n/i", "", old), sender="coordinator"), LeaseRejected)
        assert rejected == LeaseRejected()
    assert store.lease() == Lease("other/1", 1, 1, 0, "")
    (taken,) = sent(deliver(actor, TakeLease("n/i", "tcp://n", store.lease()), sender="coordinator"), LeaseTaken)
    assert (taken.epoch, store.lease()) == (2, Lease("n/i", 2, 0, 0, "tcp://n"))


def test_who_could_not_enter_enters_before_it_leads_or_does_not_lead() -> None:
    store = Counting()
    actor = Persistence(store)
    store.broken = NameTaken("somebody has this name")
    deliver(actor, Started("n", "i"))
    take = TakeLease("n/i", "", None)
    assert sent(deliver(actor, take, sender="coordinator"), LeaseRejected) == [LeaseRejected("somebody has this name")]
    store.broken = None
    assert store.lease() is None
    assert sent(deliver(actor, take, sender="coordinator"), LeaseTaken)
    assert store.entered == ["n/i"]


def test_who_does_not_lead_reads_and_saves_nothing() -> None:
    _, store = leading()
    follower = Persistence(store)
    effects = deliver(follower, save("a", run(1)), Read("r", GetRuns("t", (1,))), now=NOW)
    (rejected,) = sent(effects, SaveRejected)
    assert (rejected.code, rejected.text) == ("fenced", "epoch 1 is over, this node does not lead")
    assert [found.rows for found in sent(effects, Found)] == [()]
    assert store.commits == 0


# ---- the end of a reign -------------------------------------------------------------------------------------------------


def test_after_a_lost_lease_nothing_more_is_asked_of_the_store() -> None:
    actor, store = leading()
    store.take_lease("other", "", store.lease())
    assert sent(deliver(actor, RenewLease("n/i", 1), now=NOW), LeaseLost)
    (rejected,) = sent(deliver(actor, save("a", run(1)), now=NOW), SaveRejected)
    assert (rejected.code, store.commits) == ("fenced", 0)


def test_after_a_fenced_save_later_ones_are_fenced_unasked() -> None:
    actor, store = leading()
    store.error = Fenced("over")
    for key in "ab":
        (rejected,) = sent(deliver(actor, save(key, run(1)), now=NOW), SaveRejected)
        assert rejected.code == "fenced"
    assert store.commits == 1


def test_a_late_beat_of_an_older_reign_ends_no_newer_one() -> None:
    actor, store = leading()
    deliver(actor, TakeLease("n/i", "", store.lease()), sender="coordinator")
    assert sent(deliver(actor, RenewLease("n/i", 1), now=NOW), LeaseLost)
    assert sent(deliver(actor, save("a", run(1), epoch=2), now=NOW), Saved)


@pytest.mark.parametrize("done", [True, False])
@pytest.mark.parametrize("failure", [StoreBusy, StoreUnknown])
def test_a_commit_whose_outcome_cannot_be_read_ends_the_reign_so_that_nobody_is_refused_what_is_there(
    failure: type[StoreError], done: bool
) -> None:
    actor, store = leading()
    store.error, store.after, store.broken = StoreUnknown("cut off"), done, failure("the disk is gone")
    (rejected,) = sent(deliver(actor, save("a", run(1)), now=NOW), SaveRejected)
    assert (rejected.code, "cannot be read: the disk is gone" in rejected.text) == ("fenced", True)
    store.broken = None
    (rejected,) = sent(deliver(actor, save("a", run(1)), now=NOW), SaveRejected)
    assert (rejected.code, store.commits) == ("fenced", 1)
    assert sent(deliver(actor, TakeLease("n/i", "", store.lease()), sender="coordinator"), LeaseTaken)
    (found,) = sent(deliver(actor, Read("r", GetRuns("t", (1,))), now=NOW), Found)
    assert len(found.rows) == int(done)


def test_a_store_that_is_broken_is_told_as_such_and_its_reign_goes_on() -> None:
    actor, store = leading()
    store.error, store.broken = StoreUnknown("cut off"), StoreError("the disk is gone")
    (rejected,) = sent(deliver(actor, save("a", run(1)), now=NOW), SaveRejected)
    assert (rejected.code, rejected.text) == ("broken", "the disk is gone")


def test_a_commit_that_took_effect_but_whose_findings_cannot_be_read_ends_the_reign() -> None:
    class Forgetful(Counting):
        def found_before(self, writes: Any) -> Committed:
            raise StoreBusy("the disk is gone")

    actor, store = leading(Forgetful())
    store.error, store.after = StoreUnknown("cut off"), True
    (rejected,) = sent(deliver(actor, save("a", run(1)), now=NOW), SaveRejected)
    assert rejected.code == "fenced"
