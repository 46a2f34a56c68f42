"""Every strategy on one fleet, each at its own best rates. Writes docs/results/baselines.md.

    python benchmarks/studies/baselines.py

Local learning rate and one rate of the method's own are chosen on a seed that the table does not
use. About two minutes of one core.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from parts.pages import markdown, put_block
from parts.whole import whole

import simfl
from simfl.cli.console import Cells, err
from simfl.results.stats import in_words, median, target_table
from simfl.results.study import Study

PAGE = Path(__file__).parents[2] / "docs" / "results" / "baselines.md"
SCENARIO, OUT = "studies/baselines", Path("runs/studies")
TUNING_SEED, SEEDS = 100, range(5)
LOCAL_RATES = (0.05, 0.15, 0.45)


@dataclass(frozen=True)
class Method:
    """A strategy's options, and the one of them that is tuned beside the local learning rate."""

    options: dict[str, Any]
    knob: str = "server_lr"
    values: tuple[float, ...] = (0.5, 1.0, 2.0)
    wire: list[dict[str, Any]] = field(default_factory=list)

    def at(self, lr: float, value: float) -> dict[str, Any]:
        """Overrides for a point of its grid."""
        path = f"strategy.{self.knob}"
        strategy = {"epochs": 2, **self.options}
        if "steps" in strategy:
            del strategy["epochs"]
        return {"strategy": strategy, "learning.lr": lr, path: value, "wire.up": self.wire}


ROUNDS = {"cohort": 10}
CUT = {"kind": "overselect", "cohort": 8, "over_select": 1.25}
STREAM = {"concurrency": 10}
BUFFER = {**STREAM, "buffer": 5}
SMALL = (0.1, 0.3, 1.0)

#: Ten devices are at work at once, or the whole fleet where a method is made that way.
METHODS = {
    "fedavg": Method({"kind": "fedavg", **ROUNDS}),
    "fedavg, momentum": Method(
        {"kind": "fedavg", **ROUNDS, "server_optimiser": {"kind": "momentum", "beta": 0.5}}
    ),
    "fedavg, adam": Method(
        {"kind": "fedavg", **ROUNDS, "server_optimiser": "adam"}, values=(0.01, 0.03, 0.1)
    ),
    "fedavg, qsgd up": Method(
        {"kind": "fedavg", **ROUNDS, "weights": "uniform"}, wire=[{"kind": "qsgd", "levels": 7}]
    ),
    "fedavg, top 5 % up": Method(
        {"kind": "fedavg", **ROUNDS}, wire=[{"kind": "topk", "keep": 0.05}]
    ),
    "signsgd": Method(
        {"kind": "signsgd", **ROUNDS, "steps": 10}, values=(0.002, 0.005, 0.01),
        wire=[{"kind": "sign", "feedback": False}],
    ),
    "fedprox": Method(
        {"kind": "fedprox", **ROUNDS, "local": {"kind": "proximal", "mu": 0.1}}
    ),
    "fednova": Method({"kind": "fednova", **ROUNDS}),
    "scaffold": Method({"kind": "scaffold", **ROUNDS, "weights": "uniform"}),
    "feddyn": Method(
        {"kind": "feddyn", **ROUNDS, "local": {"kind": "dynamic"}},
        "local.alpha", (0.01, 0.03, 0.1),
    ),
    "overselect": Method(CUT),
    "overselect, oort": Method({**CUT, "selection": "oort"}),
    "fedavg, tifl": Method({"kind": "fedavg", **ROUNDS, "selection": {"kind": "tifl", "tiers": 3}}),
    "fedat": Method(
        {"kind": "fedat", "tiers": 3, "cohort": 3, "local": {"kind": "proximal"}},
        "local.mu", (0.01, 0.1, 0.4),
    ),
    "safa": Method({"kind": "safa"}, "quota", (0.3, 0.5, 0.7)),
    "quafl": Method({"kind": "quafl", "cohort": 10}, "every_s", (2.0, 5.0, 10.0)),
    "fedasync": Method({"kind": "fedasync", **STREAM}, "alpha", (0.2, 0.4, 0.8)),
    "delayadaptive": Method({"kind": "delayadaptive", **STREAM}, values=SMALL),
    "dcasgd": Method({"kind": "dcasgd", **STREAM}, values=SMALL),
    "asyncfeded": Method({"kind": "asyncfeded", **STREAM, "k_max": 5}, "lam", (0.3, 1.0, 3.0)),
    "fedbuff": Method({"kind": "fedbuff", **BUFFER}),
    "port": Method({"kind": "port", **BUFFER}),
    "pisces": Method({"kind": "pisces", **STREAM}),
    "fadas": Method({"kind": "fadas", **BUFFER}, values=(0.003, 0.01, 0.03)),
    "ca2fl": Method({"kind": "ca2fl", **BUFFER}),
    "asyncscaffold": Method({"kind": "asyncscaffold", **BUFFER, "weights": "uniform"}),
    "asyncfeddyn": Method(
        {"kind": "asyncfeddyn", **BUFFER, "average_of": "fleet", "local": {"kind": "dynamic"}},
        "local.alpha", (0.01, 0.03, 0.1),
    ),
}  # fmt: skip


