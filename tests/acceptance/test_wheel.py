"""The wheel brings `callsheet` and nothing else, and works where there is no checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from pathlib import Path

import pytest

from support.source import ROOT, files

JOB = """
from pathlib import Path

import callsheet
from callsheet import Scheduler


def add(left, right):
    return left + right


if __name__ == "__main__":
    with Scheduler("memory://") as scheduler:
        print(Path(callsheet.__file__).resolve())
        print(scheduler.submit(add, 20, 22).result(timeout=10))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of a copy: building leaves traces that are not to be in the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for path in files():
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / path, source / path)
    _pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", folder, source)
    [built] = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of a fresh environment with the wheel; no index is asked.

    The dependencies are links to those of this environment, of which all but `callsheet` itself
    are shown to the new one.
    """
    folder = tmp_path_factory.mktemp("installed")
    environment, dependencies = folder / "environment", folder / "dependencies"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    dependencies.mkdir()
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if path.name != "callsheet":
            (dependencies / path.name).symlink_to(path)
    python = environment / "bin" / "python"
    where = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site_packages = Path(subprocess.check_output([python, "-c", where], text=True).rstrip("\n"))
    (site_packages / "dependencies.pth").write_text(f"{dependencies}\n")
    _pip("--python", python, "install", "--no-deps", wheel)
    return environment / "bin"


def _pip(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "pip", *arguments, "--quiet", "--no-index", "--disable-pip-version-check"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def _run(*command: str | Path, folder: Path) -> str:
    """What a command prints, run in a folder far from the checkout."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    ran = subprocess.run(command, check=False, capture_output=True, text=True, cwd=folder, env=environment, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_the_wheel_brings_only_callsheet(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    information = f"callsheet-{version}.dist-info"
    code = [name for name in names if not name.startswith(f"{information}/")]

    assert {name.partition("/")[0] for name in names} == {"callsheet", information}
    assert [name for name in code if not name.endswith(".py") and name != "callsheet/py.typed"] == []
    assert {"callsheet/__init__.py", "callsheet/py.typed", "callsheet/actors/actor.py"} <= set(code)
    assert [name for name in code if name.split("/")[1] in ("tests", "scripts", "benchmarks", "docs")] == []
    assert f"{information}/licenses/LICENSE" in names


def test_the_installed_wheel_runs_a_job(installed: Path, tmp_path: Path) -> None:
    script = tmp_path / "job.py"
    script.write_text(JOB)

    file, result = _run(installed / "python", script, folder=tmp_path).splitlines()

    assert Path(file).is_relative_to(installed.parent.resolve())
    assert result == "42"


def test_the_installed_wheel_has_the_command(installed: Path, tmp_path: Path) -> None:
    assert "callsheet" in _run(installed / "callsheet", "--help", folder=tmp_path)
