"""Side studies of SPATL: why its loss explodes on IID data, and a reward on 500 examples.

    python benchmarks/studies/spatl_side.py [--only rates|reward]

Writes the blocks "rates" and "reward" of docs/results/spatl.md. Ten minutes of one core.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from parts.pages import markdown, put_block
from parts.spatl import UnitDigits
from spatl import PAGE, finals, percent, spatl

import simfl
from simfl.results.study import Study

STEPS, MOMENTA = (0.1, 0.25, 0.5), (0.0, 0.5, 0.9)
FIXED = {"learning.dataset": UnitDigits(), "learning.partition": "iid"}
#: Two devices with some 718 digits each, of which seven tenths are held back for the agent.
REWARDED = {
    **FIXED,
    "fleet.group": [{"device": "raspberry-pi-4", "network": "home-broadband", "count": 2}],
    "learning.hold_back": 0.7,
    "strategy.cohort": 2,
}
HELD_BACK = 500


def scanned() -> dict[str, dict[str, Any]]:
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


def rates(study: Study) -> pd.DataFrame:
    """Local accuracy at the end and at its best, by effective step and momentum."""
    rows = []
    for name, seen in study.evaluations.groupby("variant", sort=False):
        control, step, rho = str(name).split()
        accuracy, rounds = seen.pers_local.to_numpy(), seen.version.to_numpy()
        lost = np.flatnonzero(~np.isfinite(seen.loss.to_numpy()))
        rows.append(
            {
                "drift control": "yes" if control == "in_grad" else "no",
                "lr/(1 - ρ)": step,
                "ρ": rho,
                "lr": f"{float(step) * (1.0 - float(rho)):.3g}",
                "local, 10": percent(accuracy[rounds == 10][0]),
                "local, 25": percent(accuracy[-1]),
                "best": percent(np.nanmax(accuracy)),
                "not finite from round": str(rounds[lost[0]]) if len(lost) else "–",
            }
        )
    return pd.DataFrame(rows).set_index("drift control")


def rewarded() -> dict[str, dict[str, Any]]:
    """The agent, its controls, and what it is to be compared with."""
    held = {"reward_examples": HELD_BACK}
    return {
        "SPATL, no selection": spatl("all"),
        "SPATL, agent": spatl("ppo", **held),
        "SPATL, random": spatl("random", **held),
        "SPATL, uniform": spatl("uniform"),
    }


def reward(study: Study) -> pd.DataFrame:
    """Final local accuracy by seed."""
    table = finals(study).round(1)
    table["median"] = table.median(axis=1).round(1)
    return table.rename(columns=lambda seed: f"seed {seed}" if seed != "median" else seed)


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--only", choices=("rates", "reward"))
    only, runs = given.parse_args().only, Path("runs") / "spatl"
    if only != "reward":
        warned = {**FIXED, "stop.on_divergence": "warn"}
        found = simfl.study("spatl/digits", scanned(), seeds=range(1), out=runs / "rates", **warned)
        put_block(PAGE, "rates", markdown(rates(found)))
    if only != "rates":
        methods = {name: {**one, "cohort": 2} for name, one in rewarded().items()}
        found = simfl.study(
            "spatl/digits", methods, seeds=range(3), out=runs / "reward", **REWARDED
        )
        put_block(PAGE, "reward", markdown(reward(found)))


if __name__ == "__main__":
    main()
