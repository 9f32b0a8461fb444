"""The guard of a transport: who may come in, and what each may say.

    handshake   the key is in the allow-list, or there is no line          (ZAP, `curve.py`)
    hello       who it says it is fits the key: a node's name, a client's  (`admit`)
    message     the key still stands, and its role allows such messages    (`screen`, by tag, before a message is checked)
    envelope    role and tenant allow what it says                         (`check`, by the table of `roles.py`)

Everything that is refused is counted and written to the log `callsheet.audit`, up to a limit a second; a request that is refused
is also answered. What a client may say is checked without keys too: then everybody is an admin, but no client can speak as
one of the cluster's own actors.

`KeyGuard` is a node's with keys, `OpenGuard` anybody's without, `DialGuard` that of a client with a key. All methods may be
called from any thread but `start` and `stop`, which belong to one.
"""

from __future__ import annotations

import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from os import PathLike
from threading import Lock
from typing import Any, Final

import msgspec

from ...actors.actor import Address
from ...actors.messages import Envelope, RequestRejected
from ...actors.records import MAX_NAME_LENGTH
from ...errors import SecurityError
from ..contract import Fields, Greeting, split_address
from ..log_limit import LogLimit
from .allowed import Allowed
from .curve import ZapHandler, dial, serve
from .keys import CLUSTER, KeyFolder, KeyPair, read_pair
from .roles import ALL_TENANTS, ANONYMOUS, Principal, Reason, Refusal, Role, judge, kind_of, plain_tags, screen

AUDIT: Final = logging.getLogger("callsheet.audit")

MAX_ANSWER_LENGTH: Final = 1_000
"""Characters of an answer to who was refused, in which names of his own may be repeated."""

MAX_KEY_CHARACTERS: Final = 200
"""Of a request's key: the incarnation of a client, and a number."""

_PEER: Final = re.compile(r"[^\s@~]{1,200}")


class Refusals:
    """Counts what was refused, and logs it up to a limit."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._lock = Lock()
        self._counts: Counter[Reason] = Counter()
        self._limit = LogLimit(monotonic)

    def note(self, refusal: Refusal, *, who: str, message: str) -> None:
        """Note that somebody was refused: `message` is the type of what he sent, or what he tried."""
        tenant = refusal.tenant[:MAX_NAME_LENGTH]
        with self._lock:
            self._counts[refusal.reason] += 1
        left_out = self._limit.ask(who, message, tenant, refusal.reason)
        if left_out is None:
            return
        # what a peer has chosen is quoted, so that no line can be forged
        AUDIT.warning(
            "refused who=%r message=%s tenant=%r reason=%s why=%r%s",
            who,
            message,
            tenant,
            refusal.reason,
            refusal.text[:MAX_ANSWER_LENGTH],
            left_out,
        )

    def counts(self) -> dict[Reason, int]:
        """How many were refused so far, by reason in alphabetical order."""
        with self._lock:
            return dict(sorted(self._counts.items()))


class _Gate:
    """What all guards share: judging hellos and envelopes."""

    def __init__(self) -> None:
        self._refusals = Refusals()

    def refused(self) -> dict[Reason, int]:
        """How many hellos, handshakes and messages were refused so far, by reason."""
        return self._refusals.counts()

    def _admit(self, name: str, role: Role, tenant: str, public: str, hello: Greeting) -> Principal | str:
        refusal = _judge_hello(name, role, hello)
        if refusal is not None:
            self._refusals.note(refusal, who=name, message="hello")
            return refusal.text
        if hello.kind == "client" and role == "node":
            role = "admin"  # a person at a node: may do anything, but not speak as one of its actors
        return Principal(name, role, tenant, public, hello.name, hello.incarnation)

    def _screen(
        self, principal: Principal | Refusal, sender: str, address: Address, messages: Sequence[Fields]
    ) -> tuple[Sequence[Fields], list[RequestRejected]]:
        """Judge the messages of a principal, or refuse them all to somebody of this name."""
        recipient, _ = split_address(address)
        plain = frozenset[str]() if isinstance(principal, Refusal) else plain_tags(principal, recipient)
        if all(type(tag := fields.get("type")) is str and tag in plain for fields in messages):
            return messages, []
        passed: list[Fields] = []
        answers: list[RequestRejected] = []
        for fields in messages:
            refusal = principal if isinstance(principal, Refusal) else screen(principal, recipient, fields)
            if refusal is None:
                passed.append(fields)
                continue
            kind, key = kind_of(fields), fields.get("key")
            self._refusals.note(refusal, who=sender, message="unknown" if kind is None else kind.__name__)
            if isinstance(key, str) and len(key) <= MAX_KEY_CHARACTERS:
                answers.append(_rejected(key, refusal))
        return passed, answers

    def _check(self, principal: Principal, envelope: Envelope) -> tuple[Envelope | None, list[RequestRejected]]:
        if principal.role == "node":
            refusal = _judge_sender(principal, envelope)
            return (envelope, []) if refusal is None else self._refuse(principal, envelope, refusal)
        recipient, _ = split_address(envelope.recipient)
        passed: list[Any] = []
        answers: list[RequestRejected] = []
        for message in envelope.messages:
            refusal = judge(principal, recipient, message) or _judge_key(principal, message)
            if refusal is None:
                passed.append(message)
            else:
                answers += self._answer(principal, message, refusal)
        if not passed:
            return None, answers
        # a client speaks in no reign, and could make a node deaf to its leader by naming a far one
        return msgspec.structs.replace(envelope, epoch=0, messages=tuple(passed)), answers

    def _refuse(self, principal: Principal, envelope: Envelope, refusal: Refusal) -> tuple[None, list[RequestRejected]]:
        return None, [it for message in envelope.messages for it in self._answer(principal, message, refusal)]

    def _answer(self, principal: Principal, message: Any, refusal: Refusal) -> list[RequestRejected]:
        self._refusals.note(refusal, who=principal.name, message=type(message).__name__)
        key = getattr(message, "key", None)
        if not isinstance(key, str) or principal.role == "node":
            return []
        return [_rejected(key, refusal)]


def _rejected(key: str, refusal: Refusal) -> RequestRejected:
    return RequestRejected(key, "forbidden", refusal.text[:MAX_ANSWER_LENGTH])


class OpenGuard(_Gate):
    """Lets in everybody who can connect, as a node or as an admin; nothing is encrypted."""

    def start(self, context: Any) -> None:
        """Nothing is to be started."""

    def stop(self) -> None:
        """Nothing is to be stopped."""

    def secure_server(self, socket: Any) -> None:
        """Leave a server's socket as it is."""

    def secure_client(self, socket: Any, endpoint: str) -> None:
        """Leave a client's socket as it is."""

    def admit(self, user_id: str, hello: Greeting) -> Principal | str:
        """Say who came, or why he is refused: only for a name that would be confused with another address."""
        del user_id
        return self._admit(ANONYMOUS, "node" if hello.kind == "node" else "admin", ALL_TENANTS, "", hello)

    def screen(
        self, principal: Principal, recipient: Address, messages: Sequence[Fields]
    ) -> tuple[Sequence[Fields], list[RequestRejected]]:
        """Answer which messages of a client are worth checking, and the answers to the others."""
        return self._screen(principal, principal.name, recipient, messages)

    def check(self, principal: Principal, envelope: Envelope) -> tuple[Envelope | None, list[RequestRejected]]:
        """Answer what of an envelope may pass, None for nothing, and the answers to what may not."""
        return self._check(principal, envelope)

    def stands(self, principal: Principal) -> bool:
        """Answer yes: there is no key that could be taken back."""
        del principal
        return True


