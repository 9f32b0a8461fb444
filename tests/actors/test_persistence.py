from __future__ import annotations

from typing import Any

from callsheet.actors.actor import SetTimer, deliver, sent
from callsheet.actors.messages import (
    Found,
    LeaseLost,
    LeaseRenewed,
    LeaseTaken,
    Read,
    RenewLease,
    Save,
    Saved,
    SaveRejected,
    TakeLease,
)
from callsheet.actors.persistence.memory import MemoryStore
from callsheet.actors.persistence.persistence import Persistence
from callsheet.actors.persistence.store import AddRuns, Committed, GetRuns, InsertJob, Store, Write
from callsheet.actors.records import Run
from callsheet.errors import StoreBusy, StoreFull, StoreUnknown
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

    def commit(self, writes: Any, **more: Any) -> Committed:
        self.commits += 1
        error, self.error = self.error, None
        if error is not None and not self.after:
            raise error
        committed = super().commit(writes, **more)
        if error is not None:
            raise error
        return committed


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
    assert sent(deliver(actor, RenewLease("n/i", 1), now=NOW), LeaseRenewed) == [LeaseRenewed(1, 1)]


def test_full_and_busy_are_told_apart() -> None:
    actor, store = leading()
    for error, code in ((StoreFull("no room"), "full"), (StoreBusy("locked"), "busy")):
        store.error = error
        (rejected,) = sent(deliver(actor, save(code, run(1)), now=NOW), SaveRejected)
        assert rejected.code == code


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
