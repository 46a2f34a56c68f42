"""The record of what happened: rows go in, columns go out, memory stays bounded.

A task's row is complete when its fate is: lost and cancelled tasks at their end, delivered ones
when the strategy applies or discards their update. Until then the row stays open.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import nan
from typing import Any

import numpy as np

from simfl.messages import PHASES, Task

#: Rows kept before they are handed on as columns: few enough to stay in the processor's cache.
CHUNK_ROWS = 2_048

#: By `task.phase`; a task that came home ended in its upload.
_ENDED_IN = (*PHASES, PHASES[-1])

# fmt: off
_TASK = (
    "task", "device", "version", "applied_version", "dispatched_s", "download_s", "train_s",
    "upload_s", "ended_s", "outcome", "cause", "phase", "down_bytes", "up_bytes", "examples",
    "epochs", "staleness", "staleness_s", "drift", "cosine", "weight", "train_loss",
)
_VERSION = (
    "version", "time_s", "updates", "staleness_mean", "staleness_max", "weight_sum", "step_s",
)
# fmt: on

Append = Callable[[str, Mapping[str, Sequence[Any]]], None]


class Ledger:
    """Turns ended tasks, versions and evaluations into columns and appends them to a store.

    append(table, columns): where they go.
    """

    __snapshot__ = (
        "down_bytes",
        "up_bytes",
        "ended",
        "applied",
        "recent",
    )  #: kept by checkpoints

    def __init__(self, fleet: Any, append: Append) -> None:
        self._append = append
        self._fleet = fleet
        self._tasks: list[tuple[Any, ...]] = []
        self._versions: list[tuple[Any, ...]] = []
        self.down_bytes = 0  #: of tasks that ended
        self.up_bytes = 0
        self.ended = 0  #: tasks that ended, whatever became of them
        self.applied = 0  #: updates that entered the model
        self.recent: deque[int] = deque(maxlen=2000)  #: staleness of the last applied updates

    def close(
        self,
        task: Task,
        outcome: str,
        applied_version: int | None = None,
        staleness: int | None = None,
        used_s: float = nan,
        drift: float = nan,
        cosine: float = nan,
        weight: float = 0.0,
        loss: float = nan,
        cause: str = "",
    ) -> None:
        """Writes the task's only row."""
        d, t, u = task.phase_s
        down, up = task.moved_bytes
        self._tasks.append((
            task.serial, task.device, task.version, applied_version, task.dispatched_s, d, t, u,
            task.ended_s, outcome, cause or task.cause, _ENDED_IN[task.phase], down, up,
            task.examples, task.epochs, staleness, used_s - task.dispatched_s, drift, cosine,
            weight, loss,
        ))  # fmt: skip
        if len(self._tasks) >= CHUNK_ROWS:
            self._flush_tasks()

    def count(self, task: Task) -> None:
        """The task has ended: its bytes and its end enter the totals of ended tasks."""
        down_bytes, up_bytes = task.moved_bytes
        self.ended += 1
        self.down_bytes += down_bytes
        self.up_bytes += up_bytes

    def version(
        self,
        version: int,
        time_s: float,
        staleness: Sequence[int],
        weight_sum: float,
        step_s: float,
    ) -> None:
        """Writes the row of a new version.

        staleness: of the updates that went into it.
        """
        n = len(staleness)
        self.applied += n
        self.recent.extend(staleness)
        top = max(staleness) if n > 1 else staleness[0] if n else None
        mean = sum(staleness) / n if n > 1 else float(staleness[0]) if n else nan
        self._versions.append((version, time_s, n, mean, top, weight_sum, step_s))
        if len(self._versions) >= CHUNK_ROWS:
            self._flush_versions()

    def evaluation(
        self, time_s: float, version: int, metrics: Mapping[str, float], moved: tuple[int, int]
    ) -> None:
        """Writes the row of an evaluation.

        moved: bytes down and up so far, see `moved_bytes`.
        """
        columns: dict[str, Any] = {
            "time_s": time_s,
            "version": version,
            "loss": nan,
            "accuracy": nan,
        }
        columns.update(metrics)
        columns.update(tasks_ended=self.ended, down_bytes=moved[0], up_bytes=moved[1])
        self._append("evaluations", {name: [value] for name, value in columns.items()})

    def personal(self, time_s: float, version: int, columns: Mapping[str, Sequence[Any]]) -> None:
        """Writes the rows of an evaluation by device.

        columns: (devices,) each, `device` first.
        """
        n = len(columns["device"])
        self._append("personal", {"time_s": [time_s] * n, "version": [version] * n, **columns})

    def staleness_quantiles(self) -> tuple[float, float]:
        """p50 and p95 over the most recent applied updates; nan before the first."""
        if not self.recent:
            return nan, nan
        p50, p95 = np.quantile(np.fromiter(self.recent, float), (0.5, 0.95))
        return float(p50), float(p95)

    def flush(self) -> None:
        """Hands on everything that is still held."""
        self._flush_tasks()
        self._flush_versions()

    def _flush_versions(self) -> None:
        if self._versions:
            columns = zip(*self._versions, strict=True)
            self._append("versions", dict(zip(_VERSION, columns, strict=True)))
            self._versions = []

    def _flush_tasks(self) -> None:
        if not self._tasks:
            return
        columns: dict[str, Any] = dict(zip(_TASK, zip(*self._tasks, strict=True), strict=True))
        rows = len(self._tasks)
        columns["device"] = np.fromiter(columns["device"], np.int64, rows)
        for name in ("download_s", "train_s", "upload_s"):
            columns[name] = np.fromiter(columns[name], float, rows)
        device, train_s = columns["device"], columns["train_s"]
        train_w, radio_w = self._fleet.energy.watts(device)
        radio_s = columns["download_s"] + columns["upload_s"]
        columns["energy_j"] = train_w * train_s + radio_w * radio_s
        columns["device_class"] = self._classes(device)
        self._append("tasks", columns)
        self._tasks = []

    def _classes(self, device: np.ndarray) -> Sequence[str]:
        """Names of the classes of these devices."""
        names = self._fleet.device_classes
        if len(names) == 1:
            return tuple(names) * len(device)
        named: Sequence[str] = np.array(names, dtype=object)[self._fleet.class_id[device]]
        return named
