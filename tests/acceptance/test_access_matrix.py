"""Every message of a client against every way of not being allowed it, over a real line.

    no key, wrong key, revoked key           ─▶ no handshake: no hello is answered, nothing arrives
    revoked while connected, other tenant,
    lesser role                              ─▶ answered `forbidden`, nothing arrives
    right role                               ─▶ arrives, with the name of who sent it

The messages are those of the table of roles, so that a new one is in the matrix, or fails for want of an example.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from callsheet import Scheduler, every
from callsheet.actors.actor import ACTOR_NAMES, on_node
from callsheet.actors.messages import (
    AddJobs,
    CancelRun,
    ChangeJob,
    DrainNode,
    Envelope,
    Follow,
    ListMembers,
    Query,
    ReportMetrics,
    RequestRejected,
    Submit,
    SubmitItem,
    Watch,
)
from callsheet.actors.persistence.store import ListJobs
from callsheet.actors.records import Job
from callsheet.client.remote import Client
from callsheet.errors import Forbidden
from callsheet.transport.security import DialGuard, KeyFolder, KeyGuard, OpenGuard
from callsheet.transport.security.curve import dial, new_pair
from callsheet.transport.security.roles import ACTIONS, ROLES, RULES, Role
from callsheet.transport.zeromq import ZeroMQ
from callsheet.triggers import manual
from support.waiting import eventually

NODE = "n1"
TENANT = "press"
AT = "2026-01-01T00:00:00Z"

EXAMPLES: dict[type, Callable[[str], Any]] = {
    Query: lambda key: Query(key, ListJobs(tenant=TENANT)),
    Watch: lambda key: Watch(key, TENANT, (1,)),
    Submit: lambda key: Submit(key, TENANT, (SubmitItem("work"),)),
    CancelRun: lambda key: CancelRun(key, TENANT, 1),
    AddJobs: lambda key: AddJobs(key, (Job(tenant=TENANT, name="work"),)),
    Follow: Follow,
    ListMembers: ListMembers,
    DrainNode: lambda key: DrainNode(key, "n2"),
    ReportMetrics: ReportMetrics,
}


def change(action: Any) -> Callable[[str], Any]:
    return lambda key: ChangeJob(key, TENANT, "work", action, manual() if action == "reschedule" else None)


@dataclass(frozen=True)
class Case:
    """A message, and what the table says of it."""

    name: str
    make: Callable[[str], Any]
    role: Role
    recipient: str
    scope: str


def cases() -> list[Case]:
    found = []
    for kind, rule in RULES.items():
        if kind is ChangeJob:
            found += [
                Case(f"ChangeJob {action}", change(action), role, rule.recipient, rule.scope)
                for action, role in ACTIONS.items()
            ]
        elif kind in EXAMPLES:
            found.append(Case(kind.__name__, EXAMPLES[kind], rule.role, rule.recipient, rule.scope))
    return found


CASES = cases()
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
numbers = count(1)


@dataclass
class Line:
    """A client's end of a line, or of none."""

    name: str
    transport: ZeroMQ
    nodes: list[str]
    answers: list[Any] = field(default_factory=list)

    def send(self, case: Case) -> Any:
        message = case.make(f"{self.name}/{next(numbers)}")
        self.transport.send(Envelope(self.address, on_node(case.recipient, NODE), 0, (message,)))
        return message

    def answer(self, key: str) -> Any:
        return eventually(lambda: next((it for it in self.answers if it.key == key), None))

    @property
    def address(self) -> str:
        return f"client-{self.name}"


class Site:
    """A node's transport with keys, with a recorder in the place of each actor, and clients with keys of all sorts."""

    def __init__(self, path: Path) -> None:
        self.folder = KeyFolder(path)
        self.folder.new("cluster", "node", "*", AT)
        self.arrived: list[Envelope] = []
        self.lines: dict[str, Line] = {}
        self.guard = KeyGuard(self.folder)
        self.node = ZeroMQ(NODE, "1", listen=("tcp://127.0.0.1:0",), guard=self.guard)
        for actor in ACTOR_NAMES:
            self.node.attach(actor, self._record)
        self.node.open()

    def _record(self, envelope: Envelope) -> bool:
        self.arrived.append(envelope)
        return True

    def new(self, name: str, role: Role, tenant: str) -> DialGuard:
        return DialGuard(self.folder.new(name, role, tenant, AT)[1])

    def connect(self, name: str, guard: Any) -> Line:
        nodes: list[str] = []
        transport = ZeroMQ(f"client-{name}", name, guard=guard, found=lambda node, _: nodes.append(node))
        line = self.lines[name] = Line(name, transport, nodes)

        def take(envelope: Envelope) -> bool:
            line.answers += envelope.messages
            return True

        transport.attach(line.address, take)
        transport.open()
        transport.learn(NODE, self.node.endpoints[0])
        return line

    def of(self, key: str) -> list[Envelope]:
        """What arrived of a request."""
        return [envelope for envelope in self.arrived if any(message.key == key for message in envelope.messages)]

    def close(self) -> None:
        for line in self.lines.values():
            line.transport.close()
        self.node.close()


