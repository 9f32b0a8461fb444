"""The code of the README runs as it stands.

Each block of Python is run in an empty folder, as a program of its own. A block behind the comment `<!-- not run -->` is left
out. A program that stays (`scheduler.run()`) is ended by SIGINT after a moment, and must end well.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from support.source import ROOT

README = ROOT / "README.md"
NOT_RUN = "<!-- not run -->"
STAYS_S = 2.0
LONGEST_S = 30.0
FENCE = re.compile(r"^(?P<indent> *)```python[^\n]*\n(?P<code>.*?)^(?P=indent)```\s*$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of Python of a text, and the number of its first line."""

    line: int
    code: str


def blocks_of(text: str) -> list[Block]:
    """The blocks that are to be run."""
    found = []
    for match in FENCE.finditer(text):
        if text[: match.start()].rstrip().endswith(NOT_RUN):
            continue
        indent = match["indent"]
        code = "".join(line.removeprefix(indent) for line in match["code"].splitlines(keepends=True))
        found.append(Block(text.count("\n", 0, match.start()) + 2, code))
    return found


def play(code: str, folder: Path, *, stays_s: float = STAYS_S) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder; one that stays is told to end."""
    program = folder / "program.py"
    program.write_text(code, encoding="utf-8")
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    process = subprocess.Popen(
        [sys.executable, program],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    stays = re.search(r"\.run\(\)", code) is not None
    try:
        if stays:
            try:
                said, complained = process.communicate(timeout=stays_s)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
                said, complained = process.communicate(timeout=LONGEST_S)
        else:
            said, complained = process.communicate(timeout=LONGEST_S)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, said, complained)


def _readme() -> list[Block]:
    return blocks_of(README.read_text("utf-8")) if README.exists() else []


@pytest.mark.parametrize("block", _readme(), ids=lambda block: f"line {block.line}")
def test_the_code_of_the_readme_runs(block: Block, tmp_path: Path) -> None:
    ran = play(block.code, tmp_path)

    assert ran.returncode == 0, f"README.md:{block.line}: exit {ran.returncode}\n{ran.stdout}{ran.stderr}"
    assert "Traceback" not in ran.stderr, f"README.md:{block.line}:\n{ran.stderr}"


@pytest.mark.skipif(not README.exists(), reason="there is no README yet")
def test_the_readme_has_code_that_runs() -> None:
    assert _readme()


# ---- the harness itself -------------------------------------------------------------------------------------------------


def test_blocks_are_found_and_those_that_are_marked_are_left_out() -> None:
    text = f"# x\n\n```python\na = 1\n```\n\n{NOT_RUN}\n```python\nb\n```\n\n```sh\nc\n```\n\n- d\n  ```python\n  e = 2\n  ```\n"

    assert blocks_of(text) == [Block(4, "a = 1\n"), Block(18, "e = 2\n")]


def test_a_program_that_stays_is_ended_and_one_that_fails_is_seen(tmp_path: Path) -> None:
    stays = "from callsheet import Scheduler\nscheduler = Scheduler('memory://')\nscheduler.run()\nprint('over')\n"

    assert play(stays, tmp_path).stdout == "over\n"
    assert play("raise SystemExit(3)", tmp_path).returncode == 3
    assert "ZeroDivisionError" in play("1 / 0", tmp_path).stderr
