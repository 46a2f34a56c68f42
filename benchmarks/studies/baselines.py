"""Every strategy on one fleet, each at its own best rates. Writes docs/results/baselines.md.

    python benchmarks/studies/baselines.py

What is tuned, and where, is in scenarios/studies/baselines.toml. Runs are kept in runs/studies: a
script that was stopped goes on there.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from parts.chosen import options_of
from parts.pages import markdown, put_block
from parts.whole import whole

import simfl
from simfl.cli.console import StudyProgress, err
from simfl.results.stats import how_made, in_words, median, target_table
from simfl.results.study import Study

PAGE = Path(__file__).parents[2] / "docs" / "results" / "baselines.md"
SCENARIO, OUT = "studies/baselines", Path("runs/studies/baselines")
REFERENCE = "fedavg"


def costs(study: Study, found: pd.DataFrame) -> pd.DataFrame:
    """Costs to the target, staleness and waste; medians over seeds with their intervals."""
    table = target_table(found).rename_axis("method")
    for name, runs in study.table.groupby("strategy", sort=False):
        p50, p95 = runs["staleness_p50"].median(), runs["staleness_p95"].median()
        waste = 100.0 * runs["wasted_share"].to_numpy()
        table.loc[name, "staleness p50 / p95"] = f"{p50:.3g} / {p95:.3g}"
        table.loc[name, "waste, %"] = in_words(median(waste, waste))
    return table.iloc[by_time(found)]


def by_time(found: pd.DataFrame) -> np.ndarray:
    """Places of the rows in order of their median times; those that missed the target last."""
    return np.argsort([time.high for time in found["seconds"]], kind="stable")


def tuning(study: Study, found: pd.DataFrame) -> pd.DataFrame:
    """What was chosen for each method, where the choice lies in its space, and what it cost."""
    if study.tuning is None:
        raise SystemExit(f"{study.folder}: nothing was tuned")
    rows = {
        name: options_of(best)
        | {"mean time, tuning seeds": f"{best.value:.0f} s" + " (missed)" * (not best.met)}
        for name, best in study.tuning.best.items()
    }
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
    return table.loc[list(found.index[by_time(found)])]


def write(study: Study) -> None:
    """The page has the study's tables, and its picture."""
    found = study.at_target(REFERENCE)
    put_block(PAGE, "table", markdown(costs(study, found)))
    put_block(PAGE, "how made", how_made(found, REFERENCE))
    put_block(PAGE, "tuning", markdown(tuning(study, found)))
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 7), layout="constrained")
    simfl.plot.time_to_target(study, ax=left)
    simfl.plot.time_to_target(study, cost="up_bytes", ax=right)
    figure.savefig(PAGE.with_suffix(".png"), dpi=110)


def main() -> None:
    write(whole(simfl.study(SCENARIO, out=OUT, progress=StudyProgress(err()))))


if __name__ == "__main__":
    main()
