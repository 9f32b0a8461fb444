"""The command that makes keys: what it says, what it leaves, and what it never shows."""

import io
import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from callsheet.cli.application import run
from callsheet.cli.keys_command import COLUMNS
from callsheet.cli.output import make_table
from callsheet.transport.security import KeyFolder, read_pair

NEW_CLUSTER = ("keys", "new", "cluster", "--role", "node")


@dataclass
class Ran:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Command = Callable[..., Ran]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Runs the command in this process, which is quicker; a test of its own starts one."""

    def call(*arguments: str) -> Ran:
        code = run(list(arguments))
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    return call


@pytest.fixture
def keys(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of keys with the pair of a cluster; the command finds it by its environment."""
    folder = tmp_path / "keys"
    monkeypatch.setenv("CALLSHEET_KEYS", str(folder))
    ran = command(*NEW_CLUSTER)
    assert ran.code == 0, ran.err
    return folder


@pytest.fixture
def local_time(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets this process's time zone, and takes it back."""

    def become(zone: str) -> None:
        monkeypatch.setenv("TZ", zone)
        time.tzset()

    yield become
    monkeypatch.undo()
    time.tzset()


def rows_of(ran: Ran) -> dict[str, dict[str, str]]:
    """The table of a pipe, by name, each row by its titles."""
    titles, *lines = ran.out.splitlines()
    rows = [dict(zip(titles.split("\t"), line.split("\t"), strict=True)) for line in lines]
    return {row["NAME"]: row for row in rows}


def test_a_new_key_is_two_files_that_only_their_owner_may_open(command: Command, keys: Path) -> None:
    ran = command("keys", "new", "alice", "--role", "operator", "--tenant", "press")

    assert ran.code == 0, ran.err
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert {path.name: stat.S_IMODE(path.stat().st_mode) for path in keys.iterdir()} == dict.fromkeys(
        ("alice.public", "alice.secret", "cluster.public", "cluster.secret"), 0o600
    )
    pair = read_pair(keys / "alice.secret")
    permit = KeyFolder(keys).permit("alice")
    assert (permit.role, permit.tenant, permit.public) == ("operator", "press", pair.public)
    assert pair.server == KeyFolder(keys).pair().public


def test_what_is_to_be_copied_where_is_said_and_no_secret(command: Command, keys: Path) -> None:
    ran = command("keys", "new", "alice")

    assert f"{keys / 'alice.secret'}: move it to where alice connects from" in ran.out
    assert f"{keys / 'alice.public'}: copy it into the folder of keys of every node" in ran.out
    assert read_pair(keys / "alice.secret").secret not in ran.out + ran.err


@pytest.mark.parametrize("as_json", [True, False])
def test_a_secret_is_shown_when_it_is_asked_for(command: Command, keys: Path, as_json: bool) -> None:
    ran = command("keys", "new", "alice", "--show-secret", *(["--json"] if as_json else []))

    secret = read_pair(keys / "alice.secret").secret
    assert secret == ran.json["secret"] if as_json else f'secret = "{secret}"' in ran.out


def test_the_file_of_the_cluster_does_not_say_that_it_can_be_revoked(command: Command, keys: Path) -> None:
    command("keys", "new", "alice")

    assert "`callsheet keys revoke alice` ends it" in (keys / "alice.public").read_text()
    assert "keys revoke" not in (keys / "cluster.public").read_text()
    assert command("keys", "revoke", "cluster").code == 1


def test_the_list_shows_rights_and_never_a_secret(command: Command, keys: Path) -> None:
    command("keys", "new", "alice", "--role", "author", "--tenant", "press")
    command("keys", "new", "root", "--role", "admin")

    plain, as_json = command("keys", "list"), command("keys", "list", "--json")

    rows = rows_of(plain)
    assert {name: (row["ROLE"], row["TENANT"], row["REVOKED"]) for name, row in rows.items()} == {
        "alice": ("author", "press", ""),
        "cluster": ("node", "*", ""),
        "root": ("admin", "*", ""),
    }
    assert all(row["CREATED"].endswith("Z") and row["FINGERPRINT"] for row in rows.values())
    assert [row["name"] for row in as_json.json] == ["alice", "cluster", "root"]
    for name in rows:
        assert read_pair(keys / f"{name}.secret").secret not in plain.out + as_json.out


def test_on_a_narrow_terminal_names_and_rights_are_shown_whole_and_times_are_local(
    command: Command, keys: Path, local_time: Callable[[str], None]
) -> None:
    command("keys", "new", "alice", "--role", "operator")
    row = {**command("keys", "list", "--json").json[0], "created": "2030-05-01T12:00:00Z"}
    row["revoked"] = "2030-05-02T12:00:00Z"
    local_time("America/New_York")
    console = Console(width=80, file=io.StringIO(), highlight=False)
    with console.capture() as shown:
        console.print(make_table([row], COLUMNS))

    line = shown.get().splitlines()[3]
    assert line.split()[:7] == ["alice", "operator", "default", "2030-05-01", "08:00", "2030-05-02", "08:00"]


def test_a_revoked_key_stays_in_the_list_with_the_instant(command: Command, keys: Path) -> None:
    command("keys", "new", "alice")

    ran = command("keys", "revoke", "alice")

    assert ran.code == 0
    revoked = rows_of(command("keys", "list"))["alice"]["REVOKED"]
    assert revoked in ran.out
    assert command("keys", "revoke", "alice").code == 0
    assert rows_of(command("keys", "list"))["alice"]["REVOKED"] == revoked


def test_a_key_made_elsewhere_is_let_in_and_its_secret_never_travels(
    command: Command, keys: Path, tmp_path: Path
) -> None:
    server = KeyFolder(keys).pair().public
    elsewhere = ["--folder", str(tmp_path / "elsewhere")]

    made = command("keys", "new", "alice", "--server", server, *elsewhere, "--json").json
    ran = command("keys", "allow", "alice", made["public"], "--role", "operator")

    assert ran.code == 0, ran.err
    assert server in ran.out
    pair = read_pair(made["secret_file"])
    assert pair.server == server
    assert KeyFolder(keys).permit("alice").public == pair.public
    assert not (keys / "alice.secret").exists()
    assert [path.name for path in (tmp_path / "elsewhere").iterdir()] == ["alice.secret"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["new", "alice", "--role", "boss"], 2, "--role is one of viewer, operator, author, admin, node"),
        (["new", "../alice"], 1, "letters, digits"),
        (["new", "anonymous"], 1, "choose another name"),
        (["new", "cluster", "--role", "admin"], 1, "keys new cluster --role node"),
        (["new", "cluster", "--role", "node"], 1, "is there already"),
        (["new", "root", "--role", "admin", "--tenant", "press"], 1, "the role admin has all tenants"),
        (["new", "alice", "--tenant", "a\nb"], 1, "printable text"),
        (["new", "alice", "--server", "short"], 1, "is no public key"),
        (["allow", "alice", "short"], 1, "expected 40 characters"),
        (["allow", "cluster", "0" * 40, "--role", "node"], 1, "is made here"),
        (["revoke", "nobody"], 4, "no key 'nobody'"),
        (["revoke", "cluster"], 1, "cannot be revoked"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_and_changes_nothing(
    command: Command, keys: Path, arguments: list[str], code: int, said: str
) -> None:
    before = {path.name: path.read_bytes() for path in keys.iterdir()}

    ran = command("keys", *arguments)

    assert ran.code == code
    assert said in ran.err
    assert ran.err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in keys.iterdir()} == before


def test_a_name_is_never_used_again(command: Command, keys: Path) -> None:
    command("keys", "new", "alice")
    command("keys", "revoke", "alice")
    before = (keys / "alice.public").read_bytes()

    again = command("keys", "new", "alice", "--role", "admin")

    assert (again.code, "never used again" in again.err) == (1, True)
    assert (keys / "alice.public").read_bytes() == before


def test_a_key_has_one_name(command: Command, keys: Path) -> None:
    command("keys", "new", "alice")

    ran = command("keys", "allow", "eve", read_pair(keys / "alice.secret").public, "--role", "admin")

    assert (ran.code, "is in as 'alice' already" in ran.err) == (1, True)


def test_without_the_pair_of_a_cluster_it_is_said_how_to_make_it(command: Command, tmp_path: Path) -> None:
    ran = command("keys", "new", "alice", "--folder", str(tmp_path / "nowhere"))

    assert ran.code == 1
    assert "callsheet keys new cluster --role node" in ran.err
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("arguments", [["list"], ["new", "bob"], ["revoke", "alice"]])
def test_a_folder_that_others_may_enter_is_refused(command: Command, keys: Path, arguments: list[str]) -> None:
    command("keys", "new", "alice")
    keys.chmod(0o750)

    ran = command("keys", *arguments)

    assert ran.code == 1
    assert "open to others (mode 0750); it must be 0700" in ran.err


def test_a_file_that_others_may_read_is_refused(command: Command, keys: Path) -> None:
    (keys / "cluster.public").chmod(0o644)

    ran = command("keys", "list")

    assert ran.code == 1
    assert f"{keys / 'cluster.public'} is open to others (mode 0644); it must be 0600" in ran.err


def test_keys_are_made_for_their_owner_alone_whatever_the_umask_says(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "open"
    before = os.umask(0)
    try:
        ran = command(*NEW_CLUSTER, "--folder", str(folder))
    finally:
        os.umask(before)

    assert ran.code == 0, ran.err
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "cluster.secret").stat().st_mode) == 0o600


def test_the_command_that_is_installed_makes_keys_too(shell: Any) -> None:
    ran = shell(*NEW_CLUSTER, "--folder", "keys")

    assert ran.code == 0, ran.err
    assert KeyFolder(shell.folder / "keys").pair().name == "cluster"
