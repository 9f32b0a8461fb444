"""What every store promises about jobs."""

import pytest

from callsheet.actors.persistence.store import (
    AdvanceJob,
    Committed,
    DueJobs,
    GetDefinitions,
    GetJobs,
    ListEdges,
    ListHeld,
    ListJobs,
    ListUnarmed,
    SetJobStatus,
)
from callsheet.actors.records import (
    Command,
    Hook,
    Retry,
)
from callsheet.triggers import cron
from support.stored import (
    Leader,
    a_job,
    a_record,
    changed,
    insert,
    put,
)


def test_a_job_comes_back_as_it_was_stored(leader: Leader) -> None:
    record = a_record(
        "etl",
        tenant="acme",
        version=3,
        trigger=cron("0 2 * * *", zone="Europe/Berlin"),
        command=Command(argv=("echo", "ü"), environment={"A": "b"}),
        arguments=b"\x92\x90\x80",
        retry=Retry(kind="fixed", retry_on=("ValueError",)),
        after=("load",),
        hook=Hook(moment="after", job="load"),
        tags=("nightly", "x"),
        description="büro",
        state={"status": "paused", "mark": -5, "fires": 7, "next_due": 2**53},
    )
    leader.write(insert(record))
    assert leader.read(GetJobs((("acme", "etl"),))) == [record]
    assert leader.read(GetDefinitions((("acme", "etl", 3),))) == [record.job]


def test_inserting_a_job_that_is_there_names_it_and_does_nothing(leader: Leader) -> None:
    first, late = a_record("job", description="first"), a_record("job", description="late")
    assert leader.write(insert(first)) == Committed()
    new = a_record("new")
    committed = leader.write(insert(late), insert(new), insert(a_record("new", description="late")))
    assert committed == Committed(existing=(("default", "job"), ("default", "new")))
    assert leader.store.found_before(()) == committed
    assert leader.read(GetJobs((("default", "new"), ("default", "job")))) == [new, first]


def test_a_removed_job_still_holds_its_name(leader: Leader) -> None:
    leader.write(insert(a_record("job", state={"status": "removed"})))
    assert leader.write(insert(a_record("job"))).existing == (("default", "job"),)


def test_a_new_version_replaces_the_definition_and_keeps_the_old_one_readable(leader: Leader) -> None:
    old = a_record("job", tags=("old",), state={"next_due": 5})
    new = a_record("job", version=2, tags=("new",), after=("up",), state={"next_due": 6})
    leader.write(insert(old))
    leader.write(put(a_record("job", version=3, tags=("never",))), put(new))
    assert leader.read(GetJobs((("default", "job"),))) == [new]
    assert leader.read(GetDefinitions((("default", "job", 1), ("default", "job", 2)))) == [old.job, new.job]
    assert [leader.read(ListJobs(tenant="default", tag=tag)) for tag in ("old", "new", "never")] == [[], [new], []]
    assert leader.read(ListEdges()) == [new]
    assert leader.read(DueJobs(5)) == []


def test_put_adds_a_job_that_is_not_there(leader: Leader) -> None:
    record = a_record("job")
    leader.write(put(record))
    assert leader.read(ListJobs(tenant="default")) == [record]


def test_a_status_is_set_for_the_version_it_was_meant_for(leader: Leader) -> None:
    record = a_record("job", version=2, state={"next_due": 5})
    leader.write(insert(record))
    leader.write(SetJobStatus("default", "job", 1, "removed"), SetJobStatus("default", "none", 1, "removed"))
    assert leader.read(GetJobs((("default", "job"),))) == [record]
    leader.write(SetJobStatus("default", "job", 2, "paused"))
    assert leader.read(GetJobs((("default", "job"),))) == [changed(record, status="paused")]
    assert leader.read(DueJobs(5)) == []
    leader.write(SetJobStatus("default", "job", 2, "active"))
    assert leader.read(DueJobs(5)) == [record]


def test_the_version_that_was_removed_stays_known_when_the_job_is_declared_anew(leader: Leader) -> None:
    leader.write(insert(a_record("job")), SetJobStatus("default", "job", 1, "removed"))
    [removed] = leader.read(GetJobs((("default", "job"),)))
    assert (removed.state.status, removed.state.removed) == ("removed", 1)
    leader.write(put(a_record("job", version=2)), AdvanceJob("default", "job", 2, 5, 1, 6))
    leader.write(SetJobStatus("default", "job", 2, "paused"))
    [anew] = leader.read(GetJobs((("default", "job"),)))
    assert (anew.state.status, anew.state.version, anew.state.removed) == ("paused", 2, 1)
    leader.write(SetJobStatus("default", "job", 2, "removed"))
    assert [record.state.removed for record in leader.read(GetJobs((("default", "job"),)))] == [2]


