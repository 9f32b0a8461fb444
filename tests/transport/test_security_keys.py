"""Keys as files, the allow-list of a running node, and where one may listen without keys."""

import logging
import os
import re
from pathlib import Path

import pytest

from callsheet.errors import SecurityError
from callsheet.transport.security import (
    DialGuard,
    KeyFolder,
    KeyGuard,
    OpenGuard,
    Permit,
    check_bind,
    make_guard,
    read_pair,
)
from callsheet.transport.security.allowed import LOOK_AGAIN_S, Allowed
from callsheet.transport.security.curve import is_key, new_pair, public_of
from callsheet.transport.security.key_file import MAX_KEY_FILE_BYTES

AT = "2026-01-01T00:00:00Z"
LATER = "2026-01-02T00:00:00Z"


class Clock:
    """Seconds that only grow when they are told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> KeyFolder:
    made = KeyFolder(tmp_path / "keys")
    made.new("cluster", "node", "*", AT)
    return made


# ---- keys -----------------------------------------------------------------------------------------------------------------


def test_a_pair_fits_together_and_no_two_are_alike() -> None:
    pairs = [new_pair() for _ in range(200)]

    assert all(is_key(public) and is_key(secret) and public_of(secret) == public for public, secret in pairs)
    assert len({secret for _, secret in pairs}) == 200
    assert not any(public.startswith("-") for public, _ in pairs), "it would look like an option of the command"


@pytest.mark.parametrize("text", ["", "0" * 39, "0" * 41, "#" * 40, " " * 40, '"' * 40, "ä" * 40, "0" * 39 + "\n"])
def test_what_is_no_key_is_known_as_none(text: str) -> None:
    assert not is_key(text)


def test_a_secret_is_in_no_text_that_a_pair_or_an_error_shows(folder: KeyFolder) -> None:
    pair = folder.pair()
    path = folder.path / "cluster.secret"
    path.write_text(path.read_text().replace("secret =", "secrets ="))

    assert pair.secret not in repr(pair) + str(pair)
    with pytest.raises(SecurityError) as raised:
        folder.pair()
    assert pair.secret not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_tenant_with_quotes_is_read_as_it_was_written(folder: KeyFolder) -> None:
    folder.new("alice", "viewer", 'a "b" \\n ü', AT)

    assert folder.permit("alice").tenant == 'a "b" \\n ü'


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"name = ",
        b'name = "cluster"',
        b"[" * 2_000,
        b"name = " + b"[" * 8_000,
        b"name = " + b"9" * 5_000,
        b'name = "cluster"\nrole = "god"\ntenant = "*"\npublic = ""\ncreated = ""\n',
        b"#" * (MAX_KEY_FILE_BYTES + 1),
    ],
)
def test_a_file_that_is_no_key_is_refused_by_its_name(folder: KeyFolder, content: bytes) -> None:
    path = folder.path / "cluster.public"
    path.write_bytes(content)

    with pytest.raises(SecurityError, match=re.escape(str(path))):
        folder.permits()


def test_a_pair_that_does_not_fit_together_is_refused(folder: KeyFolder) -> None:
    path = folder.path / "cluster.secret"
    path.write_text(path.read_text().replace(folder.pair().secret, new_pair()[1]))

    with pytest.raises(SecurityError, match="holds no key pair"):
        folder.pair()


def test_a_permit_under_another_name_is_refused(folder: KeyFolder) -> None:
    folder.new("alice", "viewer", "default", AT)
    (folder.path / "alice.public").rename(folder.path / "root.public")

    with pytest.raises(SecurityError, match="is not the public key of 'root'"):
        folder.permits()


def test_a_pipe_in_the_place_of_a_key_holds_nobody_up(folder: KeyFolder) -> None:
    os.mkfifo(folder.path / "pipe.public", 0o600)

    with pytest.raises(SecurityError, match="is no file"):
        folder.permits()


def test_a_client_needs_nothing_but_its_file(folder: KeyFolder, tmp_path: Path) -> None:
    _, secret = folder.new("alice", "viewer", "default", AT)
    moved = secret.rename(tmp_path / "mine")

    assert read_pair(moved).server == folder.pair().public
    assert DialGuard(moved).refused() == {}
    moved.chmod(0o640)
    with pytest.raises(SecurityError, match=re.escape(f"chmod 600 {moved}")):
        DialGuard(moved)


def test_what_was_cut_off_while_it_was_written_is_no_key(folder: KeyFolder) -> None:
    (folder.path / ".alice.public.0123").write_text("half")

    assert [permit.name for permit in folder.permits()] == ["cluster"]


# ---- the allow-list of a running node ---------------------------------------------------------------------------------------


def test_a_key_is_known_after_the_next_look_and_revoked_after_the_next(folder: KeyFolder) -> None:
    clock = Clock()
    allowed = Allowed(folder, clock)
    assert allowed.find("0" * 40) is None

    public = folder.new("alice", "viewer", "default", AT)[0].public
    assert allowed.find(public) is None, "it has just looked"
    clock.now += LOOK_AGAIN_S
    found = allowed.find(public)
    assert found is not None
    assert (found.name, found.revoked) == ("alice", "")

    folder.revoke("alice", LATER)
    clock.now += LOOK_AGAIN_S
    revoked = allowed.find(public)
    assert revoked is not None
    assert revoked.revoked == LATER


def test_nothing_is_read_again_while_nothing_has_changed(folder: KeyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    allowed = Allowed(folder, clock)
    allowed.find("0" * 40)
    read: list[str] = []
    monkeypatch.setattr(folder, "permit", read.append)

    for _ in range(10):
        clock.now += LOOK_AGAIN_S
        allowed.find("0" * 40)

    assert read == []


def test_only_what_has_changed_is_read(folder: KeyFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    publics = [folder.new(f"key{number}", "viewer", "default", AT)[0].public for number in range(5)]
    allowed = Allowed(folder, clock)
    allowed.find("0" * 40)
    read: list[str] = []
    permit = folder.permit

    def noting(name: str) -> Permit:
        read.append(name)
        return permit(name)

    monkeypatch.setattr(folder, "permit", noting)

    (folder.path / "key1.public").unlink()
    folder.revoke("key3", LATER)
    read.clear()
    clock.now += LOOK_AGAIN_S
    found = [allowed.find(public) for public in publics]

    assert read == ["key3"]
    assert [each and each.revoked for each in found] == ["", None, "", LATER, ""]


def test_a_file_that_is_open_to_others_lets_nobody_in_and_the_others_count(
    folder: KeyFolder, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    alice = folder.new("alice", "viewer", "default", AT)[0].public
    eve = folder.new("eve", "viewer", "default", AT)[0].public
    allowed = Allowed(folder, clock)
    assert allowed.find(eve) is not None

    (folder.path / "eve.public").chmod(0o666)
    for _ in range(3):
        clock.now += LOOK_AGAIN_S
        assert allowed.find(eve) is None
        assert allowed.find(alice) is not None

    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    assert "eve.public is open to others" in caplog.text


def test_a_file_that_cannot_be_read_for_a_moment_counts_again_although_nobody_touches_it(
    folder: KeyFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    publics = [folder.new(name, "viewer", "default", AT)[0].public for name in ("alice", "bob")]
    allowed = Allowed(folder, clock)

    def fail(name: str) -> Permit:
        raise SecurityError(f"{name} cannot be read: Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(folder, "permit", fail)
        for _ in range(3):
            assert [allowed.find(public) for public in publics] == [None, None]
            clock.now += LOOK_AGAIN_S

    assert [each and each.name for each in map(allowed.find, publics)] == ["alice", "bob"]
    assert caplog.text.count("keys_unusable") == 1


def test_what_cannot_be_looked_at_is_told_like_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SecurityError, match="cannot be looked at: File name too long"):
        KeyFolder(tmp_path / ("x" * 300)).permit("alice")


def test_a_folder_that_is_open_to_others_lets_nobody_in_until_it_is_mended(
    folder: KeyFolder, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    alice = folder.new("alice", "viewer", "default", AT)[0].public
    allowed = Allowed(folder, clock)
    assert allowed.find(alice) is not None

    folder.path.chmod(0o777)
    for _ in range(3):
        clock.now += LOOK_AGAIN_S
        assert allowed.find(alice) is None
    folder.path.chmod(0o700)
    clock.now += LOOK_AGAIN_S

    assert allowed.find(alice) is not None
    assert caplog.text.count("keys_unusable") == 1


def test_a_key_under_two_names_is_nobodys(folder: KeyFolder, caplog: pytest.LogCaptureFixture) -> None:
    public = folder.new("alice", "viewer", "default", AT)[0].public
    text = (folder.path / "alice.public").read_text().replace('"alice"', '"eve"').replace('"viewer"', '"author"')
    path = folder.path / "eve.public"
    path.touch(0o600)
    path.write_text(text)

    assert Allowed(folder, Clock()).find(public) is None
    assert "key_doubled names=alice,eve" in caplog.text

    folder.revoke("eve", LATER)
    found = Allowed(folder, Clock()).find(public)
    assert found is not None
    assert found.revoked == LATER


# ---- where to listen --------------------------------------------------------------------------------------------------------

LOOPBACK = ["tcp://127.0.0.1:0", "tcp://127.9.8.7:5000", "tcp://[::1]:5000", "tcp://localhost:5000"]
OPEN = [
    "tcp://*:5000",
    "tcp://0.0.0.0:5000",
    "tcp://[::]:5000",
    "tcp://10.0.0.5:5000",
    "tcp://eth0:5000",
    "tcp://lo:5000",
    "tcp://db.example.org:5000",
    "tcp://127.0.0.1.example.org:5000",
    "tcp://localhost.example.org:5000",
    "tcp://1270.0.0.1:5000",
]


@pytest.mark.parametrize("endpoint", LOOPBACK)
def test_on_loopback_one_may_listen_without_keys(endpoint: str) -> None:
    assert isinstance(make_guard([endpoint]), OpenGuard)


@pytest.mark.parametrize("endpoint", OPEN)
def test_elsewhere_one_may_not_without_keys_unless_it_is_said(endpoint: str, folder: KeyFolder) -> None:
    with pytest.raises(SecurityError) as raised:
        make_guard(["tcp://127.0.0.1:0", endpoint])

    for part in (endpoint, "without keys", "callsheet keys new cluster --role node", "insecure"):
        assert part in str(raised.value)
    assert isinstance(make_guard([endpoint], insecure=True), OpenGuard)
    assert isinstance(make_guard([endpoint], folder.path), KeyGuard)


@pytest.mark.parametrize("endpoint", ["udp://127.0.0.1:5", "inproc://x", "127.0.0.1:5000", ""])
def test_what_is_nothing_to_listen_at_is_refused(endpoint: str) -> None:
    with pytest.raises(SecurityError, match="expected tcp://HOST:PORT or ipc://PATH"):
        check_bind([endpoint], has_keys=True)


@pytest.mark.parametrize("has_keys", [True, False])
def test_a_socket_file_needs_a_folder_of_this_user_alone(tmp_path: Path, has_keys: bool) -> None:
    folder = tmp_path / "sockets"
    endpoint = f"ipc://{folder}/node"

    check_bind([endpoint], has_keys=has_keys)
    folder.mkdir(mode=0o755)
    with pytest.raises(SecurityError, match=re.escape(f"chmod 700 {folder}")):
        check_bind([endpoint], has_keys=has_keys)
    folder.chmod(0o700)
    check_bind([endpoint], has_keys=has_keys)


def test_a_socket_without_a_file_is_refused() -> None:
    with pytest.raises(SecurityError, match="no folder that could guard it"):
        check_bind(["ipc://@callsheet"], has_keys=False)


def test_keys_that_are_not_there_are_an_error_and_not_no_keys(tmp_path: Path) -> None:
    with pytest.raises(SecurityError, match="callsheet keys new cluster --role node"):
        make_guard(["tcp://127.0.0.1:0"], tmp_path / "nowhere")


def test_a_node_that_only_connects_may_have_a_key_of_its_own(folder: KeyFolder) -> None:
    _, secret = folder.new("worker-3", "node", "*", AT)

    assert isinstance(make_guard([], secret), DialGuard)
    assert isinstance(make_guard([], folder.path), KeyGuard)
