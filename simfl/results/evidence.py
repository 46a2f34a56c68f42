"""Statistics of a comparison: paired tests, scores with their spread, performance profiles."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

#: Scores of a run, by the columns of a study's table.
SCORES = {
    "final_accuracy": "final",
    "last10_accuracy": "mean of last 10",
    "best_accuracy": "best",
}


def signed_rank(low: np.ndarray, high: np.ndarray) -> float:
    """Two-sided p of Wilcoxon's signed-rank test that ratios favour neither side; NaN for none.

    low, high: (n,) bounds of ratios of which 1 is a tie, as from `stats.ratios`. A pair counts with
    the bound nearest to 1, so censoring can hide a difference and cannot make one; ties keep their
    ranks and have no sign (Pratt, 1959). The distribution is the exact one.

    >>> import numpy as np
    >>> quicker = np.array([1.5, 2.0, 1.2, 3.0, 1.1])
    >>> signed_rank(quicker, quicker)
    0.0625
    """
    from scipy.stats import rankdata

    if not len(low):
        return float("nan")
    with np.errstate(divide="ignore"):
        logs = np.log(np.clip(1.0, low, high))
    doubled = np.rint(2 * rankdata(np.abs(logs))).astype(int)  # ranks of ties are halves
    weights = doubled[logs != 0.0]
    chances = np.ones(1)
    for weight in weights:  # of each sum of the ranks that are positive, one rank after another
        apart = np.zeros(len(chances) + weight)
        apart[: len(chances)] += 0.5 * chances
        apart[weight:] += 0.5 * chances
        chances = apart
    sums = np.abs(2 * np.arange(len(chances)) - weights.sum())
    seen = abs(2 * int(doubled[logs > 0.0].sum()) - int(weights.sum()))
    return float(chances[sums >= seen].sum())


def mean_and_spread(values: pd.Series) -> str:
    """Mean and sample standard deviation (n - 1) of shares, in per cent; alone without a second.

    >>> mean_and_spread(pd.Series([0.8, 0.9])), mean_and_spread(pd.Series([0.8]))
    ('85.0 ± 7.1', '80.0')
    """
    known = values.dropna().astype(float)
    if known.empty:
        return "-"
    spread = f" ± {100 * known.std(ddof=1):.1f}" if len(known) > 1 else ""
    return f"{100 * known.mean():.1f}{spread}"


def scores(table: pd.DataFrame) -> pd.DataFrame:
    """One row per variant of a study's table: `SCORES` in per cent, in words."""
    known = [column for column in SCORES if column in table]
    rows = {
        name: {"seeds": str(len(part))}
        | {SCORES[column]: mean_and_spread(part[column]) for column in known}
        for name, part in table.groupby("variant", sort=False)
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("variant")


def profile(
    costs: pd.DataFrame, solver: str, problem: Sequence[str], cost: str = "seconds"
) -> pd.DataFrame:
    """Performance profiles (Dolan and Moré, 2002): columns solver, ratio, share.

    costs: rows of `stats.to_target`.
    solver: the column of what is compared.
    problem: those that together name what each was to solve. `share` of the problems was solved at
        no more than `ratio` times the cost of the best solver; a target that was missed is a
        problem not solved.
    """
    spent = costs["down_bytes"] + costs["up_bytes"] if cost == "bytes" else costs[cost]
    known = costs[[solver, *problem]].assign(cost=spent.where(costs["met"], np.inf))
    best = known.groupby(list(problem), sort=False)["cost"].transform("min")
    with np.errstate(invalid="ignore"):
        ratio = (known["cost"] / best).fillna(np.inf)  # where no method met the target
    ratio = ratio.where(known["cost"] != best, 1.0).where(np.isfinite(known["cost"]), np.inf)
    steps = np.unique(ratio[np.isfinite(ratio)])
    parts = [
        pd.DataFrame(
            {
                solver: name,
                "ratio": steps,
                "share": [(ratio[rows.index] <= step).mean() for step in steps],
            }
        )
        for name, rows in known.groupby(solver, sort=False)
    ]
    return pd.concat(parts, ignore_index=True)
