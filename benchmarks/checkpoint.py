"""What it costs to save a run once a minute, against the minute, in the same run.

    python benchmarks/checkpoint.py

Writes a table of docs/reliability.md; at most 3 % is what is promised.
Each scene is played in turns without checkpoints and with one after every two seconds, into a
folder on the disk. Two measures of one checkpoint, which should agree: the seconds inside of it,
the disk's included, and what a run with checkpoints takes longer, by checkpoint. Read the shares
of a minute, for machines differ.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from studies.parts.pages import markdown, put_block

import simfl
from simfl.engine.checkpoints import checkpoint, saving
from simfl.scenario import Scenario, load, parse

PAGE = Path(__file__).parents[1] / "docs" / "reliability.md"
ROUNDS = 3
EVERY_S = 2.0  #: seconds of the machine between two checkpoints
RESFED = [{"kind": "resfed", "keep": 0.05}]


def quickstart() -> Scenario:
    """100 devices, a small dense model."""
    return load("quickstart", {"stop": {"versions": 2_000}})


def predictors() -> Scenario:
    """The same devices; both ends of each link remember a model of 109,386 parameters."""
    model = {"kind": "mlp", "hidden": [256, 256, 100]}
    changes = {"learning.model": model, "wire.up": RESFED, "wire.down": RESFED}
    return load("quickstart", {**changes, "stop": {"versions": 50}})


def crowd() -> Scenario:
    """100,000 devices without learning, a thousand tasks in flight: the clock at full speed."""
    learning = {"dataset": "none", "parameters": 10_000, "examples": 50, "flops_per_example": 1e8}
    return parse(
        {
            "name": "crowd",
            "fleet": {"group": [{"device": "phone-mid", "network": "lte", "count": 100_000}]},
            "learning": learning,
            "strategy": {"kind": "fedasync", "concurrency": 1_000},
            "stop": {"updates": 200_000},
        }
    )


SCENES = {"quickstart": quickstart, "both ends remember": predictors, "100,000 devices": crowd}


@dataclass
class Costs:
    """Seconds of runs without and with checkpoints, and of each of these; bytes of the last."""

    plain_s: list[float] = field(default_factory=list)
    saved_s: list[float] = field(default_factory=list)
    each_s: list[float] = field(default_factory=list)
    nbytes: int = 0

    @property
    def inside(self) -> float:
        """Share of a minute that one checkpoint takes."""
        return statistics.median(self.each_s) / 60.0

    @property
    def longer(self) -> float:
        """The same, by how much longer whole runs take."""
        more_s = statistics.median(self.saved_s) - statistics.median(self.plain_s)
        return more_s / (len(self.each_s) / len(self.saved_s)) / 60.0


def played(scenario: Scenario, wall_s: float, costs: Costs) -> float:
    """Seconds of a run that saves itself so often."""
    save, whole = saving.save, parse({**scenario.resolved(), "checkpoint": {"wall_s": wall_s}})

    def timed(*given: Any) -> None:
        start = time.perf_counter()
        save(*given)
        costs.each_s.append(time.perf_counter() - start)
        newest = max((given[1].folder / checkpoint.FOLDER).iterdir())
        costs.nbytes = sum(path.stat().st_size for path in newest.iterdir())

    saving.save = timed  # type: ignore[assignment]
    try:
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            simfl.run(whole, out=Path(folder))
            return time.perf_counter() - start
    finally:
        saving.save = save


def measured(scenario: Scenario) -> Costs:
    costs = Costs()
    for _ in range(ROUNDS):
        costs.plain_s.append(played(scenario, 1e9, costs))
        costs.saved_s.append(played(scenario, EVERY_S, costs))
    return costs


def main() -> None:
    rows = {}
    for name, scene in SCENES.items():
        costs = measured(scene())
        rows[name] = {
            "run, s": f"{statistics.median(costs.plain_s):.1f}",
            "checkpoints": f"{len(costs.each_s) / ROUNDS:.1f}",
            "MB each": f"{costs.nbytes / 1e6:.1f}",
            "s each": f"{statistics.median(costs.each_s):.2f}",
            "share of a minute": f"{costs.inside:.2%}",
            "by longer runs": f"{costs.longer:.2%}",
        }
        print(name, rows[name], flush=True)
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("scene")
    put_block(PAGE, "cost", markdown(table))


if __name__ == "__main__":
    main()
