"""How large a study is, before it is played."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from simfl.scenario import Scenario
from simfl.studies.combinations import SEEDS


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
