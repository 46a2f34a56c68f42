"""MNIST with LeNet over shares and lateness: the paper's laboratory, reduced to half an hour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
from parts.fewer import Fewer

from simfl.results.study import Study

SCENE = "gradientinversion/mnist"
ROUNDS, TARGET = 140, 0.9
#: (alpha, tau)
CELLS = ((0.1, 40), (0.1, 100), (0.1, 10), (0.01, 40), (1.0, 40))
#: As the paper's table has them: by alpha, and by tau.
COLUMNS = ((1.0, 40), (0.1, 40), (0.01, 40), (0.1, 10), (0.1, 100))
MAIN = ("unstale (oracle)", "unweighted", "gradient inversion")
SHOWN = ("accuracy_class_5", "accuracy")
SETTING: dict[str, Any] = {
    "learning.dataset": Fewer("mnist", train=300, test=200),
    "learning.lr": 0.1,
    "evaluate.every_versions": 8,
    "stop": {"versions": ROUNDS},
}
POLLED = {"cohort": 10, "epochs": 5}
EFFORT = {"iterations": 60, "warm_iterations": 15, "keep": 0.05, "switch": False, "unique": False}
METHODS: dict[str, dict[str, Any]] = {
    "unstale (oracle)": {"kind": "semisync", **POLLED},
    "unweighted": {"kind": "semisync", **POLLED},
    "gradient inversion": {"kind": "gradientinversion", **POLLED, **EFFORT},
    "weighted": {"kind": "semisync", **POLLED, "weighting": "sigmoid"},
    "first-order": {"kind": "firstorder", **POLLED},
    "two tiers": {"kind": "twotiers", **POLLED},
}


def cells() -> dict[str, dict[str, Any]]:
    """Overrides by label: all methods in the first cell, the main ones in the others."""
    pairs = [(method, *CELLS[0]) for method in METHODS]
    pairs += [(method, *cell) for cell in CELLS[1:] for method in MAIN]
    return {label(*pair): _overrides(*pair) for pair in pairs}


def _overrides(method: str, alpha: float, tau: int) -> dict[str, Any]:
    strategy = {**METHODS[method], "hold": lateness(method, tau)}
    return {"strategy": strategy, "learning.partition.alpha": alpha}


def lateness(method: str, tau: int) -> int:
    """Versions for which late updates are held back."""
    return 0 if method == "unstale (oracle)" else tau


def label(method: str, alpha: float, tau: int) -> str:
    """The oracle is one for each alpha."""
    late = lateness(method, tau)
    return f"{method}; α = {alpha:g}" + (f", τ = {late}" if late else "")


def accuracies(study: Study, last: int | None = None) -> pd.DataFrame:
    """On the class and in all, a row each method and a column each cell.

    Means over the versions at which late updates enter; or over so many, the last.
    """

    def said(runs: pd.DataFrame, tau: int) -> str:
        since = tau if last is None else ROUNDS - last
        means = runs[runs.version > since][list(SHOWN)].mean()
        return " / ".join(f"{means[column]:.3f}" for column in SHOWN)

    return _by_cell(study, said)


def rounds(study: Study) -> pd.DataFrame:
    """The first evaluated version with the target accuracy, in all."""

    def said(runs: pd.DataFrame, tau: int) -> str:
        met = runs[runs.accuracy >= TARGET].version
        return str(met.min()) if len(met) else "never"

    return _by_cell(study, said)


def _by_cell(study: Study, said: Callable[[pd.DataFrame, int], str]) -> pd.DataFrame:
    """A row each method and a column each cell; "-" for what is not played."""
    runs = dict(list(study.evaluations.groupby("strategy")))
    rows = {
        method: {
            _cell(alpha, tau): said(runs[name], tau)
            if (name := label(method, alpha, tau)) in runs
            else "-"
            for alpha, tau in COLUMNS
        }
        for method in METHODS
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("strategy")


def _cell(alpha: float, tau: int) -> str:
    return f"α = {alpha:g}, τ = {tau}"


def errors(study: Study) -> pd.DataFrame:
    """E1 and E2 of the runs with gradient inversion, and what became of late updates."""
    frame = study.evaluations
    rows = {}
    for alpha, tau in COLUMNS:
        run = frame[frame.strategy == label("gradient inversion", alpha, tau)]
        last = run.iloc[-1]
        means = {name: run[name].mean() for name in ("e1", "e2", "inversion_loss")}
        said = ["-" if pd.isna(mean) else f"{mean:.3f}" for mean in means.values()]
        rows[_cell(alpha, tau)] = {
            **dict(zip(("E1", "E2", "relative loss"), said, strict=True)),
            **{name: int(last[name]) for name in ("inverted", "rejected")},
            "kept (MB)": f"{run['kept_bytes'].max() / 1e6:.1f}",
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("cell")