def tuned() -> dict[str, tuple[float, float]]:
    """By method, the point of its grid that met the target first, or came nearest to it."""
    grid = {
        (name, lr, value): method.at(lr, value)
        for name, method in METHODS.items()
        for lr in LOCAL_RATES
        for value in method.values
    }
    labelled = {f"{name} {lr} {value}": options for (name, lr, value), options in grid.items()}
    out = OUT / "baselines-tuning"
    table = played(labelled, range(TUNING_SEED, TUNING_SEED + 1), out).table.set_index("strategy")
    best: dict[str, tuple[float, float]] = {}
    for name in METHODS:
        points = [point for point in grid if point[0] == name]
        costs = [_cost(table.loc[f"{name} {lr} {value}"]) for _, lr, value in points]
        best[name] = points[costs.index(min(costs))][1:]
    return best


def _cost(run: pd.Series) -> tuple[float, float]:
    """Seconds to the target; where it was missed, less is more accuracy. A failure is the worst."""
    if run["ended"] == "target":
        return run["virtual_s"], 0.0
    return math.inf, -run["best_accuracy"] if run["ended"] == "after_s" else 0.0


def played(variants: dict[str, dict[str, Any]], seeds: range, out: Path) -> Study:
    """These variants under these seeds."""
    return simfl.study(SCENARIO, variants, seeds=seeds, out=out, progress=Cells(err()))


def table_of(study: Study, best: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """Costs to the target, staleness and waste; medians over seeds with their intervals."""
    found = study.at_target()
    table = target_table(found).rename_axis("method")
    for name, runs in study.table.groupby("strategy", sort=False):
        p50, p95 = runs["staleness_p50"].median(), runs["staleness_p95"].median()
        waste = 100.0 * runs["wasted_share"].to_numpy()
        lr, value = best[name]
        table.loc[name, "staleness p50 / p95"] = f"{p50:.3g} / {p95:.3g}"
        table.loc[name, "waste, %"] = in_words(median(waste, waste))
        table.loc[name, "lr, own rate"] = f"{lr:g}, {METHODS[name].knob} = {value:g}"
    return table.iloc[np.argsort([time.high for time in found["seconds"]], kind="stable")]


def main() -> None:
    best = tuned()
    chosen = {name: METHODS[name].at(*point) for name, point in best.items()}
    study = whole(played(chosen, SEEDS, OUT / "baselines"))
    put_block(PAGE, "table", markdown(table_of(study, best)))
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 7), layout="constrained")
    simfl.plot.time_to_target(study, ax=left)
    simfl.plot.time_to_target(study, cost="up_bytes", ax=right)
    figure.savefig(PAGE.with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
