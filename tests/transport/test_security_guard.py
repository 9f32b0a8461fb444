"""The guard: over real sockets who comes in at all, and then what each may say."""

import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import zmq

from callsheet.actors.messages import CancelRun, Envelope, ListMembers, RequestRejected, TakeLease, Watch
from callsheet.errors import SecurityError
from callsheet.transport.contract import Guard
from callsheet.transport.log_limit import MAX_LINES_A_SECOND
from callsheet.transport.security import DialGuard, KeyFolder, KeyGuard, OpenGuard, Principal
from callsheet.transport.security.allowed import LOOK_AGAIN_S
from callsheet.transport.security.curve import dial, new_pair
from callsheet.transport.security.guard import Refusals
from callsheet.transport.security.roles import Refusal
from support.waiting import eventually

AT = "2026-01-01T00:00:00Z"
ARRIVES_MS = 10_000
NEVER_ARRIVES_MS = 300


@dataclass
class Hello:
    """What a peer says first."""

    name: str = "client-7"
    kind: Literal["node", "client"] = "client"
    incarnation: str = "7"


@dataclass
class Clock:
    """Seconds that only grow when they are told to."""

    now: float = 1_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Site:
    """A cluster's keys, its guard, and a bound socket behind it."""

    folder: KeyFolder
    guard: KeyGuard
    clock: Clock
    server: zmq.Socket[bytes]
    endpoint: str
    context: zmq.Context[zmq.Socket[bytes]]
    clients: list[zmq.Socket[bytes]] = field(default_factory=list)

    def dials(self, secure: Callable[[zmq.Socket[bytes]], object]) -> str | None:
        """Connect, send, and answer with which key it arrived; None when it did not."""
        client = self.context.socket(zmq.DEALER)
        client.linger = 0
        self.clients.append(client)
        secure(client)
        with client.get_monitor_socket(
            zmq.EVENT_HANDSHAKE_SUCCEEDED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_DISCONNECTED
        ) as monitor:
            client.connect(self.endpoint)
            client.send(b"hello")
            poller = zmq.Poller()
            poller.register(monitor, zmq.POLLIN)
            poller.register(self.server, zmq.POLLIN)
            ready = dict(poller.poll(ARRIVES_MS))
            client.disable_monitor()
        if self.server not in ready and not self.server.poll(NEVER_ARRIVES_MS):
            return None
        *_, frame = self.server.recv_multipart(copy=False)
        assert frame.bytes == b"hello"
        key = frame.get("User-Id")
        assert isinstance(key, str)
        return key

    def new(self, name: str, **more: Any) -> DialGuard:
        _, secret = self.folder.new(name, more.get("role", "operator"), more.get("tenant", "press"), AT)
        self.clock.now += LOOK_AGAIN_S
        return DialGuard(secret)

    def revoke(self, name: str) -> None:
        self.folder.revoke(name, AT)
        self.clock.now += LOOK_AGAIN_S

    def key(self, name: str) -> str:
        return self.folder.permit(name).public

    def principal(self, name: str, hello: Hello | None = None) -> Principal:
        admitted = self.guard.admit(self.key(name), hello or Hello())
        assert isinstance(admitted, Principal), admitted
        return admitted


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = KeyFolder(tmp_path / "keys")
    folder.new("cluster", "node", "*", AT)
    clock = Clock()
    guard = KeyGuard(folder, clock)
    context, theirs = zmq.Context(), zmq.Context()
    guard.start(context)
    server = context.socket(zmq.ROUTER)
    server.linger = 0
    guard.secure_server(server)
    port = server.bind_to_random_port("tcp://127.0.0.1")
    made = Site(folder, guard, clock, server, f"tcp://127.0.0.1:{port}", theirs)
    yield made
    for client in made.clients:
        client.close()
    theirs.term()
    server.close()
    guard.stop()
    context.term()


def by(guard: Any) -> Callable[[zmq.Socket[bytes]], object]:
    return lambda socket: guard.secure_client(socket, "")


# ---- handshake ------------------------------------------------------------------------------------------------------------