class WrongKey(OpenGuard):
    """Knows the cluster's public key, and has a pair that the cluster does not know."""

    def __init__(self, server: str) -> None:
        super().__init__()
        self._server = server

    def secure_client(self, socket: Any, endpoint: str) -> None:
        dial(socket, *new_pair(), self._server)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site") / "keys")
    guards: dict[str, Any] = {
        role: made.new(role, role, "*" if role in ("admin", "node") else TENANT) for role in ROLES if role != "node"
    }
    guards["other-tenant"] = made.new("other-tenant", "author", "other")
    guards["revoked"] = made.new("revoked", "admin", "*")
    guards["revoked-later"] = made.new("revoked-later", "admin", "*")
    made.folder.revoke("revoked", AT)
    # a guard looks at its folder when it is asked, so the first one asked sees all of these
    for name, guard in guards.items():
        made.connect(name, guard)
    made.connect("no-key", OpenGuard())
    made.connect("wrong-key", WrongKey(made.folder.pair().public))
    for name in ("viewer", "operator", "author", "admin", "other-tenant", "revoked-later"):
        eventually(lambda name=name: made.lines[name].nodes)  # type: ignore[misc]
    yield made
    made.close()


def test_every_message_of_a_client_has_an_example() -> None:
    assert set(RULES) - {ChangeJob} == set(EXAMPLES)
    assert {case.name.partition(" ")[0] for case in CASES} == {kind.__name__ for kind in RULES}


# ---- no line at all -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["no-key", "wrong-key", "revoked"])
def test_without_a_key_that_counts_no_hello_is_answered_and_nothing_arrives(site: Site, name: str) -> None:
    line = site.lines[name]

    sent = [line.send(case) for case in CASES]

    # all of it is given up, because there is no line; that takes a second, so it is not done for each
    eventually(lambda: line.transport.dropped().get("cut") == len(CASES))
    assert line.nodes == []
    assert line.answers == []
    assert [site.of(message.key) for message in sent] == [[]] * len(CASES)


def test_who_is_not_let_in_is_counted(site: Site) -> None:
    refused = eventually(lambda: site.guard.refused() if len(site.guard.refused()) >= 2 else None)

    assert refused is not None
    assert refused["unknown_key"] >= 1
    assert refused["revoked"] >= 1


# ---- a line, and not the right ----------------------------------------------------------------------------------------------


def refused(site: Site, line: Line, case: Case) -> str:
    """Sends, sees that it is refused and did not arrive, and answers the reason."""
    message = line.send(case)
    answer = line.answer(message.key)
    assert isinstance(answer, RequestRejected)
    assert answer.code == "forbidden"
    assert site.of(message.key) == []
    return answer.text


@pytest.mark.parametrize("case", [case for case in CASES if case.role != "viewer"], ids=lambda case: case.name)
def test_a_lesser_role_is_refused(site: Site, case: Case) -> None:
    for role in ROLES[: ROLES.index(case.role)]:
        assert f"needs the role {case.role}" in refused(site, site.lines[role], case)


@pytest.mark.parametrize("case", [case for case in CASES if case.scope != "none"], ids=lambda case: case.name)
def test_the_key_of_another_tenant_is_refused(site: Site, case: Case) -> None:
    text = refused(site, site.lines["other-tenant"], case)

    assert "tenant" in text or case.role == "admin"


@each_case
def test_a_key_that_is_revoked_is_refused_on_the_line_that_stands(site: Site, case: Case) -> None:
    line = site.lines["revoked-later"]
    if not site.folder.permit("revoked-later").revoked:
        before = line.send(case)
        eventually(lambda: site.of(before.key))
        site.folder.revoke("revoked-later", AT)
        probe = next(case for case in CASES if case.name == "ListMembers")
        eventually(lambda: line.answers or not line.send(probe))

    assert "was revoked" in refused(site, line, case)


# ---- the right one ----------------------------------------------------------------------------------------------------------


