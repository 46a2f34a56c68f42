"""Rivals of a private predictor, each at its own best options: local training alone, Ditto, ...

    python benchmarks/studies/spatl_personal.py

Writes the blocks "personal" and "personal, chosen" of docs/results/spatl.md. What is tuned, and
where, is in scenarios/studies/personal.toml. Half an hour of one core.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from parts.chosen import by_method
from parts.pages import markdown, put_block
from parts.spatl import UnitDigits
from parts.whole import whole
from spatl import PAGE, table_of

import simfl
from simfl.cli.console import StudyProgress, err
from simfl.results.study import Study

OUT = Path("runs") / "spatl" / "personal"
REFERENCE = "SPATL, no selection"


def scores(study: Study) -> pd.DataFrame:
    """Local accuracy by seed, its three readings, the pairs with SPATL, and what was sent."""
    seen = study.evaluations.assign(pers_local=100.0 * study.evaluations.pers_local)
    runs = seen.groupby(["variant", "seed"], sort=False).pers_local
    ends, late, best = runs.last().unstack(), runs.apply(_last_ten).unstack(), runs.max().unstack()
    table = pd.DataFrame(
        {
            "local, by seed": [_listed(row) for _, row in ends.iterrows()],
            "final": [_spread(row) for _, row in ends.iterrows()],
            "last ten": [_spread(row) for _, row in late.iterrows()],
            "maximum": [_spread(row) for _, row in best.iterrows()],
            "less SPATL's": [_listed(row - ends.loc[REFERENCE], "+") for _, row in ends.iterrows()],
        },
        index=ends.index,
    ).rename_axis("method")
    table = table.loc[study.variants]
    return table.join(table_of(study, (25,))[["balanced, 25", "kB up", "kB down"]])


def _last_ten(accuracy: pd.Series) -> float:
    return float(accuracy.tail(10).mean())


def _listed(values: pd.Series, sign: str = "") -> str:
    return ", ".join(f"{value:{sign}.1f}" for value in values)


def _spread(values: pd.Series) -> str:
    """Mean and sample standard deviation."""
    return f"{values.mean():.1f} ± {values.std(ddof=1):.1f}"


def main() -> None:
    pixels: dict[str, Any] = {"learning.dataset": UnitDigits()}
    shown = StudyProgress(err())
    study = whole(simfl.study("studies/personal", out=OUT, progress=shown, **pixels))
    if study.tuning is None:
        raise SystemExit(f"{study.folder}: nothing was tuned")
    put_block(PAGE, "personal", markdown(scores(study)))
    put_block(PAGE, "personal, chosen", markdown(by_method(study.tuning.best)))


if __name__ == "__main__":
    main()
