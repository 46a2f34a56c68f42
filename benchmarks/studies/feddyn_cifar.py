"""FedDyn on CIFAR-10 as its paper has it: rounds to the paper's accuracies. Days of a core in all.

    SIMFL_DATA_DIR=... python benchmarks/studies/feddyn_cifar.py [--minutes 10]

Every call plays its minutes, goes on where the last one stopped, and writes the block "cifar10" of
docs/results/feddyn.md with what there is so far. Seed 0.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from feddyn import PAGE, RUNS, coins, rounds
from parts.pages import markdown, put_block
from parts.rations import asked_until, play_in_turn, seen

#: Accuracies of the paper's tables at 10 % participation, by who holds what.
TARGETS = {"IID": (0.823, 0.845), "Dirichlet(0.3)": (0.807, 0.825)}
PARTITIONS: dict[str, Any] = {"IID": "iid", "Dirichlet(0.3)": {"kind": "priors", "alpha": 0.3}}
METHODS = ("FedDyn, α = 0.01", "SCAFFOLD", "FedAvg")


def cells() -> dict[tuple[str, str], dict[str, Any]]:
    """Overrides by partition and method, in the order in which they are played."""
    methods = rounds(5, 50, (0.01,), **coins(100, 0.1))
    return {
        (split, name): {"learning.partition": PARTITIONS[split], "strategy": _plain(methods[name])}
        for split in PARTITIONS
        for name in METHODS
    }


def _plain(strategy: dict[str, Any]) -> dict[str, Any]:
    """Without the latest models of all devices, which weigh 319 MB."""
    return {key: value for key, value in strategy.items() if key != "remember"}


def folder_of(split: str, name: str) -> Path:
    return RUNS / "cifar10" / f"{split} {name}".replace(" ", "-")


def table() -> pd.DataFrame:
    """Rounds to the paper's accuracies, or how far a run has come."""
    rows = {}
    for split, name in cells():
        run = seen(folder_of(split, name))
        played = int(run.version.max()) if len(run) else 0
        rows[f"{split}, {name}"] = {
            "rounds played": str(played),
            "accuracy there": f"{100 * run.accuracy.iloc[-1]:.1f}" if played else "–",
            "rounds to the paper's accuracies": ", ".join(
                f"{100 * goal:g} %: {first(run, goal)}" for goal in TARGETS[split]
            ),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("devices hold, method")


def first(run: pd.DataFrame, goal: float) -> str:
    """The round of the first evaluation that meets the goal, or a bound; – before the first."""
    met = run.version[run.accuracy >= goal]
    if len(met) or run.empty:
        return str(met.iloc[0]) if len(met) else "–"
    return f"> {run.version.max()}"


def main() -> None:
    until = asked_until(__doc__)
    left = [(folder_of(*cell), overrides) for cell, overrides in cells().items()]
    play_in_turn("feddyn/cifar10", left, until=until)
    put_block(PAGE, "cifar10", markdown(table()))


if __name__ == "__main__":
    main()
