"""CURVE, the encryption of ZeroMQ: key pairs, the options of sockets, and who may finish a handshake.

    stranger ── handshake with its key ──▶ server socket ── ZAP request ──▶ ZapHandler ── knows(key)? ──▶ the keys
             ◀── refused, or a line whose every frame bears the key (`User-Id`) ───────────┘

Keys are texts in Z85, 40 characters for 32 bytes (ZeroMQ RFC 32). The request that a server socket makes before it lets
somebody in is that of ZeroMQ RFC 27 (ZAP). Without a handler a server socket would let in whoever knows its public key;
`serve` therefore enforces a domain, for which libzmq refuses everybody as long as nobody answers.
"""

from __future__ import annotations

import logging
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, Final

import zmq
from zmq.utils import z85

from ...errors import SecurityError

LOGGER: Final = logging.getLogger(__name__)

KEY_LENGTH: Final = 40
"""Characters of a key."""

STOP_S: Final = 5.0
"""How long the handler's thread may take to end."""

_ZAP_ENDPOINT: Final = "inproc://zeromq.zap.01"
_ZAP_VERSION: Final = b"1.0"
_DOMAIN: Final = b"callsheet"


def new_pair() -> tuple[str, str]:
    """Make a key pair: the public key and the secret one.

    No public key begins with a dash (one of 85 would), because on a command line it would look like an option.
    """
    while (pair := zmq.curve_keypair())[0].startswith(b"-"):
        pass
    public, secret = pair
    return public.decode("ascii"), secret.decode("ascii")


def is_key(text: str) -> bool:
    """Whether a text is a key in Z85."""
    if len(text) != KEY_LENGTH or not text.isascii():
        return False
    try:
        z85.decode(text)
    except (KeyError, struct.error):  # a character that is none of Z85's; five of them beyond 32 bits
        return False
    return True


def public_of(secret: str) -> str:
    """The public key that belongs to a secret one, which is a key."""
    return zmq.curve_public(secret.encode("ascii")).decode("ascii")


def serve(server: zmq.Socket[bytes], secret: str) -> None:
    """Let a socket accept nobody but whom the ZAP handler knows; before it is bound."""
    server.curve_server = True
    server.curve_secretkey = secret.encode("ascii")
    server.zap_domain = _DOMAIN
    server.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


def dial(client: zmq.Socket[bytes], public: str, secret: str, server: str) -> None:
    """Let a socket present its key, and speak only with who has the secret of `server`; before it is connected."""
    client.curve_publickey = public.encode("ascii")
    client.curve_secretkey = secret.encode("ascii")
    client.curve_serverkey = server.encode("ascii")


class ZapHandler:
    """Answers for the server sockets of one context who may come in.

    Args:
        knows: whether a public key may come in, and the address it comes from; called on the handler's thread.
    """

    def __init__(self, knows: Callable[[str, str], bool]) -> None:
        self._knows = knows
        self._thread: threading.Thread | None = None
        self._clapper: socket.socket | None = None

    def start(self, context: zmq.Context[Any]) -> None:
        """Begin to answer; before the first socket is bound.

        Raises:
            SecurityError: somebody else answers in this context already.
        """
        asked = context.socket(zmq.REP)
        asked.linger = 0
        try:
            asked.bind(_ZAP_ENDPOINT)
        except zmq.ZMQError as error:
            asked.close()
            raise SecurityError(
                f"the keys cannot be checked, somebody else does so in this ZeroMQ context ({error}); use a context of its own"
            ) from None
        try:
            bell, clapper = socket.socketpair()
        except OSError:
            asked.close()  # else the context would wait for it for ever when it is ended
            raise
        thread = threading.Thread(target=self._answer, args=(asked, bell), name="zap", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system has no thread left
            for each in (asked, bell, clapper):
                each.close()
            raise
        self._thread, self._clapper = thread, clapper

    def stop(self) -> None:
        """Answer nothing more: from now on nobody comes in. Twice is harmless."""
        thread, clapper = self._thread, self._clapper
        self._thread = self._clapper = None
        if clapper is not None:
            clapper.close()  # the other end can be read then
        if thread is not None:
            thread.join(STOP_S)

    def _answer(self, asked: zmq.Socket[bytes], bell: socket.socket) -> None:
        poller = zmq.Poller()
        poller.register(asked, zmq.POLLIN)
        poller.register(bell.fileno(), zmq.POLLIN)
        try:
            while bell.fileno() not in (ready := dict(poller.poll())):
                if asked in ready:
                    asked.send_multipart(self._judge(asked.recv_multipart()))
        except zmq.ContextTerminated:
            LOGGER.debug("zap_ended reason=context_terminated")
        finally:
            asked.close()
            bell.close()

    def _judge(self, request: list[bytes]) -> list[bytes]:
        """The reply to a request: version, number, domain, address, identity, mechanism, and for CURVE the key (32 bytes)."""
        number = request[1] if len(request) > 1 else b""
        match request:
            case [version, _, domain, address, _, b"CURVE", key] if (
                version == _ZAP_VERSION and domain == _DOMAIN and len(key) == 32
            ):
                public = z85.encode(key).decode("ascii")
                if self._knows(public, address.decode("utf-8", "replace")):
                    return [_ZAP_VERSION, number, b"200", b"OK", public.encode("ascii"), b""]
        return [_ZAP_VERSION, number, b"400", b"unknown key", b"", b""]
