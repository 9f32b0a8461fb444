"""Several lives at one store: who is known to be dead, and who of them leads."""

import pytest

from callsheet.actors.persistence.store import AddRuns, GetLiveRuns, Lease, PutSettled, Store
from callsheet.errors import Fenced
from support.stored import Leader, Place, a_run


def test_who_has_entered_lives_and_may_enter_again(store: Store) -> None:
    for _ in range(2):
        store.enter("node/1")
        assert not store.is_dead("node/1")


def test_the_holder_of_the_lease_is_dead_after_a_restart_and_its_lease_is_taken_at_once(place: Place) -> None:
    store = place.open()
    store.enter("node/1")
    assert store.take_lease("node/1", "", None) is not None
    again = place.open()
    again.enter("node/2")
    seen = again.lease()
    assert (seen, again.is_dead("node/1"), again.is_dead("node/2")) == (Lease("node/1", 1, 0, 0, ""), True, False)
    assert again.take_lease("node/2", "", seen) == Lease("node/2", 2, 0, 0, "")
    assert not again.is_dead("node/2")


def test_of_two_stores_at_one_place_one_takes_what_both_have_seen(place: Place) -> None:
    stores = [place.open(), place.beside()]
    for epoch in range(1, 6):
        seen = [store.lease() for store in stores]
        assert seen[0] == seen[1]
        stores.reverse()
        taken = [store.take_lease(name, "", seen[0]) for store, name in zip(stores, "ab", strict=True)]
        assert taken == [Lease("a", epoch, 0, 0, ""), None]
        assert [store.lease() for store in stores] == taken[:1] * 2


def test_who_is_deposed_by_another_store_neither_renews_nor_writes_and_reads_what_the_other_wrote(place: Place) -> None:
    first, second = place.open(), place.beside()
    deposed = Leader(first, "first")
    deposed.write(AddRuns((a_run(1),)))
    leader = Leader(second, "second")
    with pytest.raises(Fenced):
        deposed.write(AddRuns((a_run(2),)))
    with pytest.raises(Fenced):
        first.renew_lease("first", 1)
    leader.write(AddRuns((a_run(3),)))
    for store in (first, second):
        assert [live.run.run_id for live in store.read(GetLiveRuns())] == [1, 3]
    assert leader.store.renew_lease("second", 2) == 1


def test_who_was_deposed_may_lead_again(place: Place) -> None:
    first, second = place.open(), place.beside()
    for epoch, store in enumerate((first, second, first, second), 1):
        leader = Leader(store, f"reign {epoch}")
        leader.write(PutSettled(epoch))
        assert (leader.epoch, leader.store.lease()) == (epoch, Lease(f"reign {epoch}", epoch, 0, 1, ""))