@each_case
def test_the_right_role_arrives_with_its_name(site: Site, case: Case) -> None:
    line = site.lines[case.role]

    message = line.send(case)

    [envelope] = eventually(lambda: site.of(message.key))
    assert envelope.messages == (message,)
    assert envelope.sender == f"client-{case.role}~{case.role}"
    assert envelope.recipient == on_node(case.recipient, NODE)


# ---- a real scheduler -------------------------------------------------------------------------------------------------------

CHANGES: dict[str, tuple[Role, Callable[[Client, int], object]]] = {
    "Submit": ("operator", lambda client, _: client.submit("work")),
    "Submit (trigger)": ("operator", lambda client, _: client.trigger("work")),
    "CancelRun": ("operator", lambda client, run: client.cancel(run)),
    "ChangeJob (pause)": ("operator", lambda client, _: client.pause("work")),
    "ChangeJob (resume)": ("operator", lambda client, _: client.resume("work")),
    "AddJobs": (
        "author",
        lambda client, _: client.add_definitions([Job(tenant="default", name="more", target="work")]),
    ),
    "ChangeJob (reschedule)": ("author", lambda client, _: client.reschedule("work", every("1h"))),
    "ChangeJob (remove)": ("author", lambda client, _: client.remove("work")),
    "DrainNode": ("admin", lambda client, _: client.drain(NODE)),
}
"""What changes something, in the words of a client, and the least role for it; `work` and a run that waits are there."""


@dataclass
class Cluster:
    """A scheduler that listens with keys, with a job that is paused and a run of it that waits."""

    scheduler: Scheduler
    folder: KeyFolder
    run: int

    def client(self, name: str) -> Client:
        listening = next(each for each in self.scheduler.endpoints if each.startswith("tcp://"))
        return Client(listening, key=self.folder.path / f"{name}.secret", timeout=20)

    def state(self) -> object:
        """All that a change would show in."""
        return self.scheduler.jobs(), self.scheduler.runs(), self.scheduler.members()[0].state

    def audit(self) -> list[str]:
        """The texts of the audit, oldest first."""
        return [event.text for event in reversed(self.scheduler.events()) if event.kind == "audit"]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    folder = KeyFolder(tmp_path / "keys")
    folder.new("cluster", "node", "*", AT)
    for name, role, tenant in (
        ("viewer", "viewer", "default"),
        ("operator", "operator", "default"),
        ("author", "author", "default"),
        ("admin", "admin", "*"),
        ("other", "author", "other"),
    ):
        folder.new(name, role, tenant, AT)  # type: ignore[arg-type]
    scheduler = Scheduler(
        f"sqlite:///{tmp_path / 'jobs.db'}", name=NODE, listen="tcp://127.0.0.1:0", keys=folder.path, processes=0
    )
    scheduler.add(lambda: None, name="work")
    scheduler.start()
    try:
        scheduler.pause("work")
        yield Cluster(scheduler, folder, scheduler.submit("work").run_id)
    finally:
        scheduler.stop()


def is_forbidden(call: Callable[[Client, int], object], client: Client, run: int) -> bool:
    try:
        call(client, run)
    except Forbidden:
        return True
    return False


@pytest.mark.parametrize("name", ["viewer", "operator", "author", "other"])
def test_who_may_not_change_a_scheduler_changes_nothing_of_it(cluster: Cluster, name: str) -> None:
    role = cluster.folder.permit(name).role
    denied = [it for it, (least, _) in CHANGES.items() if name == "other" or ROLES.index(least) > ROLES.index(role)]
    before = cluster.state()

    with cluster.client(name) as client:
        refused = [it for it in denied if is_forbidden(CHANGES[it][1], client, cluster.run)]

    assert refused == denied != []
    assert cluster.state() == before
    assert cluster.audit() == []


def test_who_may_change_a_scheduler_stands_in_its_history(cluster: Cluster) -> None:
    for least, call in CHANGES.values():
        with cluster.client(least) as client:
            call(client, cluster.run)

    def told() -> list[tuple[str, str]]:
        return [(parts[0], parts[1]) for parts in (text.split(" ", 2) for text in cluster.audit())]

    wanted = [(f"who={least}", f"message={change.partition(' ')[0]}") for change, (least, _) in CHANGES.items()]
    assert eventually(lambda: told() if len(told()) >= len(wanted) else None) == wanted
    assert all(text.endswith(" epoch=1") for text in cluster.audit())
    assert {change.partition(" ")[0] for change in CHANGES} == {
        kind.__name__ for kind, rule in RULES.items() if rule.role != "viewer"
    }
