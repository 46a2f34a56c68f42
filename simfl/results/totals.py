"""Sums over a run's tasks, a part of the table at a time: what its summary is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
import pandas as pd

from simfl.results.costs import PHASE_BYTES, PHASE_S, spent, united
from simfl.results.counts import NONE, Counts
from simfl.results.metrics import staleness_of
from simfl.results.waste import energy_by_phase, risks

#: What is read of the tasks; the other columns stay on disk.
COLUMNS = [
    *("device", "version", "ended_s", "outcome", "cause", "staleness", "energy_j"),
    *PHASE_S.values(),
    *PHASE_BYTES.values(),
]

_ADDED = ["down_bytes", "up_bytes", "energy_j"]


class Totals:
    """Of all tasks. devices: the columns of the fleet that `energy_by_phase` and `risks` read."""

    def __init__(self, parts: Iterable[pd.DataFrame], devices: pd.DataFrame) -> None:
        self.tasks = 0
        self.ends_s: list[float] = []  #: the last end of each part
        self.outcomes: Counter[str] = Counter()
        self.sums = dict.fromkeys(_ADDED, 0)  #: of bytes and joules
        self.staleness = NONE  #: of applied updates
        self.took_part = NONE  #: devices of applied updates
        self.flying: list[int] = []  #: versions of the tasks that were in flight at the end
        self.energy_j: dict[str, float] = {}  #: by phase
        self._devices, self._spent, self._risks = devices, [], []  # type: ignore[var-annotated]
        for part in parts:
            self._add(part)
        self.spent: pd.DataFrame = united(self._spent)
        self.risks: pd.DataFrame = sum(self._risks[1:], start=self._risks[0])

    def _add(self, tasks: pd.DataFrame) -> None:
        outcome = tasks["outcome"]
        self.tasks += len(tasks)
        self.ends_s.append(tasks["ended_s"].max())
        self.outcomes.update(outcome.value_counts().to_dict())
        for column in _ADDED:
            self.sums[column] += tasks[column].sum()
        self.staleness += Counts.of(staleness_of(tasks))
        self.took_part += Counts.of(tasks.loc[outcome == "applied", "device"])
        self.flying += tasks.loc[outcome == "in_flight", "version"].tolist()
        for phase, joules in energy_by_phase(tasks, self._devices).items():
            self.energy_j[phase] = self.energy_j.get(phase, 0.0) + joules
        self._spent.append(spent(tasks))
        self._risks.append(risks(tasks, self._devices))

    def participation(self, devices: int) -> np.ndarray:
        """(devices,) int64, applied updates of each device."""
        return self.took_part.per(devices)
