"""The crontab's way into the store, by the command as a person would do it; and what its lines owe.

What they owe is computed by croniter, not by the scheduler's own reading of cron expressions: a second opinion.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

from croniter import croniter

from footprint import microseconds, to_datetime
from plan import STORE, Plan, Rhythm

HERE: Final = Path(__file__).resolve().parent
REBOOT: Final = "@reboot"


class ImportFailed(Exception):
    """The command `callsheet import crontab` did not do it; the text is what it printed."""


@dataclass(frozen=True)
class Line:
    """A line of the crontab, and the job it became."""

    job: str
    schedule: str
    zone: str


def load(folder: Path) -> list[Line]:
    """Import the crontab into the store of a folder, and return its lines.

    Raises:
        ImportFailed: the command did not do it.
    """
    shutil.copy(HERE / "noted", folder)
    command = [sys.executable, "-m", "callsheet.cli", "import", "crontab", str(HERE / "crontab"), "--json"]
    command += ["--store", f"sqlite:///{STORE}", "--folder", str(folder)]
    ran = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if ran.returncode != 0:
        raise ImportFailed(f"callsheet import crontab exited with {ran.returncode}: {ran.stdout}{ran.stderr}")
    return [Line(each["job"], each["schedule"], each["zone"]) for each in json.loads(ran.stdout)["jobs"]]


def owed(lines: list[Line], plan: Plan) -> list[Rhythm]:
    """Return the slots of all lines from opening to closing."""
    found = []
    for line in lines:
        if line.schedule == REBOOT:
            continue
        wall = to_datetime(plan.opening - 1).astimezone(ZoneInfo(line.zone))
        slots = croniter(line.schedule, wall, ret_type=datetime)
        while (slot := microseconds(slots.get_next())) <= plan.closing:
            found.append(Rhythm(line.job, slot, 1, slot))
    return found
