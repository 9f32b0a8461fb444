"""The table of what each role may say: complete, and refused by default."""

from typing import Any, get_args

import msgpack
import pytest
from msgspec import inspect

from callsheet import data
from callsheet.actors.actor import ACTOR_NAMES, COORDINATOR, METRICS, REGISTRY
from callsheet.actors.messages import (
    AddJobs,
    CancelRun,
    ChangeJob,
    DrainNode,
    Follow,
    ListMembers,
    Query,
    ReportMetrics,
    Submit,
    SubmitItem,
    TakeLease,
    Watch,
)
from callsheet.actors.persistence import store
from callsheet.actors.persistence.store import (
    GetDefinitions,
    GetJobs,
    GetRuns,
    ListEdges,
    ListEvents,
    ListJobs,
    Question,
)
from callsheet.actors.records import Command, Job
from callsheet.transport.codec import MESSAGES
from callsheet.transport.security.roles import (
    ACTIONS,
    QUESTIONS,
    ROLES,
    RULES,
    Principal,
    Role,
    judge,
    plain_tags,
    screen,
)
from callsheet.triggers import manual

# What no client sends: the cluster's actors among themselves, their answers and their events. A new message belongs here, or
# into RULES of transport/security/roles.py.
_NO_CLIENTS = """
    Accepted Admit AdmitSlots Answer AskWhetherHeard Assign AttemptsBegun AttemptsEnded AttemptsLost AttemptsProgressed AttemptsRetried
    AttemptsStarted Beat CancelAccepted CancelLive ClearMarks ContactChanged Decided Describe DrainChanged Dropped Due Found Gauged
    GroupsMoved HandOver Happened HoldJob HoldStarts JobChanged JobEnded JobHeld JobsAdded KnowJobs Lead LeaderBeat
    LeaderChanged LeaderIs LeaseLost LeaseRejected LeaseSeen LeaseTaken MembersListed
    MetricsReported NodeDraining NodeStopped Noted Offer PeerFound PeerLost PeersForgotten PeersKnown Plan Read ReadRejected Recorded
    RenewLease RequestRejected Resolve RunsCreated RunsEnded RunsFinished RunsMade Save SaveRejected Saved SlotsDecided
    StepDown StillHeard StillHere StockTaken Stop StopAttempts TakeLease TakeStock Unblock WatchLease WatchLive Withdraw Withdrawn
"""
NO_CLIENTS = frozenset(_NO_CLIENTS.split())
# Questions that concern all tenants at once.
NO_CLIENTS_QUESTIONS = frozenset(
    {
        "list_edges",
        "list_held",
        "due_jobs",
        "list_unarmed",
        "get_live_runs",
        "get_submissions",
        "get_receipts",
        "get_counters",
    }
)

JOB = Job(tenant="press", name="work")
ASKED: dict[str, Any] = {
    "Query": Query("k", ListJobs(tenant="press")),
    "Watch": Watch("k", "press", (1,)),
    "Follow": Follow("k"),
    "ListMembers": ListMembers("k"),
    "ReportMetrics": ReportMetrics("k"),
    "Submit": Submit("k", "press", (SubmitItem("work"),)),
    "CancelRun": CancelRun("k", "press", 1),
    "ChangeJob pause": ChangeJob("k", "press", "work", "pause"),
    "ChangeJob resume": ChangeJob("k", "press", "work", "resume"),
    "ChangeJob remove": ChangeJob("k", "press", "work", "remove"),
    "ChangeJob reschedule": ChangeJob("k", "press", "work", "reschedule", manual()),
    "AddJobs": AddJobs("k", (JOB,)),
    "AddJobs command": AddJobs("k", (Job(tenant="press", name="work", executor="command", command=Command(line="x")),)),
    "DrainNode": DrainNode("k", "n2"),
}
LEAST: dict[str, Role] = {
    **dict.fromkeys(("Query", "Watch", "Follow", "ListMembers", "ReportMetrics"), "viewer"),
    **dict.fromkeys(("Submit", "CancelRun", "ChangeJob pause", "ChangeJob resume"), "operator"),
    **dict.fromkeys(("ChangeJob remove", "ChangeJob reschedule", "AddJobs", "AddJobs command"), "author"),
    "DrainNode": "admin",
}
CLIENT_ROLES = ROLES[:-1]
RECIPIENTS = {
    **dict.fromkeys(("Follow", "ListMembers", "DrainNode"), COORDINATOR),
    "ReportMetrics": METRICS,
}