def test_who_has_a_key_comes_in_and_every_frame_bears_it(site: Site) -> None:
    assert site.dials(by(site.new("alice"))) == site.key("alice")


def test_a_node_comes_in_by_the_pair_of_the_cluster(site: Site) -> None:
    assert site.dials(by(site.guard)) == site.key("cluster")


def test_who_has_no_key_does_not_come_in(site: Site) -> None:
    assert site.dials(lambda socket: None) is None


def test_a_key_that_nobody_knows_does_not_come_in_and_is_counted(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    def secure(socket: zmq.Socket[bytes]) -> None:
        dial(socket, *new_pair(), site.key("cluster"))

    assert site.dials(secure) is None
    assert eventually(site.guard.refused)["unknown_key"] >= 1
    assert "message=handshake" in caplog.text


def test_a_key_of_another_cluster_does_not_come_in(site: Site, tmp_path: Path) -> None:
    other = KeyFolder(tmp_path / "other")
    other.new("cluster", "node", "*", AT)
    _, secret = other.new("alice", "admin", "*", AT)

    assert site.dials(by(DialGuard(secret))) is None


def test_a_revoked_key_does_not_come_in(site: Site) -> None:
    alice = site.new("alice")
    site.revoke("alice")

    assert site.dials(by(alice)) is None
    assert eventually(site.guard.refused)["revoked"] >= 1


def test_beside_a_file_that_is_no_key_the_others_come_in(site: Site) -> None:
    alice = site.new("alice")
    with (site.folder.path / "bob.public").open("x") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write("name = " + "[" * 8_000)

    assert site.dials(by(alice)) == site.key("alice")
    assert site.dials(by(alice)) == site.key("alice")


def test_a_client_does_not_speak_with_who_only_pretends_to_be_the_cluster(site: Site) -> None:
    public, secret = new_pair()

    def secure(socket: zmq.Socket[bytes]) -> None:
        dial(socket, public, secret, new_pair()[0])

    assert site.dials(secure) is None


def test_while_nobody_checks_keys_nobody_comes_in(site: Site) -> None:
    alice = site.new("alice")
    site.guard.stop()

    assert site.dials(by(alice)) is None


def test_two_guards_cannot_answer_in_one_context(site: Site) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    site.guard.stop()
    first, second = KeyGuard(site.folder), KeyGuard(site.folder)
    first.start(context)

    with pytest.raises(SecurityError, match="a context of its own"):
        second.start(context)

    second.stop()
    first.stop()
    first.stop()
    context.term()


# ---- hello ------------------------------------------------------------------------------------------------------------------


def test_a_hello_is_answered_by_the_rights_of_the_key(site: Site) -> None:
    site.new("alice", role="author")

    assert site.principal("alice") == Principal("alice", "author", "press", site.key("alice"), "client-7", "7")


@pytest.mark.parametrize("user_id", ["", "0" * 40])
def test_a_hello_without_a_known_key_is_refused(site: Site, user_id: str) -> None:
    assert "is not known here" in str(site.guard.admit(user_id, Hello()))
    assert site.guard.refused() == {"unknown_key": 1}


def test_the_key_of_a_client_is_none_of_a_node(site: Site) -> None:
    site.new("alice", role="author")

    refused = site.guard.admit(site.key("alice"), Hello("n2", "node"))

    assert "has the role author, which is not that of a node" in str(refused)


def test_the_pair_of_the_cluster_is_every_node(site: Site) -> None:
    assert site.principal("cluster", Hello("n2", "node")) == Principal(
        "cluster", "node", "*", site.key("cluster"), "n2", "7"
    )


def test_a_key_of_one_node_is_that_node_only(site: Site) -> None:
    site.new("worker-3", role="node", tenant="*")

    assert site.principal("worker-3", Hello("worker-3", "node")).role == "node"
    assert "needs one of its own" in str(site.guard.admit(site.key("worker-3"), Hello("n1", "node")))


def test_a_person_at_a_node_may_do_all_but_speak_as_its_actors(site: Site) -> None:
    assert site.principal("cluster", Hello("client-7", "client")).role == "admin"


@pytest.mark.parametrize("name", ["", "a b", "a~root", "a@n2", "a\n", "x" * 201, "a\u200eb"])
def test_a_name_that_could_be_taken_for_another_address_is_refused(site: Site, name: str) -> None:
    site.new("alice")

    assert "the name of a peer" in str(site.guard.admit(site.key("alice"), Hello(name)))
    assert "the name of a peer" in str(OpenGuard().admit("", Hello(name)))


def test_without_keys_who_can_connect_is_an_admin_or_a_node() -> None:
    guard = OpenGuard()

    assert guard.admit("", Hello()) == Principal("anonymous", "admin", "*", "", "client-7", "7")
    assert guard.admit("", Hello("n2", "node")) == Principal("anonymous", "node", "*", "", "n2", "7")


def test_every_guard_keeps_to_the_contract_of_a_transport(site: Site) -> None:
    guards: list[Guard] = [OpenGuard(), site.guard, site.new("alice")]

    assert len(guards) == 3, "the type checker says the rest"


def test_who_only_connects_lets_nobody_in(site: Site) -> None:
    alice = site.new("alice")

    assert alice.admit(site.key("cluster"), Hello()) == "nobody is let in here"
    with pytest.raises(SecurityError, match="can only connect"):
        alice.secure_server(site.server)


# ---- envelopes --------------------------------------------------------------------------------------------------------------

CANCEL = CancelRun("7/1", "press", 1)
FOREIGN = CancelRun("7/2", "other", 1)
LEASE = TakeLease("eve", "", None)


def sent(*messages: Any, to: str = "registry", sender: str = "client-7~alice", epoch: int = 0) -> Envelope:
    return Envelope(sender, to, epoch, messages)


def test_what_is_allowed_passes_and_what_is_not_is_answered(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    site.new("alice")
    alice = site.principal("alice")

    passed, answers = site.guard.check(alice, sent(CANCEL, FOREIGN, LEASE))

    assert passed == sent(CANCEL)
    [answer] = answers
    assert (answer.key, answer.code) == ("7/2", "forbidden")
    assert "the tenant 'other'" in answer.text
    assert site.guard.refused() == {"message": 1, "tenant": 1}
    [tenant, message] = [record.getMessage() for record in caplog.records if record.name == "callsheet.audit"]
    assert "who='alice' message=CancelRun tenant='other' reason=tenant" in tenant
    assert "who='alice' message=TakeLease tenant='' reason=message" in message


def test_where_nothing_passes_nothing_is_delivered(site: Site) -> None:
    site.new("alice", role="viewer")

    passed, answers = site.guard.check(site.principal("alice"), sent(CANCEL))

    assert passed is None
    assert [answer.code for answer in answers] == ["forbidden"]


def test_a_client_speaks_in_no_reign(site: Site) -> None:
    site.new("alice")

    passed, _ = site.guard.check(site.principal("alice"), sent(CANCEL, epoch=2**60))

    assert passed == sent(CANCEL, epoch=0)


def test_a_node_speaks_in_its_reign_and_says_what_it_will(site: Site) -> None:
    node = site.principal("cluster", Hello("n2", "node"))
    envelope = sent(LEASE, CANCEL, to="persistence", sender="coordinator@n2", epoch=7)

    assert site.guard.check(node, envelope) == (envelope, [])


def test_a_node_does_not_speak_in_the_name_of_another(site: Site) -> None:
    node = site.principal("cluster", Hello("n2", "node"))

    assert site.guard.check(node, sent(CANCEL, sender="coordinator@n3")) == (None, [])
    assert site.guard.refused() == {"peer": 1}


def test_a_request_to_an_actor_of_a_named_node_is_judged_like_any(site: Site) -> None:
    site.new("alice", role="viewer")
    alice = site.principal("alice")
    members = sent(ListMembers("7/k"), to="coordinator@n2")

    assert site.guard.check(alice, members) == (members, [])
    assert site.guard.check(alice, sent(ListMembers("7/k"), to="persistence@n2"))[0] is None


def test_a_key_that_is_revoked_is_refused_on_a_line_that_stands(site: Site) -> None:
    site.new("alice")
    alice = site.principal("alice")
    assert site.guard.check(alice, sent(CANCEL)) == (sent(CANCEL), [])

    site.revoke("alice")
    passed, [answer] = site.guard.check(alice, sent(CANCEL))

    assert passed is None
    assert (answer.key, answer.code) == ("7/1", "forbidden")
    assert "was revoked" in answer.text


def test_a_role_that_is_taken_back_in_the_file_counts_on_a_line_that_stands(site: Site) -> None:
    site.new("alice", role="operator")
    alice = site.principal("alice")
    path = site.folder.path / "alice.public"
    path.write_text(path.read_text().replace('"operator"', '"viewer"'))
    site.clock.now += LOOK_AGAIN_S

    passed, [answer] = site.guard.check(alice, sent(CANCEL))

    assert passed is None
    assert "has the role viewer" in answer.text


def test_without_keys_no_client_may_speak_as_an_actor_either() -> None:
    guard = OpenGuard()
    anybody = guard.admit("", Hello())
    assert isinstance(anybody, Principal)

    passed, answers = guard.check(anybody, sent(LEASE, Watch("7/k", "any", (1,)), sender="client-7~anonymous"))

    assert passed == sent(Watch("7/k", "any", (1,)), sender="client-7~anonymous")
    assert answers == []


@pytest.mark.parametrize("key", ["", "7", "8/1", "77/1", "7/" + "1" * 200])
def test_a_request_with_a_key_that_is_not_its_client_s_or_too_long_is_refused(site: Site, key: str) -> None:
    site.new("alice")

    passed, [answer] = site.guard.check(site.principal("alice"), sent(CancelRun(key, "press", 1)))

    assert passed is None
    assert "the key of a request" in answer.text


def test_without_keys_a_request_s_key_is_anything_short() -> None:
    guard = OpenGuard()
    anybody = guard.admit("", Hello())
    assert isinstance(anybody, Principal)

    assert guard.check(anybody, sent(CancelRun("w", "any", 1)))[0] is not None
    assert guard.check(anybody, sent(CancelRun("w" * 201, "any", 1)))[0] is None


def test_an_answer_is_no_longer_than_its_limit(site: Site) -> None:
    site.new("alice")

    _, [answer] = site.guard.check(site.principal("alice"), sent(CancelRun("7/k", "x" * 100_000, 1)))

    assert isinstance(answer, RequestRejected)
    assert len(answer.text) <= 1_000


# ---- the log ----------------------------------------------------------------------------------------------------------------


def test_a_flood_of_refusals_is_counted_and_not_all_logged(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    refusals = Refusals(clock)

    with caplog.at_level(logging.WARNING, "callsheet.audit"):
        for number in range(MAX_LINES_A_SECOND + 100):
            refusals.note(Refusal("role", "no"), who=f"eve{number}", message="AddJobs")
        clock.now += 1
        refusals.note(Refusal("role", "no"), who="eve", message="AddJobs")

    assert refusals.counts() == {"role": MAX_LINES_A_SECOND + 101}
    assert len(caplog.records) == MAX_LINES_A_SECOND + 1
    assert caplog.records[-1].getMessage().endswith("unlogged=100")


def test_who_tries_the_same_again_and_again_is_logged_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    refusals = Refusals(clock)

    for _ in range(25):
        refusals.note(Refusal("revoked", "no"), who="worker-3", message="Beat")
        clock.now += 1
    refusals.note(Refusal("revoked", "no"), who="worker-4", message="Beat")

    texts = [record.getMessage() for record in caplog.records]
    assert [text.partition(" repeated=")[2] for text in texts] == ["", "9", "9", ""]
    assert refusals.counts() == {"revoked": 26}


def test_what_a_peer_chose_cannot_make_a_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    Refusals().note(Refusal("tenant", "a\nb", "x\ny"), who="eve\nrefused who='root'", message="AddJobs")

    [record] = caplog.records
    assert "\n" not in record.getMessage()
