"""The folder of keys: who may connect, and the secrets of those who do.

    cluster.secret   the pair of the cluster: every node has it, presents it and is known by it
    cluster.public   who has that pair is a node
    alice.secret     alice's own pair and the cluster's public key: all that her machine needs; it may be moved there
    alice.public     the allow-list's line: her public key, role, tenant, when it was made and when revoked

The files are TOML with a header for people. The folder is for its user alone (0700), the files too (0600); what is open to
others is refused, because whoever can write there can let himself in. Each file is written whole, under another name, and
then put in its place, so that a node that looks at that moment sees the old one or the new one. A name is never used again:
what was done under it stays in the history.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from ...actors.records import DEFAULT_TENANT, MAX_NAME_LENGTH
from ...errors import SecurityError
from .curve import is_key, new_pair, public_of
from .key_file import check_mode, read_record, write_record
from .roles import ALL_TENANTS, ANONYMOUS, UNBOUND_ROLES, Role

FOLDER_VARIABLE: Final = "CALLSHEET_KEYS"
CLUSTER: Final = "cluster"
"""The name of the pair that all nodes share."""

MAX_KEYS: Final = 10_000

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_PUBLIC: Final = ".public"
_SECRET: Final = ".secret"  # noqa: S105 - the end of a file's name


class Permit(Struct, frozen=True, forbid_unknown_fields=True):
    """A line of the allow-list. `created` and `revoked` are instants as text; one that is not revoked has none."""

    name: str
    role: Role
    tenant: str
    public: str
    created: str
    revoked: str = ""

    @property
    def fingerprint(self) -> str:
        """A short form of the public key, to compare by eye."""
        digest = hashlib.sha256(self.public.encode("ascii")).hexdigest()
        return " ".join(digest[start : start + 4] for start in range(0, 20, 4))


class KeyPair(Struct, frozen=True, forbid_unknown_fields=True):
    """A pair with its owner's name, and the public key of the cluster it speaks with. It never shows its secret."""

    name: str
    public: str
    secret: str
    server: str

    def __repr__(self) -> str:
        return f"KeyPair(name={self.name!r}, public={self.public!r})"


Mark = dict[str, tuple[int, int, int]]
"""What tells whether the allow-list has changed: by name the file's inode, its size and when it was touched (ns)."""