def who(role: Role = "author", tenant: str = "press") -> Principal:
    return Principal("alice", role, tenant)


def fields(kind: type) -> tuple[inspect.Field, ...]:
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    return info.fields


def recipient_of(name: str) -> str:
    return RECIPIENTS.get(name, REGISTRY)


# ---- complete -------------------------------------------------------------------------------------------------------------


def test_every_message_is_in_the_table_or_named_as_none_of_a_clients() -> None:
    names = {kind.__name__ for kind in MESSAGES.values()}
    ruled = {kind.__name__ for kind in RULES}

    assert names - ruled - NO_CLIENTS == set(), (
        "enter them in RULES of transport/security/roles.py, or in NO_CLIENTS here"
    )
    assert ruled & NO_CLIENTS == set()
    assert ruled <= names
    assert names >= NO_CLIENTS, "these messages are no more"


def test_every_question_is_in_the_table_or_named_as_none_of_a_clients() -> None:
    tags = {kind.__struct_config__.tag for kind in get_args(Question)}

    assert tags - QUESTIONS.keys() - NO_CLIENTS_QUESTIONS == set(), (
        "enter them in QUESTIONS, or in NO_CLIENTS_QUESTIONS"
    )
    assert QUESTIONS.keys() & NO_CLIENTS_QUESTIONS == set()
    assert QUESTIONS.keys() <= tags
    assert tags >= NO_CLIENTS_QUESTIONS, "these questions are no more"


def test_every_field_that_names_tenants_is_there() -> None:
    kinds = {kind.__struct_config__.tag: kind for kind in get_args(Question)}

    assert [tag for tag, name in QUESTIONS.items() if name not in {field.name for field in fields(kinds[tag])}] == []
    for kind, rule in RULES.items():
        assert rule.scope in ("none", "all") or rule.scope in {field.name for field in fields(kind)}


def test_every_action_has_its_role() -> None:
    [actions] = [field.type for field in fields(ChangeJob) if field.name == "action"]

    assert isinstance(actions, inspect.LiteralType)
    assert set(ACTIONS) == set(actions.values)


def test_every_message_of_the_table_is_tried_here() -> None:
    assert {type(message) for message in ASKED.values()} == set(RULES)
    assert ASKED.keys() == LEAST.keys()
    assert {rule.recipient for rule in RULES.values()} <= set(ACTOR_NAMES)


# ---- roles ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", CLIENT_ROLES)
@pytest.mark.parametrize("name", ASKED)
def test_a_role_allows_what_the_table_says_and_no_more(name: str, role: Role) -> None:
    principal = who(role, "*" if role == "admin" else "press")

    refusal = judge(principal, recipient_of(name), ASKED[name])

    if ROLES.index(role) >= ROLES.index(LEAST[name]):
        assert refusal is None
    else:
        assert refusal is not None
        assert refusal.reason == "role"
        assert f"needs the role {LEAST[name]}; the key 'alice' has the role {role}" in refusal.text


@pytest.mark.parametrize("name", ASKED)
def test_a_request_for_another_actor_is_refused(name: str) -> None:
    for actor in (*ACTOR_NAMES, "client-7", ""):
        refusal = judge(who("admin", "*"), actor, ASKED[name])
        assert (refusal is None) is (actor == recipient_of(name))
        assert refusal is None or refusal.reason == "recipient"


