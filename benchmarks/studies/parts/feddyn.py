"""Gaps to the least loss of a convex problem, and what FedDyn should make of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from parts.pages import verdicts
from scipy.optimize import minimize

from simfl.engine.loading import problem_of
from simfl.engine.overrides import resolve
from simfl.results.study import Study
from simfl.streams import Streams

GAPS = (0.1, 0.05, 0.02)


def minimum(scenario: str, dataset: dict[str, Any], seed: int) -> float:
    """The least loss with its L2 term over all training data, by L-BFGS in double precision."""
    whole = resolve(scenario, {"learning.dataset": dataset}, seed)
    data = problem_of(whole, Streams(seed)).data.dataset
    x = torch.cat([data.x, torch.ones(len(data), 1)], 1).double()
    shape = (x.shape[1], data.classes)

    def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
        w = torch.tensor(flat.reshape(shape), requires_grad=True)
        value = torch.nn.functional.cross_entropy(x @ w, data.y)
        value = value + 0.5 * whole.learning.weight_decay * w.square().sum()
        value.backward()
        return value.item(), w.grad.numpy().ravel()

    options = {"maxiter": 10_000, "maxfun": 20_000, "ftol": 1e-14, "gtol": 1e-9}
    start = np.zeros(shape[0] * shape[1])
    return float(minimize(loss, start, jac=True, method="L-BFGS-B", options=options).fun)


def gaps(study: Study, scenario: str, dataset: dict[str, Any]) -> pd.DataFrame:
    """Evaluations with the columns `gap` and, for FedDyn, `gap_all`."""
    seen = study.evaluations.copy()
    least = {seed: minimum(scenario, dataset, int(seed)) for seed in seen.seed.unique()}
    floor = seen.seed.map(least)
    seen["gap"] = seen.regularised_loss - floor
    if "regularised_loss_all" in seen:
        seen["gap_all"] = seen.regularised_loss_all - floor
    return seen


def in_rounds(runs: list[pd.DataFrame], column: str, goals: tuple[float, ...]) -> str:
    """ "31/47/75, ...": rounds to each goal, seed by seed; – where it was not met."""
    found = []
    for run in runs:
        met = [run.version[run[column] <= goal] for goal in goals]
        found.append("/".join(str(first.iloc[0]) if len(first) else "–" for first in met))
    return ", ".join(found)


def ends(runs: list[pd.DataFrame], column: str) -> str:
    """Mean of the last ten rounds, seed by seed."""
    if column not in runs[0] or runs[0][column].isna().any():
        return ""
    return ", ".join(f"{run[column].tail(10).mean():.1e}" for run in runs)


def gap_table(seen: pd.DataFrame) -> pd.DataFrame:
    """One row per method: rounds to the goals and the gap at the end."""
    rows = {}
    for name, part in seen.groupby("variant", sort=False):
        runs = [run for _, run in part.groupby("seed")]
        rows[name] = {
            "rounds to gap " + "/".join(map(str, GAPS)): in_rounds(runs, "gap", GAPS),
            "gap, last ten rounds": ends(runs, "gap"),
            'the same for "all"': ends(runs, "gap_all"),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def acceptance(seen: dict[str, pd.DataFrame]) -> pd.DataFrame:
    """What a correct implementation should show in the four settings, medians over seeds."""
    ours, first = "FedDyn, α = 0.01", "type 1: labellers"
    same, inputs = seen["homogeneous"], seen["type 2: inputs"]

    def halt(table: pd.DataFrame, method: str, goal: float) -> float:
        return float(np.median(_until(table, method, goal)))

    def end(table: pd.DataFrame, method: str, column: str = "gap") -> float:
        last = table[table.variant == method].groupby("seed").tail(10)
        return float(last.groupby("seed")[column].mean().median())

    fast, slow = halt(same, ours, 0.05), halt(same, "FedAvg", 0.05)
    smaller = end(same, "FedAvg") / end(same, ours)
    quick, plain = halt(inputs, ours, 0.02), halt(inputs, "FedAvg", 0.02)
    other = halt(inputs, "SCAFFOLD", 0.02)
    stuck, none = end(seen[first], "FedAvg"), end(seen[first], ours, "gap_all")
    beside = end(seen[first], "SCAFFOLD")
    far = max(abs(end(table, "FedProx") / end(table, "FedAvg") - 1) for table in seen.values())
    return verdicts(
        {
            "homogeneous: at most a third of FedAvg's rounds to gap 0.05": (
                f"{fast:.0f} and {slow:.0f}", fast <= slow / 3,
            ),
            "homogeneous: gap at the end at least 50 times smaller": (
                f"{smaller:.0f} times", smaller >= 50,
            ),
            "type 2: at most half of FedAvg's rounds to gap 0.02, fewer than SCAFFOLD's": (
                f"{quick:.0f}, {plain:.0f} and {other:.0f}", quick <= plain / 2 and quick < other,
            ),
            "type 1: FedAvg levels off, FedDyn (all) and SCAFFOLD go to 0": (
                f"{stuck:.2g}, {none:.1g} and {beside:.1g}",
                stuck > 0.02 and max(none, beside) < 1e-3,
            ),
            "FedProx, μ = 0.0001, is FedAvg": (f"gaps at the end {far:.1%} apart", far < 0.05),
        }
    )  # fmt: skip


def _until(table: pd.DataFrame, method: str, goal: float) -> list[float]:
    """Rounds to a gap, by seed; inf where it was not met."""
    runs = [run for _, run in table[table.variant == method].groupby("seed")]
    return [float(run.version[run.gap <= goal].min()) if (run.gap <= goal).any() else np.inf
            for run in runs]  # fmt: skip
