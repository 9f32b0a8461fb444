"""Makes the checkout's private environment; called by scripts/environment, standard library only.

The environment is a venv at .venv with the dependencies of pyproject.toml, a link `callsheet` to
the checkout in its site-packages, and the command `callsheet`. The link, and not an editable
install, because the root of the repository is the package: so pytest, type checkers and editors
see one tree under one name, whatever the checkout is called and wherever it is moved.

A stamp for each profile holds the hash of pyproject.toml it was made from, and is written last:
an interrupted installation is repeated, a finished one costs nothing. Scripts that start at once
take turns on a lock.
"""

import fcntl
import hashlib
import os
import re
import subprocess
import sys
import tomllib
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYPROJECT = ROOT / "pyproject.toml"
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
COMMAND_FILE = ENVIRONMENT / "bin" / "callsheet"

# Extras and dependency groups of each profile.
PROFILES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "run": (("cli",), ()),
    "dev": (("cli", "http"), ("dev",)),
}
# A stamp of one of these will do.
SATISFIED_BY = {"run": ("run", "dev"), "dev": ("dev",)}

COMMAND = """\
#!/bin/sh
'''exec' "$(dirname -- "$(readlink -f -- "$0")")/python" "$0" "$@"
' '''
import sys

from {module} import {function}

sys.exit({function}())
"""


def main(arguments: list[str]) -> int:
    profile = arguments[0] if arguments else "run"
    if profile not in PROFILES or len(arguments) > 1:
        print(f"usage: scripts/environment [{'|'.join(PROFILES)}]", file=sys.stderr)
        return 2
    with _turn():
        if not _is_current(profile):
            _prepare(profile)
    return 0


@contextmanager
def _turn() -> Iterator[None]:
    with PYPROJECT.open("rb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("callsheet: another script is preparing .venv, waiting for it", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _is_current(profile: str) -> bool:
    wanted = _fingerprint()
    if all(_read(_stamp(name)) != wanted for name in SATISFIED_BY[profile]):
        return False
    link = _site_packages() / "callsheet" if _runs("-c", "") else None
    return link is not None and link.is_symlink() and link.resolve() == ROOT and COMMAND_FILE.exists()


def _prepare(profile: str) -> None:
    if not _runs("-m", "pip", "--version"):
        _say(f"making .venv with Python {sys.version.split()[0]}")
        venv.EnvBuilder(clear=True, symlinks=True, with_pip=True).create(ENVIRONMENT)
    requirements = _requirements(profile)
    _say(f"installing {len(requirements)} dependencies into .venv")
    command = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check", *requirements]
    if subprocess.run(command, check=False, stdout=sys.stderr).returncode != 0:
        sys.exit("callsheet: could not install the dependencies (see above); is the package index reachable?")
    _link()
    _stamp(profile).write_text(_fingerprint())


def _requirements(profile: str) -> list[str]:
    pyproject = tomllib.loads(PYPROJECT.read_text())
    extras, groups = PROFILES[profile]
    found = list(pyproject["project"]["dependencies"])
    for extra in extras:
        found += pyproject["project"]["optional-dependencies"][extra]
    for group in groups:
        found += pyproject["dependency-groups"][group]
    # `callsheet[x]` in an extra or group stands for another extra; none is used by a profile.
    assert not any(isinstance(each, str) and each.startswith("callsheet") for each in found)
    return found


def _link() -> None:
    link = _site_packages() / "callsheet"
    link.unlink(missing_ok=True)
    # Relative, so that the checkout may be moved.
    link.symlink_to(os.path.relpath(ROOT, link.parent.resolve()))

    entry = tomllib.loads(PYPROJECT.read_text())["project"]["scripts"]["callsheet"]
    module, function = re.fullmatch(r"([\w.]+):(\w+)", entry).groups()  # type: ignore[union-attr]  # our own file
    COMMAND_FILE.write_text(COMMAND.format(module=module, function=function))
    COMMAND_FILE.chmod(0o755)


def _site_packages() -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.check_output([PYTHON, "-c", code], text=True).rstrip("\n"))


def _fingerprint() -> str:
    return hashlib.sha256(PYPROJECT.read_bytes()).hexdigest()


def _stamp(profile: str) -> Path:
    return ENVIRONMENT / f"callsheet-{profile}.sha256"


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _runs(*arguments: str) -> bool:
    """Whether the environment's Python is there, alive, and exits 0 with the arguments."""
    if not PYTHON.exists():
        return False
    return subprocess.run([PYTHON, *arguments], check=False, capture_output=True, cwd=ENVIRONMENT).returncode == 0


def _say(what: str) -> None:
    print(f"callsheet: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