@pytest.mark.parametrize("role", CLIENT_ROLES)
@pytest.mark.parametrize("name", ASKED)
def test_what_is_refused_by_its_tag_is_refused_alike_when_it_is_checked(name: str, role: Role) -> None:
    principal = who(role, "*" if role == "admin" else "press")
    fields = msgpack.unpackb(data.pack_record(ASKED[name]))

    for actor in ACTOR_NAMES:
        refusal = judge(principal, actor, ASKED[name])
        early = screen(principal, actor, fields)
        assert early == (
            refusal if refusal is not None and refusal.reason in ("role", "recipient", "message") else None
        )


@pytest.mark.parametrize("role", CLIENT_ROLES)
def test_what_passes_by_its_tag_alone_is_not_refused_by_it(role: Role) -> None:
    passed = {(actor, tag) for actor in ACTOR_NAMES for tag in plain_tags(who(role), actor)}

    assert {(actor, tag) for actor, tag in passed if screen(who(role), actor, {"type": tag, "action": "x"})} == set()
    assert ("registry", "query") in passed


def test_what_no_client_may_send_is_refused_by_its_tag() -> None:
    for tag, kind in MESSAGES.items():
        refusal = screen(who("admin", "*"), "registry", {"type": tag})
        assert (refusal is not None and refusal.reason == "message") is (kind.__name__ in NO_CLIENTS)


def test_an_admin_may_not_speak_as_one_of_the_clusters_own_actors() -> None:
    for actor in ACTOR_NAMES:
        refusal = judge(who("admin", "*"), actor, TakeLease("eve", "", None))
        assert refusal is not None
        assert refusal.reason == "message"


def test_a_node_may_say_anything() -> None:
    assert judge(who("node", "*"), "persistence", TakeLease("n1", "", None)) is None


# ---- tenants --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in ASKED if RULES[type(ASKED[name])].scope not in ("none", "all")])
@pytest.mark.parametrize("tenant", ["other", "", "Press", "press "])
def test_what_is_another_tenants_is_refused(name: str, tenant: str) -> None:
    refusal = judge(who("author", tenant), REGISTRY, ASKED[name])

    assert refusal is not None
    assert (refusal.reason, refusal.tenant) == ("tenant", "press")
    assert f"the tenant 'press'; the key 'alice' is for the tenant {tenant!r}" in refusal.text


@pytest.mark.parametrize("name", [name for name in ASKED if LEAST[name] != "admin"])
def test_a_key_for_all_tenants_may_name_any(name: str) -> None:
    assert judge(who("author", "*"), recipient_of(name), ASKED[name]) is None


def test_one_job_of_another_tenant_refuses_all_of_them() -> None:
    refusal = judge(who(), REGISTRY, AddJobs("k", (JOB, Job(tenant="other", name="work"))))

    assert refusal is not None
    assert refusal.tenant == "other"


@pytest.mark.parametrize(
    "question", [GetJobs((("press", "a"), ("other", "a"))), GetDefinitions((("press", "a", 1), ("other", "a", 1)))]
)
def test_one_name_of_another_tenant_refuses_the_question(question: Any) -> None:
    refusal = judge(who(), REGISTRY, Query("k", question))

    assert refusal is not None
    assert refusal.tenant == "other"


@pytest.mark.parametrize("question", [GetJobs((("press", "a"),)), GetRuns("press", (1,)), ListEvents(tenant="press")])
def test_questions_about_ones_own_tenant_are_answered(question: Any) -> None:
    assert judge(who("viewer"), REGISTRY, Query("k", question)) is None


@pytest.mark.parametrize(
    "question",
    [
        ListEdges(),
        store.ListUnarmed(),
        store.GetLiveRuns(),
        store.GetCounters(),
        store.GetSubmissions(("k",)),
        store.GetReceipts(("k",)),
    ],
)
def test_questions_about_all_tenants_are_none_of_a_clients(question: Any) -> None:
    refusal = judge(who("admin", "*"), REGISTRY, Query("k", question))

    assert refusal is not None
    assert refusal.reason == "message"


def test_a_tenant_named_like_all_of_them_is_not_all_of_them() -> None:
    refusal = judge(who(), REGISTRY, CancelRun("k", "*", 1))

    assert refusal is not None
    assert refusal.reason == "tenant"
