"""FedDyn (Acar et al., ICLR 2021) against FedAvg, FedProx and SCAFFOLD, in rounds and in time.

    python benchmarks/studies/feddyn.py [--seeds 5] [--long | --picture]

Writes docs/results/feddyn.md and its picture. Fashion-MNIST needs SIMFL_DATA_DIR, and so does
MNIST, which --long adds for half an hour. --picture plays what the picture shows and no more.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from parts.feddyn import acceptance, gap_table, gaps, in_rounds
from parts.pages import markdown, put_block
from parts.spatl import UnitDigits
from parts.whole import whole

import simfl
from simfl.cli.console import StudyProgress, err
from simfl.learn.datasets.base import DATA_DIR
from simfl.results.stats import target_table
from simfl.results.study import Study

PAGE = Path(__file__).parents[2] / "docs" / "results" / "feddyn.md"
RUNS = Path("runs") / "studies" / "feddyn"

#: What sets the users apart, and SCAFFOLD's steps: ten epochs of a device of mean size.
SETTINGS: dict[str, tuple[dict[str, Any], int]] = {
    "homogeneous": ({}, 200),
    "type 1: labellers": ({"labellers": True}, 200),
    "type 2: inputs": ({"inputs": True}, 200),
    "type 3: sizes": ({"sizes": 1.0}, 330),
}


def rounds(epochs: float, steps: int, alphas: tuple[float, ...], **chosen: Any) -> dict[str, dict]:
    """The four methods with the same devices in the same rounds."""
    work = {**chosen, "epochs": epochs}
    near = {"local": {"kind": "proximal", "mu": 1e-4}}
    methods = {
        "FedAvg": {"kind": "fedavg", **work},
        "FedProx": {"kind": "fedprox", **work, **near},
        "SCAFFOLD": {"kind": "scaffold", **chosen, "steps": steps},
    }
    for alpha in alphas:
        local = {"kind": "dynamic", "alpha": alpha}
        methods[f"FedDyn, α = {alpha:g}"] = {
            "kind": "feddyn", **work, "remember": True, "local": local,
        }  # fmt: skip
    return methods


def coins(devices: int, p: float) -> dict[str, Any]:
    """Each device takes part with probability p."""
    return {"cohort": devices, "selection": {"kind": "coin", "p": p}}


def played(name: str, scenario: str, methods: dict[str, Any], seeds: range, **more: Any) -> Study:
    """A study of these methods; stops if a cell failed."""
    found = simfl.study(
        scenario, methods, seeds=seeds, out=RUNS / name, progress=StudyProgress(err()), **more
    )
    return whole(found)


# A: gaps to the minimum of a convex loss.


SYNTHETIC: tuple[str, dict[str, Any]] = ("feddyn/synthetic", {"kind": "synthetic-types"})


def write_gaps(seeds: range) -> dict[str, pd.DataFrame]:
    """The four settings; returns what the picture shows."""
    (base, kind), seen = SYNTHETIC, {}
    for name, (options, steps) in SETTINGS.items():
        dataset = {**kind, **options}
        methods = rounds(10, steps, (0.01,), **coins(20, 0.1))
        if "sizes" in options:
            methods["SCAFFOLD, uniform"] = {**methods["SCAFFOLD"], "weights": "uniform"}
        folder = name.split(":")[0].replace(" ", "-")
        study = played(folder, base, methods, seeds, **{"learning.dataset": dataset})
        seen[name] = gaps(study, base, dataset)
        put_block(PAGE, f"A {name}", markdown(gap_table(seen[name])))
    put_block(PAGE, "A acceptance", markdown(acceptance(seen)))
    return seen


def write_more_gaps(seeds: range) -> None:
    """The alphas, and full participation."""
    base, kind = SYNTHETIC
    methods = rounds(10, 200, (0.001, 0.1, 1.0), **coins(20, 0.1))
    alphas = {name: method for name, method in methods.items() if "FedDyn" in name}
    found = gaps(played("alphas", base, alphas, seeds), base, kind)
    put_block(PAGE, "A alphas", markdown(gap_table(found)))
    methods = rounds(10, 200, (0.01,), cohort=20)
    found = gaps(played("full", base, methods, seeds, **{"stop.versions": 60}), base, kind)
    put_block(PAGE, "A full participation", markdown(gap_table(found)))


# B and C: accuracy.


def accuracy_table(study: Study, target: float) -> pd.DataFrame:
    """One row per method: rounds to the target, and accuracy of the last ten rounds."""
    rows = {}
    for name, part in study.evaluations.groupby("variant", sort=False):
        runs = [run.assign(error=1.0 - run.accuracy) for _, run in part.groupby("seed")]
        rows[name] = {
            f"rounds to {100 * target:g} %": in_rounds(runs, "error", (1.0 - target,)),
            "accuracy, last ten rounds": _accuracies(runs, "accuracy"),
            "mean": f"{np.mean([run.accuracy.tail(10).mean() for run in runs]):.3f}",
            '"all"': _accuracies(runs, "accuracy_all"),
            "‖θ‖": _accuracies(runs, "norm_cloud", ".0f"),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def _accuracies(runs: list[pd.DataFrame], column: str, digits: str = ".3f") -> str:
    if column not in runs[0] or runs[0][column].isna().any():
        return ""
    return ", ".join(f"{run[column].tail(10).mean():{digits}}" for run in runs)


def write_accuracies(seeds: range, long: bool) -> None:
    """Digits; Fashion-MNIST and MNIST where the data are."""
    methods = rounds(5, 40, (0.1, 0.01), **coins(20, 0.2))
    digits = played("digits", "feddyn/digits", methods, seeds)
    put_block(PAGE, "B", markdown(accuracy_table(digits, 0.95)))
    pixels = {"learning.dataset": UnitDigits()}
    slow = played("pixels", "feddyn/digits", methods, seeds, **pixels)
    put_block(PAGE, "B pixels", markdown(accuracy_table(slow, 0.95)))
    if not os.environ.get(DATA_DIR):
        return
    few = range(min(3, len(seeds)))
    methods = rounds(5, 10, (0.1, 0.01), **coins(100, 0.1))
    fashion = played("fashion", "feddyn/fashion", methods, few)
    put_block(PAGE, "C fashion", markdown(accuracy_table(fashion, 0.75)))
    if long:
        methods = rounds(5, 60, (0.01,), **coins(100, 0.15))
        mnist = played("mnist", "feddyn/mnist", methods, few)
        put_block(PAGE, "C mnist", markdown(accuracy_table(mnist, 0.97)))


# Where the paper stops: time, bytes, drop-out, asynchrony.


def write_phones(seeds: range) -> Study:
    """Phones and boards that drop out, in virtual time."""
    methods = rounds(5, 15, (0.1,), cohort=10)
    buffer = {"concurrency": 10, "buffer": 5, "epochs": 5}
    dynamic = {"local": {"kind": "dynamic", "alpha": 0.1}}
    methods |= {
        "FedBuff": {"kind": "fedbuff", **buffer},
        "FedDyn, buffered": {"kind": "asyncfeddyn", **buffer, **dynamic},
        "FedDyn, buffered, mean over the fleet": {
            "kind": "asyncfeddyn", **buffer, **dynamic, "average_of": "fleet",
        },
    }  # fmt: skip
    study = played("phones", "feddyn/phones", methods, seeds)
    put_block(PAGE, "phones", markdown(target_table(study.at_target(accuracy=0.95))))
    put_block(PAGE, "phones end", markdown(accuracy_table(study, 0.95)))
    return study


def picture(seen: dict[str, pd.DataFrame], phones: Study, path: Path) -> None:
    """Gaps in the four settings, and accuracy over time on phones."""
    figure, axes = plt.subplots(2, 3, figsize=(15, 8), layout="constrained")
    for ax, (name, table) in zip(axes.flat, seen.items(), strict=False):
        for variant, part in table.groupby("variant", sort=False):
            curve = part.groupby("version").gap.median()
            ax.plot(curve.index, curve.clip(lower=1e-5), label=variant, linewidth=1.3)
        ax.set(yscale="log", xlabel="round", ylabel="gap to the least loss", title=name)
    axes[0, 0].legend(fontsize=8)
    axes[1, 0].legend(fontsize=8)
    shown = phones.evaluations[phones.evaluations.time_s <= 300]
    titles = {"time": "phones and boards that drop out", "bytes": "the same against bytes"}
    for ax, (against, title) in zip(axes[1, 1:], titles.items(), strict=True):
        simfl.plot.bands(shown, against=against, between=(0.25, 0.75), ax=ax)
        ax.set_title(title, fontsize=11)
        ax.set_ylim(0.6, 1.0)
        ax.get_legend().remove()
    handles = axes[1, 1].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower right", ncols=4, fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    more = parser.add_mutually_exclusive_group()
    more.add_argument("--long", action="store_true")
    more.add_argument("--picture", action="store_true")
    given = parser.parse_args()
    seeds, few = range(given.seeds), range(min(3, given.seeds))
    seen = write_gaps(few)
    if not given.picture:
        write_more_gaps(few)
        write_accuracies(seeds, given.long)
    phones = write_phones(seeds)
    picture(seen, phones, PAGE.with_suffix(".png"))


if __name__ == "__main__":
    main()
