"""No file knows the machine it was written on."""

import re
from collections.abc import Iterator

import pytest

from support.source import ROOT, assert_none, files

# A home or a working folder of somebody's machine; system folders (/etc, /usr, /tmp, /var) are everybody's.
MACHINE_PATH = re.compile(r"(?<![\w.~*}/-])(/(home|Users|root|work|workspace|mnt|opt|srv)/\w|[A-Z]:\\Users\\)")
# Files that show such paths on purpose, and why.
ALLOWED: dict[str, str] = {
    "tests/house/test_text.py": "it plants some",
}


def machine_paths(path: str, text: str) -> Iterator[str]:
    if path in ALLOWED:
        return
    for number, line in enumerate(text.splitlines(), start=1):
        if found := MACHINE_PATH.search(line):
            yield f"{path}:{number}: {found.group()}… is a path of one machine; compute it, or use a temporary folder"


def test_no_file_names_a_path_of_one_machine() -> None:
    texts = {str(path): (ROOT / path).read_bytes().decode("utf-8", errors="replace") for path in files()}

    assert "pyproject.toml" in texts
    assert_none(breach for path, text in texts.items() for breach in machine_paths(path, text))


@pytest.mark.parametrize(
    "text", ["cd /home/me/callsheet", "x = '/root/x'", "(/Users/me)", "C:\\Users\\me", "a\nPATH=/opt/x"]
)
def test_a_planted_path_is_found(text: str) -> None:
    assert len(list(machine_paths("README.md", text))) == 1


@pytest.mark.parametrize("text", ["/etc/crontab", "https://example.org/home/me", "~/work/x", "/tmp/x", "$HOME/work/x"])
def test_a_path_of_every_machine_is_no_breach(text: str) -> None:
    assert list(machine_paths("README.md", text)) == []