def test_the_mark_moves_on_and_never_back(leader: Leader) -> None:
    record = a_record("job", state={"mark": 10, "fires": 1, "next_due": 20})
    leader.write(insert(record))
    leader.write(AdvanceJob("default", "job", 1, 9, 5, 5), AdvanceJob("default", "job", 2, 30, 5, 5))
    leader.write(AdvanceJob("default", "none", 1, 30, 5, 5))
    assert leader.read(DueJobs(99)) == [record]
    leader.write(AdvanceJob("default", "job", 1, 10, None, 21))
    assert leader.read(DueJobs(99)) == [changed(record, next_due=21)]
    leader.write(AdvanceJob("default", "job", 1, 20, 2, 30), AdvanceJob("default", "job", 1, 30, 3, 40))
    assert leader.read(DueJobs(99)) == [changed(record, mark=30, fires=3, next_due=40)]


def test_advancing_and_setting_the_status_take_effect_in_the_order_of_the_batch(leader: Leader) -> None:
    record = a_record("job", state={"next_due": 1})
    leader.write(
        insert(record),
        AdvanceJob("default", "job", 1, 5, 1, 6),
        SetJobStatus("default", "job", 1, "paused"),
        AdvanceJob("default", "job", 1, 6, 2, None, exhausted=True),
        SetJobStatus("default", "job", 1, "active"),
    )
    assert leader.read(GetJobs((("default", "job"),))) == [changed(record, mark=6, fires=2, next_due=None)]


@pytest.mark.parametrize(
    ("status", "after"), [("active", "exhausted"), ("paused", "paused"), ("removed", "removed"), ("exhausted",) * 2]
)
def test_only_an_active_job_becomes_exhausted(leader: Leader, status: str, after: str) -> None:
    record = a_record("job", state={"status": status})
    leader.write(insert(record), AdvanceJob("default", "job", 1, 5, 1, None, exhausted=True))
    assert leader.read(GetJobs((("default", "job"),))) == [changed(record, status=after, mark=5, fires=1)]


def test_due_jobs_come_by_instant_tenant_and_name_in_pages(leader: Leader) -> None:
    keys = [(20, "a", "z"), (10, "b", "x"), (10, "a", "y"), (10, "a", "x"), (30, "a", "w")]
    leader.write(*(insert(a_record(name, tenant=tenant, state={"next_due": due})) for due, tenant, name in keys))
    leader.write(
        insert(a_record("paused", state={"next_due": 1, "status": "paused"})), insert(a_record("never", tenant="a"))
    )
    seen: list[tuple[int, str, str]] = []
    while page := leader.read(DueJobs(25, after=seen[-1] if seen else None, limit=2)):
        assert len(page) <= 2
        seen += [(record.state.next_due, record.job.tenant, record.job.name) for record in page]
    assert seen == sorted(keys)[:4]


def test_jobs_are_listed_by_name_within_their_tenant(leader: Leader) -> None:
    names = ["b", "a", "é", "Z", "aa", "\U0001f600"]
    leader.write(*(insert(a_record(name, tags=("odd",) if name < "b" else ())) for name in names))
    leader.write(insert(a_record("a", tenant="other")), insert(a_record("gone", state={"status": "removed"})))
    listed = [record.job.name for record in leader.read(ListJobs(tenant="default"))]
    assert listed == sorted(names)
    assert [r.job.name for r in leader.read(ListJobs(tenant="default", after="a", limit=2))] == ["aa", "b"]
    assert [r.job.name for r in leader.read(ListJobs(tenant="default", tag="odd", after="Z"))] == ["a", "aa"]
    assert [r.job.name for r in leader.read(ListJobs(tenant="default", removed=True, after="c"))] == [
        "gone",
        *sorted(n for n in names if n > "gone"),
    ]
    assert leader.read(ListJobs(tenant="nobody")) == []


def test_edges_are_of_all_tenants_and_leave_out_removed_jobs(leader: Leader) -> None:
    leader.write(
        insert(a_record("plain")),
        insert(a_record("down", tenant="z", after=("plain",))),
        insert(a_record("hook", hook=Hook(moment="after"))),
        insert(a_record("gone", after=("plain",), state={"status": "removed"})),
    )
    assert [record.job.key for record in leader.read(ListEdges())] == [("default", "hook"), ("z", "down")]


def test_unknown_names_are_left_out_and_repeated_ones_come_once(leader: Leader) -> None:
    leader.write(insert(a_record("job")))
    assert leader.read(GetJobs((("default", "none"), ("default", "job"), ("default", "job")))) == [a_record("job")]
    assert leader.read(GetDefinitions((("default", "job", 9), ("default", "job", 1)))) == [a_job("job")]


def test_active_jobs_that_have_fired_and_have_no_next_slot_are_unarmed(leader: Leader) -> None:
    waiting = [a_record(name, tenant=tenant, state={"fires": 1}) for tenant, name in (("z", "a"), ("y", "b"))]
    leader.write(
        *(insert(record) for record in waiting),
        insert(a_record("never-fired")),
        insert(a_record("armed", state={"fires": 1, "next_due": 5})),
        insert(a_record("paused", state={"fires": 1, "status": "paused"})),
        insert(a_record("fires", state={"next_due": 5})),
    )
    leader.write(AdvanceJob("default", "fires", 1, 5, 1, None))

    found = [record.job.key for record in leader.read(ListUnarmed())]

    assert found == [("default", "fires"), ("y", "b"), ("z", "a")]
    assert leader.read(ListUnarmed(("default", "fires"), limit=1)) == [waiting[1]]
    leader.write(AdvanceJob("default", "fires", 1, 5, None, 9))
    assert leader.read(ListUnarmed()) == [waiting[1], waiting[0]]


