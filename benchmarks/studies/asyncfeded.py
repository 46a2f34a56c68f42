"""AsyncFedED (Wang et al., arXiv 2205.13797) in its authors' laboratory, and on Fashion-MNIST.

    python benchmarks/studies/asyncfeded.py [--seeds 5]

Writes docs/results/asyncfeded.md and its picture. Fashion-MNIST needs SIMFL_DATA_DIR.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from parts.asyncfeded import ablation, acceptance, best, maxima, mechanism, times, updates
from parts.pages import markdown, put_block
from parts.whole import whole

import simfl
from simfl.cli.console import StudyProgress, err
from simfl.learn.datasets.base import DATA_DIR
from simfl.results.study import Study
from simfl.scenario import Scenario

PAGE = Path(__file__).parents[2] / "docs" / "results" / "asyncfeded.md"
RUNS = Path("runs") / "studies" / "asyncfeded"
SUSPENDED = (0.0, 0.1, 0.5, 0.9)

_ASYNC = {
    "kind": "fedasync",
    "concurrency": 10,
    "refill": "same",
    "on_loss": "replace",
    "alpha": 0.5,
}
_NEAR = {"local": {"kind": "proximal", "mu": 0.005}}
_OURS = {"kind": "asyncfeded", "concurrency": 10, "gamma_bar": 1.0}

#: The five methods of the paper's comparison. All ask for ten epochs, AsyncFedED at first.
METHODS: dict[str, dict[str, Any]] = {
    "FedAvg": {"kind": "fedavg", "cohort": 10},
    "FedProx": {"kind": "fedprox", "cohort": 10, **_NEAR},
    "FedAsync, constant": {**_ASYNC, **_NEAR, "weighting": "constant"},
    "FedAsync, hinge": {**_ASYNC, **_NEAR, "weighting": {"kind": "hinge", "a": 0.5, "b": 6.0}},
    "AsyncFedED": _OURS,
}

#: What its parts do: the set-point, no control of K, and neither K nor distances.
PARTS: dict[str, dict[str, Any]] = {
    "nearest": {**_OURS, "rounding": "nearest"},
    "set-point 1.9": {**_OURS, "gamma_bar": 1.9},
    "set-point 3": {**_OURS, "gamma_bar": 3.0},
    "set-point 3, nearest": {**_OURS, "gamma_bar": 3.0, "rounding": "nearest"},
    "kappa = 0": {**_OURS, "kappa": 0.0},
    "kappa = 0, step 1/2": {**_ASYNC, "mode": "delta", "weighting": "constant"},
}


def with_epochs(methods: dict[str, dict[str, Any]], epochs: float) -> dict[str, dict[str, Any]]:
    """The same methods, all with so many epochs."""
    return {name: {**strategy, "epochs": epochs} for name, strategy in methods.items()}


def suspended(scenario: Scenario, probability: float) -> list[dict[str, Any]]:
    """The scenario's fleet with another probability to hang."""
    groups: list[dict[str, Any]] = scenario.resolved()["fleet"]["group"]
    for group in groups:
        group["faults"]["suspend"]["probability"] = probability
    return groups


def played(name: str, scenario: str, methods: dict, seeds: range, epochs: float) -> Study:
    """A method by suspension by seed; the fleet's column is called `group`."""
    base = simfl.load(scenario)
    shares = SUSPENDED if methods is METHODS else (0.1,)
    fleets = {share: suspended(base, share) for share in shares}
    found = simfl.study(
        base,
        with_epochs(methods, epochs),
        seeds=seeds,
        sweep={"fleet.group": fleets},
        out=RUNS / name,
        progress=StudyProgress(err()),
    )
    return whole(found)


