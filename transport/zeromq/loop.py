"""The one thread that owns all sockets of a node.

a turn   sleep until a socket has something, somebody rings, or something is due
         ─▶ look at the keys ─▶ dial what is wanted ─▶ take in what has come ─▶ send what waits ─▶ do what is due

A turn that fails is logged, and the next one follows after a pause. When every turn fails for `GIVE_UP_S` the thread ends, and
says so: the node hears and is heard no more.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, Final

import zmq

from ..contract import Guard
from .bell import Bell
from .dialer import Dialer
from .door import Door
from .hub import LOGGER, Hub
from .monitor import Monitor
from .peer import Peer
from .post import Post
from .watch import Happened, Watch

GIVE_UP_S: Final = 10.0
"""How long every turn may fail before the thread ends."""

PAUSE_S: Final = 0.001
MAX_PAUSE_S: Final = 0.25
"""The pause after a turn that failed; after each further one it is twice as long."""

Wanted = Mapping[str, tuple[frozenset[str], Peer]]
"""Endpoints to be dialed, each with the nodes of which one is expected there, and the peer for whom to dial."""


class Loop:
    """Runs door and dialer on a thread of their own, from `start` to `stop`.

    Args:
        router: bound, with its monitor; None for who does not listen.
        ready: peers for whom something waits; others append and then `ring`.
        wanted: asked what to dial, at the start and after `dial_again`.
        answered: told who lives at an endpoint.
        failed: told why, when the thread ends although nobody has stopped it.
    """

    def __init__(
        self,
        context: zmq.Context[Any],
        hub: Hub,
        post: Post,
        guard: Guard | None,
        *,
        router: tuple[zmq.Socket[bytes], Monitor] | None,
        ready: deque[Peer],
        wanted: Callable[[], Wanted],
        answered: Callable[[str, Peer], None],
        failed: Callable[[str], None],
    ) -> None:
        self._context = context
        self._hub = hub
        self._guard = guard
        self._ready = ready
        self._wanted = wanted
        self._failed = failed
        self._bell = Bell()
        try:
            self._watch = Watch(self._bell.fileno())
        except OSError:
            self._bell.close()
            raise
        self._is_stopping = False
        self._must_dial = True
        self._next: int | None = None
        self.dialer: Final = Dialer(context, hub, post, guard, self._watch, answered, self._bell.ring)
        self._door = None if router is None else Door(hub, post, guard, self._watch, *router)
        self.thread: Final = threading.Thread(target=self._run, name="zeromq", daemon=True)
        self.ring: Final = self._bell.ring

    def start(self) -> None:
        """Begin; from now on nobody else touches a socket. What goes wrong leaves the sockets to the caller."""
        try:
            if self._door is not None:
                door = self._door
                door.notice(0)
                self._watch.add(door.monitor.socket, lambda _: door.notice(self.dialer.now))
                self._watch.add(door.router, lambda _: door.read(self.dialer.now))
            self.thread.start()
        except BaseException:
            self._watch.close()
            self._bell.close()
            raise

    def dial_again(self) -> None:
        """Ask again what to dial. From any thread."""
        self._must_dial = True
        self.ring()

    def let_go(self) -> None:
        """In a forked child: close the connections, and where it is listened. No socket is touched: they are the parent's."""
        self.dialer.descriptors.close_in_child()
        if self._door is not None:
            self._door.descriptors.close_in_child()

    def stop(self, timeout_s: float) -> None:
        """End the thread, the sockets and the context; waits for it unless it is the caller."""
        self._is_stopping = True
        self.ring()
        if threading.current_thread() is not self.thread:
            self.thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._take_turns()
        finally:
            self._end()

    def _take_turns(self) -> None:
        pause_s = PAUSE_S
        failing_since: float | None = None
        while not self._is_stopping:
            try:
                self._turn()
                pause_s, failing_since = PAUSE_S, None
            except Exception as error:  # noqa: BLE001 - whoever takes mail or news may raise; the lines to all others must stand
                LOGGER.exception("turn_failed")
                now = time.monotonic()
                failing_since = now if failing_since is None else failing_since
                if now - failing_since >= GIVE_UP_S:
                    self._failed(f"the lines to other nodes failed for {GIVE_UP_S:g} s, the last time by {error!r}")
                    return
                self._must_dial = True  # perhaps it was that which failed
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, MAX_PAUSE_S)

    def _turn(self) -> None:
        happened = self._sleep()
        now = self.dialer.now = time.monotonic_ns() // 1_000_000
        if self._door is not None:
            self._door.look_at_keys(now)
        if self._must_dial:
            self._must_dial = False
            self.dialer.dial(self._wanted())
        for each in happened:
            self._watch.handle(each)
        for _ in range(len(self._ready)):
            self._hub.flush(self._ready.popleft(), now)
        ticks = (self._hub.tick(now), self.dialer.tick(), self._door.tick(now) if self._door else None)
        due = [at for at in ticks if at is not None]
        self._next = min(due) if due else None

    def _sleep(self) -> list[Happened]:
        """Wait until there is something to do, and answer what has happened to which socket."""
        self._bell.before_sleep()
        wait_ms = None
        if self._ready or self._must_dial or self._is_stopping or self.dialer.lookups.has_news:
            wait_ms = 0
        elif self._next is not None:
            wait_ms = max(0, self._next - time.monotonic_ns() // 1_000_000)
        happened, is_rung = self._watch.wait(wait_ms)
        self._bell.after_sleep(rung=is_rung)
        return happened

    def _end(self) -> None:
        """Let go of everything, of each also when another cannot be let go of."""
        with ExitStack() as each:
            each.callback(self._bell.close)
            each.callback(self._watch.close)
            each.callback(self._context.destroy, linger=0)
            if self._guard is not None:
                each.callback(self._guard.stop)
            if self._door is not None:
                each.callback(self._door.close)
            each.callback(self.dialer.close)