def default_folder() -> Path:
    """Where keys are unless it is said: what `CALLSHEET_KEYS` names, else a folder below `~/.config`."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named).expanduser() if named else Path("~/.config/callsheet/keys").expanduser()


class KeyFolder:
    """A folder of keys.

    Args:
        path: made at the first `new` or `allow`.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    # ---- reading --------------------------------------------------------------------------------------------------------

    def permits(self) -> list[Permit]:
        """Everybody who was ever let in, by name, revoked ones too.

        Raises:
            SecurityError: the folder is not there or open to others, or a file in it is, or cannot be read.
        """
        self.check()
        return [self.permit(name) for name in self.names()]

    def names(self) -> list[str]:
        """The names of all who were ever let in, in order.

        Raises:
            SecurityError: the folder cannot be read, or holds more than `MAX_KEYS`.
        """
        try:
            with os.scandir(self.path) as entries:
                found = [entry.name for entry in entries if entry.name.endswith(_PUBLIC)]
        except OSError as error:
            raise SecurityError(f"the folder of keys {self.path} cannot be read: {error}") from None
        if len(found) > MAX_KEYS:
            raise SecurityError(
                f"{self.path} has {len(found):,} keys, the limit is {MAX_KEYS:,}; take out revoked ones"
            )
        return sorted(name.removesuffix(_PUBLIC) for name in found if _NAME.fullmatch(name.removesuffix(_PUBLIC)))

    def permit(self, name: str) -> Permit:
        """One line of the allow-list.

        Raises:
            SecurityError: there is none of this name, or it is not to be trusted.
        """
        path = self._public(name)
        if not _is_there(path):
            raise SecurityError(f"no key {name!r} in {self.path}; `callsheet keys list` shows which there are")
        permit = read_record(path, Permit)
        if permit.name != name or not is_key(permit.public):
            raise SecurityError(f"{path} is not the public key of {name!r}; make it anew by `callsheet keys`")
        return permit

    def pair(self, name: str = CLUSTER) -> KeyPair:
        """A pair that is in this folder.

        Raises:
            SecurityError: it is not there, or not to be trusted.
        """
        self.check()
        path = self._secret(name)
        if not path.exists():
            raise SecurityError(f"{path} is not there; {_how_to_get(name)}")
        return read_pair(path)

    def mark(self) -> Mark:
        """What changes whenever the allow-list does.

        Raises:
            SecurityError: the folder is not there, or open to others.
        """
        self.check()
        found: Mark = {}
        try:
            for name in self.names():
                with suppress(FileNotFoundError):  # taken away just now
                    status = self._public(name).stat()
                    found[name] = (status.st_ino, status.st_size, status.st_ctime_ns)
        except OSError as error:
            raise SecurityError(f"the keys in {self.path} cannot be read: {error}") from None
        return found

    def check(self) -> None:
        """Check that nobody else can read or change what is in the folder.

        Raises:
            SecurityError: it is not there, another user's, or open to others.
        """
        try:
            found = self.path.stat()
        except OSError as error:
            raise SecurityError(
                f"the folder of keys {self.path} cannot be used ({error.strerror}); {_how_to_get(CLUSTER)}"
            ) from None
        if not stat.S_ISDIR(found.st_mode):
            raise SecurityError(f"{self.path} is no folder; name a folder for the keys")
        check_mode(self.path, found, 0o700)

    # ---- writing --------------------------------------------------------------------------------------------------------

    def new(self, name: str, role: Role, tenant: str, now: str) -> tuple[Permit, Path]:
        """Make a pair, let it in, and answer where its secret is.

        Raises:
            SecurityError: the name is taken or cannot be one; the role, the tenant or the folder do not fit.
        """
        self._check_new(name, role, tenant)
        if name == CLUSTER:
            self._make_folder()
        self._check_free(name)
        public, secret = new_pair()
        server = public if name == CLUSTER else self.permit(CLUSTER).public
        permit = Permit(name, role, tenant, public, now)
        header = _secret_header(name, f"{role}, {_whose(tenant)}")
        # the secret first: a permit without one would let nobody in and take the name
        write_record(self._secret(name), KeyPair(name, public, secret, server), header)
        write_record(self._public(name), permit, _permit_header(name))
        return permit, self._secret(name)

    def new_alone(self, name: str, server: str) -> tuple[KeyPair, Path]:
        """Make a pair for a cluster whose keys are elsewhere, and answer where its secret is; it is let in there by `allow`.

        Args:
            name: as it will be allowed.
            server: the cluster's public key.

        Raises:
            SecurityError: the name is taken or cannot be one, `server` is no key, or the folder cannot be used.
        """
        check_key_name(name)
        if name in (ANONYMOUS, CLUSTER):
            raise SecurityError(f"{name!r} is nobody's own name; choose another one")
        if not is_key(server):
            raise SecurityError(f"{server!r} is no public key; `callsheet keys list --json` shows that of the cluster")
        self._make_folder()
        self._check_free(name)
        public, secret = new_pair()
        pair = KeyPair(name, public, secret, server)
        write_record(self._secret(name), pair, _secret_header(name, "rights as the cluster says"))
        return pair, self._secret(name)

    def allow(self, name: str, public: str, role: Role, tenant: str, now: str) -> Permit:
        """Let in a public key that was made elsewhere.

        Raises:
            SecurityError: as for `new`; or it is no key, or somebody's already.
        """
        self._check_new(name, role, tenant)
        if name == CLUSTER:
            raise SecurityError(f"the pair of the cluster is made here, by `callsheet keys new {CLUSTER} --role node`")
        if not is_key(public):
            raise SecurityError(
                f"{public!r} is no public key; expected 40 characters of Z85, as `public` in a .secret file"
            )
        self._check_free(name)
        for other in self.permits():
            if other.public == public:
                raise SecurityError(f"that key is in as {other.name!r} already; a key has one name")
        permit = Permit(name, role, tenant, public, now)
        write_record(self._public(name), permit, _permit_header(name))
        return permit

    def revoke(self, name: str, now: str) -> Permit:
        """Let a key in no more; one that is revoked stays as it is.

        Raises:
            SecurityError: there is none of this name, or it is the cluster's.
        """
        self.check()
        if name == CLUSTER:
            raise SecurityError(
                "the key of the cluster cannot be revoked while nodes use it; make a new folder of keys, and start all nodes with it"
            )
        permit = self.permit(name)
        if not permit.revoked:
            permit = replace(permit, revoked=now)
            write_record(self._public(name), permit, _permit_header(name), replaces=True)
        return permit

    # ---- within ---------------------------------------------------------------------------------------------------------

    def _public(self, name: str) -> Path:
        return self.path / f"{check_key_name(name)}{_PUBLIC}"

    def _secret(self, name: str) -> Path:
        return self.path / f"{check_key_name(name)}{_SECRET}"

    def _check_new(self, name: str, role: Role, tenant: str) -> None:
        check_key_name(name)
        if name == ANONYMOUS:
            raise SecurityError(f"{ANONYMOUS!r} is what who comes without a key is called; choose another name")
        if name == CLUSTER and role != "node":
            raise SecurityError(f"{CLUSTER!r} is the pair of the nodes: `callsheet keys new {CLUSTER} --role node`")
        if role in UNBOUND_ROLES and tenant != ALL_TENANTS:
            raise SecurityError(
                f"the role {role} has all tenants; leave out the tenant {tenant!r}, or choose a lesser role"
            )
        if not 0 < len(tenant) <= MAX_NAME_LENGTH or not tenant.isprintable():
            raise SecurityError(
                f"a tenant is printable text of 1 to {MAX_NAME_LENGTH} characters; {tenant!r} was given"
            )

    def _check_free(self, name: str) -> None:
        self.check()
        for path in (self._public(name), self._secret(name)):
            if _is_there(path):
                raise SecurityError(f"{path} is there already, and a name is never used again; choose another one")

    def _make_folder(self) -> None:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SecurityError(f"the folder of keys {self.path} cannot be made: {error}") from None