def test_paused_jobs_of_all_tenants_are_held(leader: Leader) -> None:
    records = [a_record("a", tenant="z"), a_record("b"), a_record("c")]
    leader.write(*(insert(record) for record in records))
    leader.write(SetJobStatus("z", "a", 1, "paused"), SetJobStatus("default", "c", 1, "paused"))

    assert [record.job.key for record in leader.read(ListHeld())] == [("default", "c"), ("z", "a")]

    leader.write(SetJobStatus("z", "a", 1, "active"), SetJobStatus("default", "c", 1, "removed"))
    assert leader.read(ListHeld()) == []


def test_an_edit_that_was_read_before_a_slot_takes_nothing_of_it_back(leader: Leader) -> None:
    leader.write(insert(a_record("job", anchor=5, state={"mark": 10, "fires": 1, "next_due": 20})))
    leader.write(AdvanceJob("default", "job", 1, 30, 2, 40))
    leader.write(put(a_record("job", anchor=5, version=2, state={"mark": 10, "fires": 1, "next_due": 20})))
    [edited] = leader.read(DueJobs(99))
    assert edited == a_record("job", anchor=5, version=2, state={"mark": 30, "fires": 2, "next_due": 40})


def test_an_edit_that_was_read_before_the_last_slot_leaves_the_job_exhausted(leader: Leader) -> None:
    leader.write(insert(a_record("job", state={"mark": 10, "fires": 1, "next_due": 20})))
    leader.write(AdvanceJob("default", "job", 1, 20, 2, None, exhausted=True))
    leader.write(put(a_record("job", version=2, state={"mark": 10, "fires": 1, "next_due": 20})))
    ended = {"status": "exhausted", "mark": 20, "fires": 2}
    assert leader.read(GetJobs((("default", "job"),))) == [a_record("job", version=2, state=ended)]


def test_edits_of_one_batch_take_effect_in_its_order(leader: Leader) -> None:
    leader.write(insert(a_record("job", state={"mark": 10, "fires": 1, "next_due": 20})))
    leader.write(
        put(a_record("job", version=2, state={"mark": 15, "fires": 2, "next_due": 25})),
        put(a_record("job", version=3, state={"mark": 10, "fires": 1, "next_due": 20})),
    )
    [edited] = leader.read(DueJobs(99))
    assert edited == a_record("job", version=3, state={"mark": 15, "fires": 2, "next_due": 25})


def test_a_new_trigger_that_was_read_before_a_slot_begins_anew_behind_it(leader: Leader) -> None:
    leader.write(insert(a_record("job", anchor=5, state={"mark": 10, "fires": 1, "next_due": 20})))
    leader.write(AdvanceJob("default", "job", 1, 30, 2, None, exhausted=True))
    leader.write(put(a_record("job", anchor=29, version=2, state={"mark": 29, "next_due": 39})))
    [edited] = leader.read(DueJobs(99))
    assert edited == a_record("job", anchor=29, version=2, state={"mark": 30, "next_due": 39})


def test_a_slot_of_an_older_version_counts_for_the_job_if_its_trigger_was_kept(leader: Leader) -> None:
    leader.write(insert(a_record("job", anchor=5, state={"mark": 10, "fires": 1, "next_due": 20})))
    leader.write(insert(a_record("last", anchor=5, state={"mark": 10, "fires": 1, "next_due": 20})))
    for name in ("job", "last"):
        leader.write(put(a_record(name, anchor=5, version=2, state={"mark": 10, "fires": 1, "next_due": 20})))
    leader.write(
        AdvanceJob("default", "job", 1, 20, 2, 30), AdvanceJob("default", "last", 1, 20, 2, None, exhausted=True)
    )
    assert leader.read(GetJobs((("default", "job"), ("default", "last")))) == [
        a_record("job", anchor=5, version=2, state={"mark": 20, "fires": 2, "next_due": 30}),
        a_record("last", anchor=5, version=2, state={"mark": 20, "fires": 2, "status": "exhausted"}),
    ]


def test_a_slot_of_an_older_version_with_another_trigger_moves_the_mark_alone(leader: Leader) -> None:
    leader.write(insert(a_record("job", anchor=5)))
    leader.write(put(a_record("job", anchor=6, version=2, state={"mark": 10, "fires": 3, "next_due": 20})))
    leader.write(AdvanceJob("default", "job", 1, 15, 9, None, exhausted=True))
    [record] = leader.read(DueJobs(99))
    assert (record.state.mark, record.state.fires, record.state.next_due) == (15, 3, 20)
    assert record.state.status == "active"
