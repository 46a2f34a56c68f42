"""Side studies of AsyncFedED: control of local work, hangs that shrink with it, rivals, FEMNIST.

    python benchmarks/studies/asyncfeded_side.py [--seeds 3] [--only control|hangs|tuned|femnist]

Writes the blocks "control", "hangs", "tuned", "tuned, chosen" and "femnist" of
docs/results/asyncfeded.md. FEMNIST needs SIMFL_DATA_DIR.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

import pandas as pd
from asyncfeded import METHODS, PAGE, RUNS, suspended, with_epochs
from parts.asyncfeded import in_words
from parts.chosen import by_method
from parts.pages import markdown, put_block
from parts.whole import whole
from parts.writers import Writers

import simfl
from simfl.cli.console import StudyProgress, err
from simfl.learn.datasets.base import DATA_DIR
from simfl.results.study import Study

SYNTHETIC, FASHION = "asyncfeded/synthetic", "asyncfeded/fashion"
#: Devices whose epochs are shortest and longest.
ENDS = {"quick": (5, 7, 8), "slow": (3, 0, 4)}

#: What the authors' logs tell of γ̄ κ: its floor is 1. κ below 1 leaves γ a band in which K stays.
CONTROLS = ((1.0, 1.0), (2.0, 0.5), (4.0, 0.25), (1.5, 1.0), (3.0, 0.5), (6.0, 0.25))
#: Epochs of controls that never change K.
FIXED = (1, 3, 10)

#: Epochs after which a hang is as long as in the scenario.
AT_FIRST = 10
SHARES = (0.1, 0.5, 0.9)


def controls() -> dict[str, dict[str, Any]]:
    """Strategies by name."""
    ours = {"kind": "asyncfeded", "concurrency": 10}
    moved = {
        f"γ̄ = {bar:g}, κ = {kappa:g}": {**ours, "epochs": 10, "gamma_bar": bar, "kappa": kappa}
        for bar, kappa in CONTROLS
    }
    fixed = {f"K = {k}, fixed": {**ours, "epochs": k, "kappa": 0.0} for k in FIXED}
    return moved | fixed


def in_proportion(groups: list[dict[str, Any]], examples: Sequence[int]) -> list[dict[str, Any]]:
    """The fleet with hangs that last in proportion to a task's steps: after ten epochs as before.

    examples: of each device, a tenth of them to test; batches of 32.
    """
    steps = [AT_FIRST * ceil((n - n // 10) / 32) for n in examples]
    return [_slower(group, n) for group, n in zip(groups, steps, strict=True)]


def _slower(group: dict[str, Any], steps: int) -> dict[str, Any]:
    faults = group["faults"]
    hang = faults["suspend"]["hang"]
    per_step = {**hang, "per": "step", "high_s": hang["high_s"] / steps}
    return {**group, "faults": {**faults, "suspend": {**faults["suspend"], "hang": per_step}}}


def by_variant(study: Study, ends: Mapping[str, Sequence[int]] = ENDS) -> pd.DataFrame:
    """Three accuracies, updates, and by seed the median K of some devices."""
    tasks = study.frame("tasks", ["device", "outcome", "epochs"])
    used, rows = tasks[tasks.outcome == "applied"], {}
    for name, seen in study.evaluations.groupby("variant", sort=False):
        runs = seen.groupby("seed").accuracy
        rows[str(name).removeprefix("group=")] = {
            "maximum": in_words(runs.max()),
            "last ten": in_words(runs.apply(lambda one: one.tail(10).mean())),
            "final": in_words(runs.last()),
            "updates": f"{study.table[study.table.variant == name].applied.median():.0f}",
            **{f"median K, {who}": _epochs(used[used.variant == name], devices)
               for who, devices in ends.items()},
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("variant")


def _epochs(tasks: pd.DataFrame, devices: Sequence[int]) -> str:
    mine = tasks[tasks.device.isin(devices)]
    return ", ".join(f"{k:g}" for k in mine.groupby("seed").epochs.median())


def played(name: str, scenario: str, methods: Any, seeds: range | None, **more: Any) -> Study:
    """A study of which every run ended well."""
    shown = StudyProgress(err())
    return whole(
        simfl.study(scenario, methods, seeds=seeds, out=RUNS / name, progress=shown, **more)
    )


def control(seeds: range) -> None:
    """γ̄ and κ whose product has the floor 1, and K fixed, P = 0.1."""
    study = played("control", SYNTHETIC, controls(), seeds)
    put_block(PAGE, "control", markdown(by_variant(study)))


def hangs(seeds: range) -> None:
    """A hang of the usual length for the device, or of the length of the task that hangs."""
    base, fleets = simfl.load(SYNTHETIC), {}
    examples = base.resolved()["learning"]["dataset"]["examples"]
    for share in SHARES:
        groups = suspended(base, share)
        fleets[f"P = {share:g}, as after ten epochs"] = groups
        fleets[f"P = {share:g}, in proportion"] = in_proportion(groups, examples)
    ours = {"AsyncFedED": controls()["γ̄ = 1, κ = 1"]}
    study = played("hangs", SYNTHETIC, ours, seeds, sweep={"fleet.group": fleets})
    put_block(PAGE, "hangs", markdown(by_variant(study)))


def tuned(seeds: range) -> None:
    """Every method at a local rate and an option of its own that were looked for alike, P = 0.1."""
    study = played("tuned", "studies/asyncfeded", None, seeds)
    assert study.tuning is not None
    put_block(PAGE, "tuned", markdown(by_variant(study)))
    put_block(PAGE, "tuned, chosen", markdown(by_method(study.tuning.best)))


def femnist(seeds: range) -> None:
    """Ten writers on devices whose ten epochs take what the authors' logs say, P = 0.1."""
    if not os.environ.get(DATA_DIR):
        print(f"FEMNIST is left out: {DATA_DIR} is not set")
        return
    methods = METHODS | {"AsyncFedED": {**METHODS["AsyncFedED"], "gamma_bar": 2.0}}
    setting = {
        "learning.dataset": Writers(),
        "learning.partition": "user",
        "stop.after_s": 300.0,
        "fleet.group": timed(simfl.load(FASHION).resolved()["fleet"]["group"]),
    }
    study = played("femnist", FASHION, with_epochs(methods, 10), seeds, **setting)
    put_block(PAGE, "femnist", markdown(by_variant(study, {"all": range(10)})))


def timed(groups: list[dict[str, Any]], steps: int = 6) -> list[dict[str, Any]]:
    """The fleet with steps as much slower as an epoch has fewer of them than the scenario's 15."""
    longer = 15 / steps

    def slowed(law: dict[str, Any]) -> dict[str, Any]:
        return {**law, "low_s": longer * law["low_s"], "high_s": longer * law["high_s"]}

    return [{**group, "compute": slowed(group["compute"])} for group in groups]


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    given.add_argument("--seeds", type=int, default=3)
    given.add_argument("--only", choices=("control", "hangs", "tuned", "femnist"))
    asked = given.parse_args()
    for part in (control, hangs, tuned, femnist):
        if asked.only in (None, part.__name__):
            part(range(asked.seeds))


if __name__ == "__main__":
    main()
