"""Gradient inversion for late updates (Wang and Gao, AAAI 2025) on intertwined digits.

    python benchmarks/studies/gradient_inversion.py [--seeds 5] [--few 3] [--long]

Writes docs/results/gradient-inversion.md and its picture. Finished runs are not played again.
--long plays LeNet on MNIST instead, seed 0, and writes its tables; it needs SIMFL_DATA_DIR.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import pyplot as plt
from parts import inversion_mnist as mnist
from parts.inversion import recovery, searches
from parts.pages import markdown, put_block, verdicts
from parts.whole import whole

import simfl
from simfl.cli.console import StudyProgress, err
from simfl.results.study import Study

PAGE = Path(__file__).parents[2] / "docs" / "results" / "gradient-inversion.md"
SCENE = "gradientinversion/digits"
ROUND = {"cohort": 10, "selection": "cyclic", "epochs": 5, "hold": 40}
LAST = 20  # versions over which accuracies are averaged
TARGET = 0.94
SEARCHED = range(3)  # seeds whose late devices are searched for by themselves


def gi(**options: Any) -> dict[str, Any]:
    """Gradient inversion of every late update to the end, and other options."""
    plain = {"kind": "gradientinversion", **ROUND, "switch": False, "unique": False}
    return {**plain, **options}


UNWEIGHTED = {"kind": "semisync", **ROUND}
CORE: dict[str, Any] = {
    "unstale (oracle)": {**UNWEIGHTED, "hold": 0},
    "unweighted": UNWEIGHTED,
    "weighted": {**UNWEIGHTED, "weighting": "sigmoid"},
    "first-order": {"kind": "firstorder", **ROUND},
    "first-order, predicted": {"kind": "firstorder", **ROUND, "predict": True},
    "two tiers": {"kind": "twotiers", **ROUND},
    "gradient inversion": gi(),
}
PARTS: dict[str, Any] = {
    "switch and uniqueness test": gi(switch=True, unique=True),
    "largest 25 % matched": gi(keep=0.25),
    "largest 5 % matched": gi(keep=0.05),
}
MILD = {"strategy.hold": 10, "learning.partition": {"kind": "dirichlet", "alpha": 1.0}}
DRIFT = {"learning.shift": {"first": 20, "last": 110}}
SLOW = 0.3  # GFLOP/s of a server that feels its searches
OVERLAPPED = {"strategy": gi(overlap=True), "server.gflops": SLOW}


def fresh(label: str) -> dict[str, Any]:
    """The oracle stays one, whatever lateness a scene has."""
    return {"strategy.hold": 0} if label == "unstale (oracle)" else {}


def played(
    name: str, methods: dict[str, Any], seeds: range, scene: str = SCENE, **overrides: Any
) -> Study:
    """A study of these methods, all of whose cells ended well."""
    out, seen = Path("runs") / "gradient-inversion" / name, StudyProgress(err())
    found = simfl.study(scene, methods, seeds=seeds, out=out, progress=seen, **overrides)
    return whole(found)


def late(study: Study) -> pd.DataFrame:
    """Means over the last versions, a row for each run."""
    frame = study.evaluations
    frame = frame[frame.version > frame.version.max() - LAST]
    return frame.groupby(["strategy", "seed"], sort=False).mean(numeric_only=True).reset_index()


def accuracies(study: Study, columns: dict[str, str]) -> pd.DataFrame:
    """Means over seeds, and for the class the single seeds."""
    runs = late(study)
    table = runs.groupby("strategy", sort=False)[list(columns)].mean().round(3)
    seeds = runs.pivot(index="strategy", columns="seed", values="accuracy_class_8").round(3)
    seeds.columns = [f"class 8, seed {seed}" for seed in seeds.columns]
    return table.rename(columns=columns).join(seeds).rename_axis("strategy")


OF = {"accuracy": "accuracy", "accuracy_class_8": "class 8"}
ERRORS = {"e1": "E1", "e2": "E2", "inverted": "inverted", "usual": "usual", "rejected": "rejected"}


def acceptance(table: pd.DataFrame, parted: pd.DataFrame) -> pd.DataFrame:
    """What was asked for, what was found. parted: E1 and E2 by versions."""
    one, got = table["accuracy"], table["class 8"]
    gap = one["unstale (oracle)"] - one["unweighted"]
    share = (one["gradient inversion"] - one["unweighted"]) / gap
    ahead = got["gradient inversion"] - got["unweighted"]
    first = one["first-order"] - one["unweighted"]
    others = got.drop("weighted").min() - got["weighted"]
    early, late_ = (parted.e2 - parted.e1).iloc[[0, -1]]
    found = {
        "(a) weighted is below all others on the class": (f"{others:+.3f}", others > 0.05),
        "(b) half of the gap in accuracy is closed": (f"{share:.0%}", share >= 0.5),
        "(b) at least 0.03 better on the class": (f"{ahead:+.3f}", ahead >= 0.03),
        "(d) E2 - E1 is above 0 at first": (f"{early:+.3f}", early > 0),
        "(d) and smaller at last": (f"{late_:+.3f}", late_ < early),
        "(c) first-order is within 0.03 of unweighted": (f"{first:+.3f}", abs(first) <= 0.03),
    }
    return verdicts(found)


def errors(study: Study) -> pd.DataFrame:
    """E1 and E2 of gradient inversion by thirds of what could be compared."""
    frame = study.evaluations
    frame = frame[(frame.strategy == "gradient inversion") & (frame.version > 80)]
    third = pd.cut(frame.version, [80, 90, 100, 110], labels=["81-90", "91-100", "101-110"])
    return frame.groupby(third, observed=True)[["e1", "e2"]].mean().round(3).rename_axis("versions")


def costs(core: Study, overlapped: Study) -> pd.DataFrame:
    """Virtual seconds to the target and in all, means over seeds, by the server's speed.

    Rounds take a second. A server that devices wait for does the same work at any speed, so that
    its times follow from what one run charged.
    """
    frame, steps = core.evaluations, core.frame("versions")
    steps = steps.set_index(["strategy", "seed", "version"]).step_s
    spent = steps.groupby(level=[0, 1]).cumsum().rename("spent_s").reset_index()
    frame = frame.merge(spent, how="left", on=["strategy", "seed", "version"]).fillna(
        {"spent_s": 0}
    )
    rows = {name: _times(frame, name, frame.time_s) for name in ("unweighted", "two tiers")}
    for gflops in (100.0, 1.0, SLOW):
        time_s = frame.time_s + frame.spent_s * (100.0 / gflops - 1.0)
        rows[f"gradient inversion, {gflops:g} GFLOP/s"] = _times(
            frame, "gradient inversion", time_s
        )
    beside = overlapped.evaluations
    rows[f"overlapped, {SLOW:g} GFLOP/s"] = _times(beside, "overlapped", beside.time_s)
    return pd.DataFrame(rows).T.rename_axis("strategy and server")


def _times(frame: pd.DataFrame, name: str, time_s: pd.Series) -> dict[str, Any]:
    runs = frame.assign(time_s=time_s)[frame.strategy == name]
    hit = runs[runs.accuracy >= TARGET].groupby("seed").time_s.min()
    count = runs.seed.nunique()
    return {
        f"to {TARGET:.0%} (s)": f"{hit.mean():.1f}" if len(hit) else "never",
        "seeds that get there": f"{len(hit)} of {count}",
        "110 versions (s)": f"{runs.groupby('seed').time_s.max().mean():.1f}",
    }


def drawn(core: Study) -> None:
    """Accuracy, class accuracy, and errors over versions; means over seeds."""
    frame = core.evaluations
    figure, axes = plt.subplots(1, 3, figsize=(13, 3.6), layout="constrained")
    for name, runs in frame.groupby("strategy", sort=False):
        means = runs.groupby("version").mean(numeric_only=True)
        for ax, column in zip(axes, ("accuracy", "accuracy_class_8"), strict=False):
            ax.plot(means.index, means[column].rolling(5, 1).mean(), label=name)
    mine = frame[frame.strategy == "gradient inversion"].groupby("version")[["e1", "e2"]].mean()
    for column, label in (("e1", "E1, estimate"), ("e2", "E2, late update")):
        axes[2].plot(mine.index, mine[column], label=label)
    for ax, name in zip(axes, ("accuracy", "accuracy on class 8", "1 - cosine"), strict=True):
        ax.set(xlabel="version", ylabel=name)
    axes[1].legend(fontsize=7)
    axes[2].legend()
    figure.savefig(PAGE.with_suffix(".png"), dpi=110)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--few", type=int, default=3, help="seeds of what is beside the table")
    options.add_argument("--long", action="store_true", help="MNIST instead of digits")
    given = options.parse_args()
    if given.long:
        long()
    else:
        short(range(given.seeds), range(given.few))


def long() -> None:
    """LeNet on MNIST, over shares and lateness."""
    study = played("mnist", mnist.cells(), range(1), mnist.SCENE, **mnist.SETTING)
    put_block(PAGE, "mnist", markdown(mnist.accuracies(study)))
    put_block(PAGE, "mnist-last", markdown(mnist.accuracies(study, last=40)))
    put_block(PAGE, "mnist-rounds", markdown(mnist.rounds(study)))
    put_block(PAGE, "mnist-errors", markdown(mnist.errors(study)))


def short(seeds: range, few: range) -> None:
    """Everything on digits. few: seeds of what is beside the table."""
    core = played("core", CORE, seeds)
    table = accuracies(core, OF)
    put_block(PAGE, "table", markdown(table))
    put_block(PAGE, "acceptance", markdown(acceptance(table, errors(core))))
    put_block(PAGE, "errors", markdown(errors(core)))
    drawn(core)
    beside = played("overlapped", {"overlapped": OVERLAPPED}, few)
    put_block(PAGE, "costs", markdown(costs(core, beside)))
    put_block(PAGE, "parts", markdown(accuracies(played("parts", PARTS, few), OF | ERRORS)))
    for name, changes in (("mild", MILD), ("drift", DRIFT)):
        methods = {
            label: {"strategy": CORE[label], **changes, **fresh(label)}
            for label in ("unstale (oracle)", "unweighted", "gradient inversion")
        }
        columns = {"accuracy_later": "accuracy, later data", **OF} if name == "drift" else OF
        put_block(PAGE, name, markdown(accuracies(played(name, methods, few), columns)))
    put_block(PAGE, "searches", markdown(searches(SEARCHED)))
    put_block(PAGE, "privacy", markdown(recovery(SEARCHED)))


if __name__ == "__main__":
    main()
