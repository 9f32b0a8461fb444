"""Nodes as processes of their own: `callsheet node` in a folder, with what it prints and what its jobs leave behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.waiting import eventually

WITHIN_S = 60.0
"""Starting Python takes seconds where other tests run beside."""

COMMAND = [sys.executable, "-m", "callsheet.cli"]


class NodeProcess:
    """A process that runs a node."""

    def __init__(self, name: str, process: subprocess.Popen[str], out: Path, err: Path) -> None:
        self.name = name
        self.process = process
        self._out, self._err = out, err

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log(self) -> str:
        return self._err.read_text()

    def told(self) -> list[dict[str, Any]]:
        """What it has printed: an object for each line that is whole."""
        return [json.loads(line) for line in self._out.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def wait_ready(self) -> dict[str, Any]:
        """What it says when it is ready."""

        def ready() -> dict[str, Any] | None:
            assert self.process.poll() is None, self.log
            return next((each for each in self.told() if each["event"] == "ready"), None)

        found = eventually(ready, WITHIN_S)
        assert found is not None
        return found

    def wait_end(self) -> int:
        """Its exit code."""
        return self.process.wait(WITHIN_S)

    def stop(self) -> int:
        """Ends it as a service manager does; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait_end()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(WITHIN_S)


class Nodes:
    """The nodes of a test, in a folder that holds their programs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trace = folder / "trace"
        self._started: list[NodeProcess] = []
        self._environment = {key: each for key, each in os.environ.items() if not key.startswith("CALLSHEET_")}
        self._environment |= {"TZ": "UTC", "TRACE": str(self.trace)}

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    def set(self, variable: str, value: str) -> None:
        """Give all that is started from now on a variable of the environment."""
        self._environment[variable] = value

    def start(self, *arguments: str, name: str, folder: Path | None = None, ready: bool = True) -> NodeProcess:
        """Start `callsheet node` with these arguments; by default wait until it is ready."""
        number = len(self._started)
        out, err = self.folder / f"out{number}", self.folder / f"err{number}"
        with out.open("w") as said, err.open("w") as complained:
            process = subprocess.Popen(
                [*COMMAND, "node", *arguments, "--name", name, "--json"],
                cwd=folder or self.folder,
                env=self._environment,
                stdout=said,
                stderr=complained,
                text=True,
            )
        node = NodeProcess(name, process, out, err)
        self._started.append(node)
        if ready:
            node.wait_ready()
        return node

    def command(self, *arguments: str) -> Any:
        """Run another command with --json, which must do, and return its answer."""
        ran = subprocess.run(
            [*COMMAND, *arguments, "--json"],
            cwd=self.folder,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return json.loads(ran.stdout)

    def traces(self) -> list[list[str]]:
        """The lines that jobs have left, as words."""
        return [line.split() for line in self.trace.read_text().splitlines()] if self.trace.exists() else []

    def end(self) -> None:
        for node in self._started:
            if node.process.poll() is None:
                node.kill()


@contextmanager
def nodes_in(folder: Path) -> Iterator[Nodes]:
    """Nodes that end with the test, however that ends."""
    nodes = Nodes(folder)
    try:
        yield nodes
    finally:
        nodes.end()
