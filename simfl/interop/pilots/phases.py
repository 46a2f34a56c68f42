"""Phase logs: what each task of a real deployment took, in seconds, a row a task.

A CSV file, or JSON lines. Columns: `device`; `download_s`, `train_s`, `upload_s`; perhaps `class`,
`wait_s` (from the server's sending to the device's getting to work), `launch_s` (from the download
to the training), `reply_s` (from the training to the upload), `down_bytes`, `up_bytes`. The short
names of other logs (`client`, `wait`, `down`, `boot`, `unpack`, `train`, `rest`, `up`) are known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simfl.errors import TraceError, did_you_mean
from simfl.interop.tables.spreadsheets import Rows, csv_rows, json_line_rows

#: A task's phases, in the order in which it goes through them.
PHASES = ("wait_s", "download_s", "launch_s", "train_s", "reply_s", "upload_s")
NEEDED = ("download_s", "train_s", "upload_s")
SIZES = ("down_bytes", "up_bytes")

#: Other names of columns; what several of them name is added up.
ALSO = {
    "client": "device",
    "wait": "wait_s",
    "down": "download_s",
    "boot": "launch_s",
    "unpack": "launch_s",
    "train": "train_s",
    "rest": "reply_s",
    "up": "upload_s",
}


@dataclass(frozen=True)
class Phases:
    """A phase log.

    device, group: (tasks,) names; group is empty where the log has no class.
    seconds: (tasks,) of each phase, 0 where the log has none.
    sizes: (tasks,) bytes, if known.
    """

    device: np.ndarray
    group: np.ndarray
    seconds: Mapping[str, np.ndarray]
    sizes: Mapping[str, np.ndarray]

    def __len__(self) -> int:
        return len(self.device)

    def of(self, mine: np.ndarray) -> Phases:
        """Some of the tasks. mine: (tasks,) bool."""
        return Phases(
            self.device[mine],
            self.group[mine],
            {name: values[mine] for name, values in self.seconds.items()},
            {name: values[mine] for name, values in self.sizes.items()},
        )


def read_phases(path: Path) -> Phases:
    """The log of a file. Raises TraceError."""
    rows = json_line_rows(path) if path.suffix.startswith(".json") else csv_rows(path)
    found = [_row(rows, where, row) for where, row in rows.rows]
    if not found:
        raise TraceError(f"{path}: holds no task, for it has no rows")
    names = [name for name in SIZES if all(name in row for _, _, row in found)]
    return Phases(
        np.array([device for device, _, _ in found]),
        np.array([group for _, group, _ in found]),
        {name: np.array([row.get(name, 0.0) for _, _, row in found]) for name in PHASES},
        {name: np.array([row[name] for _, _, row in found]) for name in names},
    )


def _row(rows: Rows, where: str, row: Mapping[str, Any]) -> tuple[str, str, dict[str, float]]:
    """(device, class, numbers by column) of a task."""
    numbers: dict[str, float] = {}
    for name in row:
        column = ALSO.get(name, name)
        if column in (*PHASES, *SIZES):
            numbers[column] = numbers.get(column, 0.0) + rows.number(where, row, name)
    device = row.get("device", row.get("client", ""))
    missing = [name for name in NEEDED if name not in numbers] + ["device"] * (device == "")
    if missing:
        hint = did_you_mean(missing[0], [*row][:40])
        raise TraceError(f"{rows.path}: {where}: column {missing[0]} is missing {hint}")
    return str(device), str(row.get("class", "")), numbers
