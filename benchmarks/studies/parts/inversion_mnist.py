"""MNIST with LeNet over shares and lateness: the paper's laboratory, reduced to half an hour."""

from __future__ import annotations

from typing import Any

import pandas as pd
from parts.fewer import Fewer

from simfl.results.study import Study

SCENE = "gradientinversion/mnist"
ROUNDS, LAST = 140, 40
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


def accuracies(study: Study) -> pd.DataFrame:
    """On the class and in all, means over the last versions: a row each method, a column a cell."""
    frame = study.evaluations
    means = frame[frame.version > ROUNDS - LAST].groupby("strategy")[list(SHOWN)].mean()
    rows = {
        method: {
            f"α = {alpha:g}, τ = {tau}": _said(means, label(method, alpha, tau))
            for alpha, tau in COLUMNS
        }
        for method in METHODS
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("strategy")


def _said(means: pd.DataFrame, name: str) -> str:
    if name not in means.index:
        return "-"
    return " / ".join(f"{means.loc[name, column]:.3f}" for column in SHOWN)


def errors(study: Study) -> pd.DataFrame:
    """E1 and E2 of the runs with gradient inversion, and what became of late updates."""
    frame = study.evaluations
    rows = {}
    for alpha, tau in COLUMNS:
        run = frame[frame.strategy == label("gradient inversion", alpha, tau)]
        last = run.iloc[-1]
        rows[f"α = {alpha:g}, τ = {tau}"] = {
            **{name.upper(): f"{run[name].mean():.3f}" for name in ("e1", "e2")},
            "loss": f"{run['inversion_loss'].mean():.3f}",
            **{name: int(last[name]) for name in ("inverted", "rejected")},
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("cell")
