"""Where nodes of one machine listen."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from callsheet.transport.local_endpoint import (
    LEFT_OVER_AFTER_S,
    MAX_PATH_BYTES,
    check_folder,
    ipc_endpoint,
    living_endpoints,
    make_folder,
    private_folder,
)

INCARNATION = "1234567-0123456789ab"


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))


def path_of(endpoint: str) -> Path:
    assert endpoint.startswith("ipc://")
    return Path(endpoint.removeprefix("ipc://"))


def test_a_node_listens_in_a_folder_beside_the_store() -> None:
    assert ipc_endpoint(Path("/data/jobs.db"), INCARNATION) == f"ipc:///data/jobs.db.nodes/{INCARNATION}.ipc"


def test_lives_on_one_store_listen_at_places_of_their_own_also_for_a_long_name() -> None:
    long = Path("/" + "deep/" * 30) / "jobs.db"
    for store in (Path("/data/jobs.db"), long):
        found = {ipc_endpoint(store, f"{INCARNATION}{number}") for number in range(10)}
        assert len(found) == 10


def test_a_path_that_is_too_long_for_a_socket_is_replaced_by_one_in_a_folder_of_the_user() -> None:
    near = len(str(Path("/jobs.db.nodes") / f"{INCARNATION}.ipc"))
    longest = Path("/" + "x" * (MAX_PATH_BYTES - near) + "jobs.db")
    assert path_of(ipc_endpoint(longest, INCARNATION)).parent == Path(f"{longest}.nodes")
    longer = Path(f"/{longest}x")
    assert path_of(ipc_endpoint(longer, INCARNATION)).parent == private_folder()


def test_the_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    endpoint = ipc_endpoint(tmp_path / "s", "1-a")
    make_folder(endpoint)
    make_folder(endpoint)
    assert stat.S_IMODE(path_of(endpoint).parent.stat().st_mode) == 0o700


def test_the_nodes_that_listen_beside_a_store_are_found(tmp_path: Path) -> None:
    store = tmp_path / "s"
    assert living_endpoints(store) == []
    endpoints = [ipc_endpoint(store, name) for name in ("1-a", "2-b")]
    make_folder(endpoints[0])
    with socket.socket(socket.AF_UNIX) as alive, socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path_of(endpoints[0])))
        alive.bind(str(path_of(endpoints[1])))
        alive.listen()
        (path_of(endpoints[0]).parent / "text").write_text("no socket")
        assert living_endpoints(store) == endpoints[1:]


def test_a_folder_that_is_open_to_others_is_refused_by_who_binds_and_by_who_connects() -> None:
    endpoint = ipc_endpoint(Path("/" + "deep/" * 30) / "jobs.db", INCARNATION)
    private_folder().mkdir(mode=0o700)
    check_folder(endpoint)
    private_folder().chmod(0o755)
    with pytest.raises(PermissionError, match="not a folder of this user alone"):
        make_folder(endpoint)
    with pytest.raises(PermissionError, match="not a folder of this user alone"):
        check_folder(endpoint)


def test_the_sockets_of_the_dead_are_swept_away_and_those_of_the_living_stay(tmp_path: Path) -> None:
    folder = private_folder()
    folder.mkdir(mode=0o700)
    old = (LEFT_OVER_AFTER_S * 2, 0)
    with (
        socket.socket(socket.AF_UNIX) as alive,
        socket.socket(socket.AF_UNIX) as dead,
        socket.socket(socket.AF_UNIX) as young,
    ):
        for name, each in (("alive", alive), ("dead", dead), ("young", young)):
            each.bind(str(folder / name))
            if name != "young":
                os.utime(folder / name, old)
        alive.listen()
        (folder / "text").write_text("no socket")
        os.utime(folder / "text", old)
        make_folder(f"ipc://{folder}/new.ipc")
    assert sorted(path.name for path in folder.iterdir()) == ["alive", "text", "young"]
