"""What the processes of the demo tell their parent."""

from __future__ import annotations

import json
from typing import Any

from footprint import now


def tell(**line: Any) -> None:
    """Tell the parent something, at once, as a line of JSON."""
    print(json.dumps({"at": now(), **line}), flush=True)
