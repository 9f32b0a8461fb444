"""A way between two ends that a test can cut."""

import selectors
import socket
import threading
from contextlib import suppress
from typing import Self


class Tunnel:
    """Passes bytes on between whoever connects to `endpoint` and a tcp endpoint."""

    def __init__(self, to: str) -> None:
        host, _, port = to.removeprefix("tcp://").rpartition(":")
        self._to = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._other: dict[socket.socket, socket.socket] = {}
        self._silent: list[socket.socket] = []
        self._bell, self._clapper = socket.socketpair()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._clapper.close()
        self._thread.join(10)
        for each in self._silent:
            each.close()

    def cut(self) -> None:
        """End all connections; new ones are taken."""
        self._clapper.send(b"c")

    def silence(self) -> None:
        """Let nothing through any more on the connections there are, without ending them; new ones are taken."""
        self._clapper.send(b"s")

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector, self._listener, self._bell:
            for each in (self._listener, self._bell):
                selector.register(each, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    ready = key.fileobj
                    assert isinstance(ready, socket.socket)
                    if ready is self._listener:
                        self._connect(selector)
                    elif ready is not self._bell:
                        self._pass_on(ready, selector)
                    elif (word := self._bell.recv(1)) == b"s":
                        self._fall_silent(selector)
                    else:
                        self._end(selector)
                        if not word:
                            return

    def _connect(self, selector: selectors.BaseSelector) -> None:
        here, _ = self._listener.accept()
        there = socket.create_connection(self._to)
        for one, other in ((here, there), (there, here)):
            self._other[one] = other
            selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, ready: socket.socket, selector: selectors.BaseSelector) -> None:
        if ready not in self._other:
            return
        received = b""
        with suppress(OSError):
            received = ready.recv(65536)
        if received:
            with suppress(OSError):
                self._other[ready].sendall(received)
                return
        self._close(ready, selector)

    def _close(self, one: socket.socket, selector: selectors.BaseSelector) -> None:
        for each in (one, self._other.pop(one)):
            self._other.pop(each, None)
            selector.unregister(each)
            each.close()

    def _fall_silent(self, selector: selectors.BaseSelector) -> None:
        for each in self._other:
            selector.unregister(each)
        self._silent += self._other
        self._other.clear()

    def _end(self, selector: selectors.BaseSelector) -> None:
        while self._other:
            self._close(next(iter(self._other)), selector)
