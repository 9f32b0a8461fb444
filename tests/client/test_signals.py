"""Waiting for a signal, whichever thread the system hands it to."""

import signal
import threading
import time

import pytest

from callsheet.client.signals import Asking, stop_signals
from callsheet.errors import CallsheetError

PATIENCE_S = 10.0


def nothing() -> None:
    """Not hurry."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_another_thread_takes_ends_the_wait(number: signal.Signals) -> None:
    waits, woken = threading.Event(), threading.Event()

    def take() -> None:
        waits.wait(PATIENCE_S)
        signal.pthread_kill(threading.get_ident(), number)
        woken.wait(PATIENCE_S)  # it runs no more until then, as one that waits for a lock

    began = time.monotonic()
    with stop_signals(nothing) as asking:
        fallback = threading.Timer(PATIENCE_S, asking.ask)
        fallback.start()
        taker = threading.Thread(target=take)
        taker.start()
        waits.set()
        asking.wait()
        woken.set()
        fallback.cancel()
        taker.join()
    assert time.monotonic() - began < PATIENCE_S / 2


def test_who_asks_before_or_after_the_wait_does_no_harm() -> None:
    with stop_signals(nothing) as asking:
        asking.ask()
        asking.wait()
    asking.ask()


def test_handlers_and_the_descriptor_of_the_program_are_put_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    mine = Asking()
    other = signal.set_wakeup_fd(mine.fileno())
    try:
        with stop_signals(nothing):
            assert signal.getsignal(signal.SIGTERM) is not before
        assert signal.getsignal(signal.SIGTERM) is before
        assert signal.set_wakeup_fd(mine.fileno()) == mine.fileno()
    finally:
        signal.set_wakeup_fd(other)
        mine.close()


def test_another_thread_cannot_wait_for_signals() -> None:
    found: list[BaseException] = []

    def run() -> None:
        try:
            with stop_signals(nothing):
                pass
        except CallsheetError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert "belongs on the main thread" in str(found[0])
