from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from callsheet.actors.executor.warden import MARK, Warden


@pytest.fixture
def group() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


def test_a_group_that_is_watched_is_killed_when_the_warden_s_parent_lets_go(group: subprocess.Popen[bytes]) -> None:
    warden = Warden()
    warden.watch(group.pid)
    warden.close()
    assert group.wait(30) == -signal.SIGKILL


def test_a_group_that_was_released_goes_on(group: subprocess.Popen[bytes]) -> None:
    warden = Warden()
    warden.watch(group.pid)
    warden.release(group.pid)
    warden.close()
    assert group.poll() is None


def test_a_warden_that_was_killed_is_replaced_and_learns_all_groups(group: subprocess.Popen[bytes]) -> None:
    warden = Warden()
    warden.watch(group.pid)
    assert warden.process is not None
    warden.process.kill()
    warden.process.wait()
    other = subprocess.Popen(["sleep", "600"], start_new_session=True)
    warden.watch(other.pid)
    warden.close()
    assert {group.wait(30), other.wait(30)} == {-signal.SIGKILL}


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="there is no /proc to look for a process in")
def test_a_process_that_was_announced_is_killed_although_its_group_was_never_told() -> None:
    warden = Warden()
    environment = {MARK: warden.announce()}
    group = subprocess.Popen(["sleep", "600"], start_new_session=True, env=environment)
    warden.close()
    assert group.wait(30) == -signal.SIGKILL


def test_a_process_whose_announcement_was_taken_back_goes_on() -> None:
    warden = Warden()
    mark = warden.announce()
    group = subprocess.Popen(["sleep", "600"], start_new_session=True, env={MARK: mark})
    warden.cancel(mark)
    warden.close()
    assert group.poll() is None
    group.kill()
    group.wait()


def test_a_warden_with_nothing_to_watch_is_no_process() -> None:
    warden = Warden()
    assert warden.process is None
    warden.close()