def picture(main: Study, parts: Study, path: Path) -> None:
    """Progress, robustness, staleness by device, and local work over time."""
    figure, axes = plt.subplots(2, 2, figsize=(12, 8), layout="constrained")
    seen = main.evaluations[main.evaluations.group == 0.1]
    simfl.plot.bands(seen.assign(variant=seen.strategy), between=(0.25, 0.75), ax=axes[0, 0])
    axes[0, 0].legend(fontsize=8)
    axes[0, 0].set_title("P = 0.1: median and quartiles over seeds", fontsize=11)
    _robustness(main, axes[0, 1])
    fixed = parts.frame("tasks", ["device", "outcome", "drift"])
    fixed = fixed[(fixed.strategy == "kappa = 0") & (fixed.outcome == "applied")]
    _spread(fixed, axes[1, 0])
    _local_work(main, axes[1, 1])
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _robustness(study: Study, ax: Any) -> None:
    table = best(study.evaluations).groupby(["strategy", "group"]).mean().unstack("group")
    for name in METHODS:
        ax.plot(table.columns, table.loc[name], marker="o", label=name)
    ax.set(xlabel="probability to hang, P", ylabel="maximum accuracy in 300 s")
    ax.legend(fontsize=8)
    ax.set_title("robustness, mean over seeds", fontsize=11)


def _spread(used: pd.DataFrame, ax: Any) -> None:
    values = [part.drift[part.drift > 0] for _, part in used.groupby("device")]
    ax.boxplot(values, whis=(5, 95), showfliers=False, tick_labels=range(len(values)))
    ax.set(yscale="log", xlabel="device", ylabel="γ")
    ax.set_title("staleness with K fixed at 10 (box: quartiles; whiskers: 5 to 95 %)", fontsize=11)


def _local_work(study: Study, ax: Any) -> None:
    tasks = study.runs(group=0.1, strategy="AsyncFedED")
    ((_, result),) = tasks.items()
    used = result.tasks[result.tasks.outcome == "applied"]
    for device in (3, 0, 6, 5):
        mine = used[used.device == device]
        ax.step(mine.dispatched_s, mine.epochs, where="post", label=f"device {device}")
    ax.set(xlabel="time [s]", ylabel="K, local epochs")
    ax.legend(fontsize=8)
    ax.set_title("local work of four devices, seed 0", fontsize=11)


def write_main(seeds: range) -> None:
    """Synthetic(1,1), five methods and four probabilities to hang; the parts of AsyncFedED."""
    main = played("synthetic", "asyncfeded/synthetic", METHODS, seeds, epochs=10)
    parts = played("parts", "asyncfeded/synthetic", PARTS, seeds, epochs=10)
    put_block(PAGE, "maximum", markdown(maxima(main, METHODS)))
    put_block(PAGE, "time-90", markdown(times(main, METHODS, 0.9)))
    put_block(PAGE, "time-95", markdown(times(main, METHODS, 0.95)))
    put_block(PAGE, "updates", markdown(updates(main, METHODS)))
    put_block(PAGE, "acceptance", markdown(acceptance(main, parts)))
    put_block(PAGE, "parts", markdown(ablation(main, parts)))
    put_block(PAGE, "fixed", markdown(mechanism(parts, "kappa = 0")))
    put_block(PAGE, "adaptive", markdown(mechanism(main, "AsyncFedED")))
    put_block(PAGE, "nearest", markdown(mechanism(parts, "nearest")))
    picture(main, parts, PAGE.with_suffix(".png"))


def write_fashion(seeds: range) -> None:
    """Fashion-MNIST on devices of nearly equal speed, P = 0.1."""
    methods = {
        **METHODS,
        "AsyncFedED": {**_OURS, "gamma_bar": 2.0},
        "kappa = 0": {**_OURS, "kappa": 0.0},
    }
    study = played("fashion", "asyncfeded/fashion", methods, seeds, epochs=10)
    table = maxima(study, methods).rename(columns={"P = 0.1": "maximum"})
    for share in (0.9, 0.95):
        table[f"seconds to {100 * share:g} %"] = times(study, methods, share)["P = 0.1"]
    table["updates"] = updates(study, methods)["P = 0.1"]
    put_block(PAGE, "fashion", markdown(table))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    seeds = range(parser.parse_args().seeds)
    write_main(seeds)
    if os.environ.get(DATA_DIR):
        write_fashion(range(min(3, len(seeds))))


if __name__ == "__main__":
    main()