class KeyGuard(_Gate):
    """Lets in who has a key that the folder allows. For nodes.

    Args:
        folder: with the pair of the cluster and the allow-list.
        monotonic: seconds that only grow.

    Raises:
        SecurityError: the folder or the cluster's pair cannot be used.
    """

    def __init__(self, folder: KeyFolder, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._pair = folder.pair(CLUSTER)
        self._allowed = Allowed(folder, monotonic)
        self._zap = ZapHandler(self._knows)

    def start(self, context: Any) -> None:
        """Begin to answer for the server sockets of a ZeroMQ context; before the first is bound.

        Raises:
            SecurityError: another guard does so in this context.
        """
        self._zap.start(context)

    def stop(self) -> None:
        """Let in nobody any more. Twice is harmless."""
        self._zap.stop()

    def secure_server(self, socket: Any) -> None:
        """Let a ZeroMQ socket take only who has a key; before it is bound."""
        serve(socket, self._pair.secret)

    def secure_client(self, socket: Any, endpoint: str) -> None:
        """Let a ZeroMQ socket speak only with nodes of this cluster, as one of them; before it is connected."""
        del endpoint
        _dial(socket, self._pair)

    def admit(self, user_id: str, hello: Greeting) -> Principal | str:
        """Say who came, by the key of his line (Z85), or why he is refused."""
        found = self._find(user_id)
        if isinstance(found, Refusal):
            self._refusals.note(found, who=hello.name, message="hello")
            return found.text
        return self._admit(found.name, found.role, found.tenant, user_id, hello)

    def screen(
        self, principal: Principal, recipient: Address, messages: Sequence[Fields]
    ) -> tuple[Sequence[Fields], list[RequestRejected]]:
        """Answer which messages of a client are worth checking, and the answers to the others."""
        return self._screen(self._now(principal), principal.name, recipient, messages)

    def check(self, principal: Principal, envelope: Envelope) -> tuple[Envelope | None, list[RequestRejected]]:
        """Answer what of an envelope may pass, None for nothing, and the answers to what may not."""
        now = self._now(principal)
        return self._refuse(principal, envelope, now) if isinstance(now, Refusal) else self._check(now, envelope)

    def stands(self, principal: Principal) -> bool:
        """Answer whether his key still counts."""
        return isinstance(self._now(principal), Principal)

    def _now(self, principal: Principal) -> Principal | Refusal:
        """Who speaks, by what the key stands for now, which may have changed since the hello."""
        if principal.public == self._pair.public:
            return principal  # this key stands for the same always
        permit = self._allowed.find(principal.public)
        as_before = (principal.name, principal.role, principal.tenant)
        if permit is not None and not permit.revoked and (permit.name, permit.role, permit.tenant) == as_before:
            return principal
        found = self._find(principal.public)
        if isinstance(found, Refusal):
            return found
        # whoever came as a client stays one
        role = "admin" if found.role == "node" and principal.role != "node" else found.role
        return msgspec.structs.replace(principal, name=found.name, role=role, tenant=found.tenant)

    def _find(self, public: str) -> Principal | Refusal:
        """What the key stands for now."""
        if public == self._pair.public:
            return Principal(CLUSTER, "node", ALL_TENANTS)
        permit = self._allowed.find(public)
        if permit is None:
            return Refusal("unknown_key", "that key is not known here; `callsheet keys allow` lets it in")
        if permit.revoked:
            return Refusal("revoked", f"the key {permit.name!r} was revoked on {permit.revoked}")
        return Principal(permit.name, permit.role, permit.tenant)

    def _knows(self, public: str, address: str) -> bool:
        found = self._find(public)
        if isinstance(found, Refusal):
            self._refusals.note(found, who=address, message="handshake")
        return isinstance(found, Principal)


class DialGuard(_Gate):
    """Presents a key to a cluster, and lets in nobody. For clients.

    Args:
        secret: the file that `callsheet keys new` made for this client.

    Raises:
        SecurityError: it is not there, open to others, or no such file.
    """

    def __init__(self, secret: str | PathLike[str]) -> None:
        super().__init__()
        self._pair = read_pair(secret)

    def start(self, context: Any) -> None:
        """Nothing is to be started."""

    def stop(self) -> None:
        """Nothing is to be stopped."""

    def secure_server(self, socket: Any) -> None:
        """Refuse to listen.

        Raises:
            SecurityError: always.
        """
        raise SecurityError(
            f"the key {self._pair.name!r} can only connect; who listens needs the folder with the cluster's pair"
        )

    def secure_client(self, socket: Any, endpoint: str) -> None:
        """Let a ZeroMQ socket speak only with nodes of the cluster that the key is for; before it is connected."""
        del endpoint
        _dial(socket, self._pair)

    def admit(self, user_id: str, hello: Greeting) -> Principal | str:
        """Refuse."""
        del user_id, hello
        return "nobody is let in here"

    def screen(
        self, principal: Principal, recipient: Address, messages: Sequence[Fields]
    ) -> tuple[Sequence[Fields], list[RequestRejected]]:
        """Let nothing pass."""
        del principal, recipient, messages
        return (), []

    def check(self, principal: Principal, envelope: Envelope) -> tuple[Envelope | None, list[RequestRejected]]:
        """Let nothing pass."""
        del principal, envelope
        return None, []

    def stands(self, principal: Principal) -> bool:
        """Answer no: nobody was let in."""
        del principal
        return False


def _dial(socket: Any, pair: KeyPair) -> None:
    dial(socket, pair.public, pair.secret, pair.server)


def _judge_hello(name: str, role: Role, hello: Greeting) -> Refusal | None:
    """Whether who somebody says he is fits his key."""
    if not _PEER.fullmatch(hello.name) or not hello.name.isprintable():
        return Refusal("peer", "the name of a peer has 1 to 200 characters, without spaces, @ and ~")
    if hello.kind != "node":
        return None
    if role != "node":
        return Refusal("peer", f"the key {name!r} has the role {role}, which is not that of a node")
    if name not in (CLUSTER, ANONYMOUS, hello.name):
        return Refusal("peer", f"the key {name!r} is that of the node {name!r}; {hello.name!r} needs one of its own")
    return None


def _judge_key(principal: Principal, message: Any) -> Refusal | None:
    """Whether a request's key is the client's own, and short: it is remembered and stored.

    Who uses another's first would keep that one's request from being done.
    """
    key = getattr(message, "key", None)
    if key is None:
        return None
    if len(key) > MAX_KEY_CHARACTERS:
        return Refusal("message", f"the key of a request has at most {MAX_KEY_CHARACTERS} characters, not {len(key)}")
    if not principal.public or key.startswith(f"{principal.incarnation}/"):
        return None
    return Refusal("peer", f"the key of a request begins with the client's incarnation: '{principal.incarnation}/…'")


def _judge_sender(principal: Principal, envelope: Envelope) -> Refusal | None:
    """Whether a node speaks for itself, its actors and its clients."""
    _, node = split_address(envelope.sender)
    if node not in ("", principal.peer):
        return Refusal("peer", f"the node {principal.peer!r} spoke in the name of {envelope.sender!r}")
    return None
