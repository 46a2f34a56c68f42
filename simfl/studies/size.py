"""How large a study is, and how long it takes this machine, before it is played."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path

from simfl.scenario import Scenario
from simfl.studies.combinations import SEEDS, runs_of
from simfl.studies.duration import machine_time


@dataclass(frozen=True)
class Size:
    """Counts of a study.

    tuning_runs: of all trials together.
    longest_s: virtual, None if open.
    """

    variants: int
    seeds: int
    trials: int
    tuning_runs: int
    longest_s: float | None

    @property
    def runs(self) -> int:
        return self.variants * self.seeds


def size_of(scenario: Scenario) -> Size:
    """The size of the study that the scenario describes, its variants taken as they are written."""
    swept = {key: len(values) for key, values in scenario.sweep.items()}
    seeds = swept.pop("seed", len(SEEDS))
    variants, tune = prod(swept.values()), scenario.tune
    trials = tune.trials * variants if tune else 0
    runs = trials * len(tune.seeds) if tune else 0
    after_s = scenario.stop.after_s
    longest_s = None if after_s is None else after_s * (variants * seeds + runs)
    return Size(variants, seeds, trials, runs, longest_s)


@dataclass(frozen=True)
class Duration:
    """Seconds of this machine for a whole study, and for a run of each variant by its name.

    at_most: targets, or the stops of [tune], may end runs sooner.
    """

    seconds: float
    runs_s: dict[str, float]
    at_most: bool


def duration_of(
    scenario: Scenario,
    *,
    seeds: Iterable[int] | None = None,
    workers: int = 1,
    data_dir: Path | None = None,
) -> Duration:
    """How long the study takes, from a trial of some seconds of each variant.

    seeds, workers, data_dir: as for `simfl.study`. Finished runs are not looked for.
    """
    planned = runs_of(scenario, None, seeds, {})
    firsts = {run.variant: run.scenario for run in reversed(planned)}
    found = {name: machine_time(firsts[name], data_dir) for name in reversed(firsts)}
    runs = Counter(run.variant for run in planned)
    if (tune := scenario.tune) is not None:
        runs.update(dict.fromkeys(firsts, tune.trials * len(tune.seeds)))
    computing_s = sum(runs[name] * one.run_s for name, one in found.items())
    loading_s = max(one.loading_s for one in found.values())
    at_most = scenario.tune is not None or any(one.at_most for one in found.values())
    return Duration(
        loading_s + computing_s / min(workers, len(planned)),
        {name: one.run_s for name, one in found.items()},
        at_most,
    )
