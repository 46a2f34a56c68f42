"""Events of a run as JSON lines, where the environment says into which folder."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any


def note(who: str, event: str, **more: Any) -> None:
    """Appends an event to the file of a client or of the server; does nothing outside a testbed."""
    folder = os.environ.get("SIMFL_TESTBED_LOGS")
    if folder:
        line = json.dumps({"t": time.time(), "who": who, "event": event, **more})
        with Path(folder, f"{who}.jsonl").open("a", encoding="utf-8") as file:
            file.write(line + "\n")
