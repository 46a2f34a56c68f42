"""Why SPATL's loss explodes on IID data: a scan of the rate and the momentum, one seed.

    python benchmarks/studies/spatl_rates.py

Writes the block "rates" of docs/results/spatl.md. Seven minutes of one core.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from parts.pages import markdown, put_block
from parts.spatl import UnitDigits
from spatl import PAGE, spatl

import simfl
from simfl.results.study import Study

STEPS, MOMENTA = (0.1, 0.25, 0.5), (0.0, 0.5, 0.9)
FIXED = {
    "learning.dataset": UnitDigits(),
    "learning.partition": "iid",
    "stop.on_divergence": "warn",
}


def variants() -> dict[str, dict[str, Any]]:
    """By name, "control s ρ": the same lr/(1 - ρ) by different rates and momenta."""
    made = {}
    for control in ("in_grad", "none"):
        for step in STEPS if control == "in_grad" else STEPS[-1:]:
            for rho in MOMENTA:
                made[f"{control} {step} {rho}"] = {
                    "strategy": spatl("all", control=control),
                    "learning.lr": step * (1.0 - rho),
                    "learning.momentum": rho,
                }
    return made


def table_of(study: Study) -> pd.DataFrame:
    """Local accuracy at the end and at its best, by effective step and momentum."""
    rows = []
    for name, seen in study.evaluations.groupby("variant", sort=False):
        control, step, rho = str(name).split()
        accuracy = 100.0 * seen.pers_local.to_numpy()
        lost = np.flatnonzero(~np.isfinite(seen.loss.to_numpy()))
        rows.append(
            {
                "drift control": "yes" if control == "in_grad" else "no",
                "lr/(1 - ρ)": step,
                "ρ": rho,
                "lr": f"{float(step) * (1.0 - float(rho)):.3g}",
                "local, 10": f"{accuracy[seen.version.to_numpy() == 10][0]:.1f}",
                "local, 25": f"{accuracy[-1]:.1f}",
                "best": f"{accuracy.max():.1f}",
                "not finite from round": str(int(seen.version.iloc[lost[0]])) if len(lost) else "–",
            }
        )
    return pd.DataFrame(rows).set_index("drift control")


def main() -> None:
    found = simfl.study(
        "spatl/digits", variants(), seeds=range(1), out=Path("runs") / "spatl" / "rates", **FIXED
    )
    put_block(PAGE, "rates", markdown(table_of(found)))


if __name__ == "__main__":
    main()
