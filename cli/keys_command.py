"""`callsheet keys new`, `list`, `allow` and `revoke`: who may connect to a cluster, and as what."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from ..transport.security import CLUSTER, KeyFolder, Permit, default_folder, read_pair
from ..transport.security.keys import FOLDER_VARIABLE, usual_tenant
from ..transport.security.roles import ALL_TENANTS, ROLES, Role
from .option import DebugOption, JsonOption
from .outcome import NotFound, WrongUsage
from .output import Column, show_json, show_table, utc_text

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Whose key it is.", show_default=False)]
FolderOption = Annotated[
    Path | None,
    typer.Option(
        "--folder",
        metavar="FOLDER",
        help=f"Where the keys are. [default: ${FOLDER_VARIABLE}, else ~/.config/callsheet/keys]",
        show_default=False,
    ),
]
RoleOption = Annotated[str, typer.Option("--role", metavar="ROLE", help=f"What it may do: {', '.join(ROLES)}.")]
TenantOption = Annotated[
    str | None,
    typer.Option(
        "--tenant",
        metavar="NAME",
        help=f"Whose jobs it may see and change; {ALL_TENANTS!r} for all. An admin and a node have all. [default: default]",
        show_default=False,
    ),
]

COLUMNS: Final = (
    Column("NAME", lambda row: row["name"]),
    Column("ROLE", lambda row: row["role"]),
    Column("TENANT", lambda row: row["tenant"]),
    Column("CREATED", lambda row: _instant(row["created"])),
    Column("REVOKED", lambda row: _instant(row["revoked"])),
    Column("FINGERPRINT", lambda row: row["fingerprint"], wide=True),
)


def new_command(
    name: NameArgument,
    role: RoleOption = "viewer",
    tenant: TenantOption = None,
    folder: FolderOption = None,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="PUBLIC_KEY",
            help="Make only the secret, here, for the cluster of this public key; somebody there must `allow` it.",
            show_default=False,
        ),
    ] = None,
    show_secret: Annotated[
        bool, typer.Option("--show-secret", help="Also print the file with the secret, to carry it by hand.")
    ] = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a key pair and let it in.

    Once for a cluster: `callsheet keys new cluster --role node`. Then one for each person or program that connects.
    """
    del debug
    checked = _role(role)
    keys = _folder(folder)
    if server is not None:
        _new_alone(keys, name, server, as_json=as_json)
        return
    permit, secret = keys.new(name, checked, tenant or usual_tenant(checked), _now())
    if as_json:
        shown = {"secret_file": str(secret), "public_file": str(secret.with_suffix(".public"))}
        show_json(_told(permit) | shown | ({"secret": read_pair(secret).secret} if show_secret else {}))
        return
    _tell(permit)
    if name == CLUSTER:
        print(f"{secret}: copy it into the folder of keys of every node (0600), and nowhere else")
    else:
        print(f"{secret}: move it to where {name} connects from (0600); whoever reads it is {name}")
        _tell_public(keys, permit)
    if show_secret:
        print(secret.read_text("utf-8"), end="")


def _new_alone(keys: KeyFolder, name: str, server: str, *, as_json: bool) -> None:
    pair, secret = keys.new_alone(name, server)
    if as_json:
        show_json({"name": name, "public": pair.public, "secret_file": str(secret)})
        return
    print(f"{secret}: keep it 0600; whoever reads it is {name}")
    print(f"where the cluster's keys are: callsheet keys allow {name} '{pair.public}' --role ROLE --tenant NAME")


def list_command(folder: FolderOption = None, as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Show who was ever let in, with what rights. Never shows a secret."""
    del debug
    rows = [_told(permit) for permit in _folder(folder).permits()]
    if as_json:
        show_json(rows)
    else:
        show_table(rows, COLUMNS, "no keys; make the cluster's by `callsheet keys new cluster --role node`")


def allow_command(
    name: NameArgument,
    public_key: Annotated[
        str, typer.Argument(metavar="PUBLIC_KEY", help="The 40 characters of `public` in its file.", show_default=False)
    ],
    role: RoleOption = "viewer",
    tenant: TenantOption = None,
    folder: FolderOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Let in a key that was made elsewhere, so that its secret never travels."""
    del debug
    checked = _role(role)
    keys = _folder(folder)
    permit = keys.allow(name, public_key, checked, tenant or usual_tenant(checked), _now())
    if as_json:
        show_json(_told(permit))
        return
    _tell(permit)
    _tell_public(keys, permit)
    print(f"{name} also needs the cluster's public key, as `server` in its file: {keys.permit(CLUSTER).public}")


def revoke_command(
    name: NameArgument, folder: FolderOption = None, as_json: JsonOption = False, debug: DebugOption = False
) -> None:
    """Let a key in no more. Nodes that use this folder refuse it within a second, also on lines that stand."""
    del debug
    keys = _folder(folder)
    keys.check()
    if name not in keys.names():
        raise NotFound(f"no key {name!r} in {keys.path}; `callsheet keys list` shows which there are")
    permit = keys.revoke(name, _now())
    if as_json:
        show_json(_told(permit))
        return
    print(f"{name}: revoked {permit.revoked}")
    _tell_public(keys, permit)


def _tell(permit: Permit) -> None:
    whose = "all tenants" if permit.tenant == ALL_TENANTS else f"tenant {permit.tenant}"
    print(f"{permit.name}: {permit.role}, {whose}; fingerprint {permit.fingerprint}")


def _tell_public(keys: KeyFolder, permit: Permit) -> None:
    print(f"{keys.path / permit.name}.public: copy it into the folder of keys of every node that has one of its own")


def _told(permit: Permit) -> dict[str, Any]:
    return {
        "name": permit.name,
        "role": permit.role,
        "tenant": permit.tenant,
        "created": permit.created,
        "revoked": permit.revoked or None,
        "fingerprint": permit.fingerprint,
        "public": permit.public,
    }


def _instant(written: str | None) -> datetime | str | None:
    """What stands in a file as a moment; as it stands where it is none, because a person may have written it."""
    try:
        return written and datetime.fromisoformat(written)
    except ValueError:
        return written


def _role(given: str) -> Role:
    if given not in ROLES:
        raise WrongUsage(f"--role is one of {', '.join(ROLES)}; {given!r} was given")
    return given


def _folder(given: Path | None) -> KeyFolder:
    return KeyFolder(default_folder() if given is None else given)


def _now() -> str:
    return utc_text(datetime.now(UTC).replace(microsecond=0))
