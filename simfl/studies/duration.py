"""How long the simulating machine needs for a run, from a short trial of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from simfl.engine.run import run
from simfl.scenario import Scenario, parse

#: Seconds that a trial lasts.
TRIAL_S = 3.0


@dataclass(frozen=True)
class MachineTime:
    """Of one run on this machine.

    run_s: seconds from its first step to its end.
    loading_s: before that; processes that play several runs need less.
    share: of the run, was played.
    at_most: a target may end it sooner.
    """

    run_s: float
    loading_s: float
    share: float
    at_most: bool

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.run_s + self.loading_s


def machine_time(
    scenario: Scenario, data_dir: Path | None = None, *, timing: bool = False
) -> MachineTime:
    """Plays the first seconds of the run and takes the rest to be alike. Raises what `run` raises.

    data_dir: folder of data sets.
    timing: of the clock alone.
    """
    table = {key: value for key, value in scenario.table().items() if key not in ("sweep", "tune")}
    trial = parse(table, {"stop.wall_s": TRIAL_S, "callbacks": []}, path=scenario.path)
    watch, began = _Stopwatch(), time.monotonic()
    known = run(trial, data_dir=data_dir, timing=timing, progress=False, callbacks=[watch]).summary
    run_s, loading_s = watch.ended - watch.began, watch.began - began
    share = 1.0 if known["ended"] != "wall_s" else min(1.0, _share(scenario, known))
    at_most = scenario.stop.target is not None and share < 1.0
    whole_s = run_s / share if share > 0.0 else float("inf")
    if scenario.stop.wall_s is not None:
        whole_s = min(whole_s, scenario.stop.wall_s)
    return MachineTime(whole_s, loading_s, share, at_most)


def _share(scenario: Scenario, known: Mapping[str, Any]) -> float:
    """How much of what the scenario asks for a run has played, by the limit that is nearest."""
    stop = scenario.stop
    spent = (known["virtual_s"], known["versions"], known["applied"])
    limits = (stop.after_s, stop.versions, stop.updates)
    return max((a / b for a, b in zip(spent, limits, strict=True) if b is not None), default=0.0)


@dataclass
class _Stopwatch:
    """A callback that looks at the host's clock when the run begins and ends."""

    began: float = field(default=0.0)
    ended: float = field(default=0.0)

    def open(self, run: Any) -> _Stopwatch:
        """The run begins: data and model are loaded."""
        self.began = time.monotonic()
        return self

    def evaluation(self, row: Any) -> None:
        """Nothing to see."""

    def close(self, summary: Any) -> None:
        """The run is over."""
        self.ended = time.monotonic()
