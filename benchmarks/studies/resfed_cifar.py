"""ResFed on all of CIFAR-10: megabits to the paper's 70 %. A day of a core in all.

    SIMFL_DATA_DIR=... python benchmarks/studies/resfed_cifar.py [--minutes 10]

Every call plays its minutes, goes on where the last one stopped, and writes the block "cifar10
whole" of docs/results/resfed.md with what there is so far. Seed 0.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
from parts.pages import markdown, put_block
from parts.rations import asked_until, play_in_turn, seen
from parts.resfed import Ring
from parts.resfed_tables import DEVICES
from resfed import METHODS, PAGE, RIVALS, RUNS, SCENARIO

GOAL = 0.7
SETTING: dict[str, Any] = {
    "learning.dataset": "cifar10",
    "learning.partition": Ring(5),
    "learning.model": "cnn5",
    "learning.batch_size": 64,
    "learning.lr": 0.01,
    "stop": {"versions": 300, "target": {"accuracy": GOAL}},
}
CELLS = {
    "FedAvg": METHODS["FedAvg"],
    "ResFed rule 1, both": METHODS["ResFed rule 1, both"],
    "error feedback up, rule 0 down": RIVALS["error feedback up, rule 0 down"],
    "ResFed rule 1, both, s = .995": METHODS["ResFed rule 1, both, s = .995"],
}


def costs(run: pd.DataFrame) -> dict[str, str]:
    """Rounds and megabits per device until the goal, or until now."""
    if run.empty:
        return {"rounds": "–", "accuracy": "–", "Mb up": "–", "Mb down": "–"}
    met = run[run.accuracy >= GOAL]
    at, sign = (met.iloc[0], "") if len(met) else (run.iloc[-1], "> ")
    sent = {way: at[f"{way}_bytes"] * 8 / DEVICES / 1e6 for way in ("up", "down")}
    return {
        "rounds": f"{sign}{at.version:.0f}",
        "accuracy": f"{100 * at.accuracy:.1f}",
        **{f"Mb {way}": f"{sign}{megabits:.2f}" for way, megabits in sent.items()},
    }


def main() -> None:
    until = asked_until(__doc__)
    folders = {name: RUNS / "cifar10-whole" / f"{i}" for i, name in enumerate(CELLS)}
    cells = [(folders[name], SETTING | codecs) for name, codecs in CELLS.items()]
    play_in_turn(SCENARIO, cells, until=until)
    rows = {name: costs(seen(folder)) for name, folder in folders.items()}
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")
    put_block(PAGE, "cifar10 whole", markdown(table))


if __name__ == "__main__":
    main()
