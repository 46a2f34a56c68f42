"""The CNN of 4.08 MB on CIFAR-10: a laboratory that a core plays in half an hour."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from parts.fewer import Fewer
from parts.resfed import Ring
from parts.resfed_sizes import WHOLE_BITS
from parts.resfed_tables import DEVICES, final, runs_of

from simfl.results.plots.style import colour, dressed
from simfl.results.study import Study

EVERY = 3  # rounds from one evaluation to the next
SETTING: dict[str, Any] = {
    "learning.dataset": Fewer("cifar10", train=400, test=50),
    "learning.partition": Ring(5),
    "learning.model": "cnn5",
    "learning.batch_size": 32,
    "learning.lr": 0.01,
    "evaluate.every_versions": EVERY,
    "stop": {"versions": 30},
}
METHODS = ("FedAvg", "ResFed rule 1, both", "update compression, error feedback, up")
WAYS = ("up", "down")


def costs(study: Study) -> pd.DataFrame:
    """Accuracy and megabits per device, of the run and of one of its last rounds."""
    rows = {name: _costs(_in_megabits(runs[0])) for name, runs in runs_of(study).items()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def _costs(run: pd.DataFrame) -> dict[str, str]:
    last = run.diff().iloc[-1] / EVERY
    counted = WHOLE_BITS / 1e6 / last["counted"] if last.get("counted", 0) > 0 else float("nan")
    return {
        "accuracy": f"{final(run, 2):.3f}",
        "best": f"{run['accuracy'].max():.3f}",
        **{f"Mb {way}": f"{run[way].iloc[-1]:.2f}" for way in WAYS},
        **{f"last rounds, Mb {way}": f"{last[way]:.3f}" for way in WAYS},
        "ratio up, counted": "-" if pd.isna(counted) else f"{counted:.0f}",
        "ratio up, wire": f"{WHOLE_BITS / 1e6 / last['up']:.0f}",
    }


def _in_megabits(run: pd.DataFrame) -> pd.DataFrame:
    """Accuracy, and what a device has sent and received until then; uploads also as counted."""
    found = pd.DataFrame({"version": run["version"], "accuracy": run["accuracy"]})
    for way in WAYS:
        found[way] = run[f"{way}_bytes"] * 8 / DEVICES / 1e6
    if "paper_up_bits" in run:
        found["counted"] = run["paper_up_bits"].fillna(0) / DEVICES / 1e6
    return found


def drawn(study: Study, path: Path) -> None:
    """Accuracy over megabits per device, in either direction."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
    for way, ax in zip(WAYS, axes, strict=True):
        dressed(ax)
        for i, (name, runs) in enumerate(runs_of(study).items()):
            run = _in_megabits(runs[0]).iloc[1:]
            ax.plot(run[way], run["accuracy"], "o-", ms=3.5, color=colour(i), label=name)
        ax.set(xscale="log", xlabel=f"Mb {way} per device", xlim=(0.5, 1500))
        ax.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
        ax.set_xticks([], minor=True)
    axes[0].set_ylabel("test accuracy")
    handles = axes[0].get_legend_handles_labels()
    figure.legend(*handles, loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    figure.savefig(path, dpi=110)
    plt.close(figure)
