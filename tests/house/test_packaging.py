"""What pyproject.toml says of the package is what the folders say."""

import tomllib
from collections.abc import Iterable
from pathlib import PurePosixPath

from support.source import OUTSIDE_PACKAGE, ROOT, assert_none, files

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def packages_among(paths: Iterable[PurePosixPath]) -> list[str]:
    """The packages that files make, by the folders with an __init__.py."""
    folders = (path.parent for path in paths if path.name == "__init__.py" and path.parts[0] not in OUTSIDE_PACKAGE)
    return sorted(".".join(("callsheet", *folder.parts)) for folder in folders)


def folders_without_init(paths: Iterable[PurePosixPath]) -> list[str]:
    """Folders with Python files that no package list would find."""
    paths = list(paths)
    folders = {path.parent for path in paths if path.suffix == ".py" and path.parts[0] not in OUTSIDE_PACKAGE}
    return sorted(str(folder) for folder in folders if folder / "__init__.py" not in paths)


def test_the_package_list_is_that_of_the_folders() -> None:
    listed = PYPROJECT["tool"]["setuptools"]["packages"]
    found = packages_among(files())
    assert listed == sorted(listed)
    assert_none(f"add {name} to [tool.setuptools] packages in pyproject.toml" for name in found if name not in listed)
    assert_none(
        f"{name} is listed, but there is no such folder with an __init__.py" for name in listed if name not in found
    )


def test_every_folder_of_the_package_has_an_init() -> None:
    assert_none(f"{folder} has no __init__.py, and so is not in the wheel" for folder in folders_without_init(files()))


def test_only_the_package_goes_to_the_top_of_site_packages() -> None:
    setuptools = PYPROJECT["tool"]["setuptools"]
    assert setuptools["package-dir"] == {"callsheet": "."}
    assert [name for name in setuptools["packages"] if name.partition(".")[0] != "callsheet"] == []
    assert (ROOT / "py.typed").exists()


def test_the_extra_named_all_has_every_extra() -> None:
    extras = PYPROJECT["project"]["optional-dependencies"]
    named = ",".join(name for name in extras if name != "all")
    assert extras["all"] == [f"callsheet[{named}]"]


def test_planted_folders_are_found() -> None:
    paths = [PurePosixPath(path) for path in ("__init__.py", "actors/__init__.py", "web/page.py", "tests/__init__.py")]

    assert packages_among(paths) == ["callsheet", "callsheet.actors"]
    assert folders_without_init(paths) == ["web"]