def read_pair(path: str | os.PathLike[str]) -> KeyPair:
    """Read a .secret file, wherever it is.

    Raises:
        SecurityError: it is not there, open to others, or no such file.
    """
    path = Path(path).expanduser()
    pair = read_record(path, KeyPair)
    if (
        not all(is_key(text) for text in (pair.public, pair.secret, pair.server))
        or public_of(pair.secret) != pair.public
    ):
        raise SecurityError(f"{path} holds no key pair; make a new one by `callsheet keys new`")
    check_key_name(pair.name)
    return pair


def check_key_name(name: str) -> str:
    """Return a name as it is.

    Raises:
        SecurityError: it is not made of letters, digits, `.`, `_` and `-`.
    """
    if not _NAME.fullmatch(name):
        raise SecurityError(
            f"a key's name has 1 to 64 letters, digits, dots, dashes and underscores; {name!r} was given"
        )
    return name


def usual_tenant(role: Role) -> str:
    """The tenant of a key for which none is said."""
    return ALL_TENANTS if role in UNBOUND_ROLES else DEFAULT_TENANT


def _is_there(path: Path) -> bool:
    """Whether there is such a file.

    Raises:
        SecurityError: that cannot be told.
    """
    try:
        return path.exists()
    except OSError as error:
        raise SecurityError(f"{path} cannot be looked at: {error.strerror}; see that its folder can be read") from None


def _secret_header(name: str, rights: str) -> str:
    return f"The secret key of {name} ({rights}).\nWhoever can read this file is {name}: keep it 0600, never mail it."


def _permit_header(name: str) -> str:
    ends = "" if name == CLUSTER else f", `callsheet keys revoke {name}` ends it"
    return f"Who may connect as {name}. `callsheet keys list` shows it{ends}."


def _whose(tenant: str) -> str:
    return "all tenants" if tenant == ALL_TENANTS else f"tenant {tenant}"


def _how_to_get(name: str) -> str:
    if name == CLUSTER:
        return f"make the cluster's pair by `callsheet keys new {CLUSTER} --role node`, or copy it from another node"
    return f"make it by `callsheet keys new {name}` where the cluster's keys are"
