"""SPATL (Yu et al., SC 2022): accuracy as devices meet it, bytes, the agent and its controls.

    python benchmarks/studies/spatl.py [--seeds 3] [--only digits|iid|fashion|sizes]

Writes docs/results/spatl.md and spatl.png. Fashion-MNIST needs SIMFL_DATA_DIR.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import pyplot as plt
from parts.pages import markdown, put_block
from parts.spatl import FashionSubset, UnitDigits
from parts.spatl_sizes import inference, messages
from parts.whole import whole

import simfl
from simfl.learn.datasets.base import DATA_DIR
from simfl.results.study import Study

DOCS = Path(__file__).parents[2] / "docs" / "results"
PAGE = DOCS / "spatl.md"
ROUNDS = {"cohort": 10, "epochs": 5.0}


def spatl(agent: str = "ppo", aggregate: str = "index_mean", **rule: Any) -> dict[str, Any]:
    """SPATL with this agent, cutting 40 % of the FLOP; other options of its local rule."""
    local = {"kind": "salient", "agent": agent, "flops_cut": 0.4, "equal_flops": True, **rule}
    return {"kind": "spatl", **ROUNDS, "aggregate": aggregate, "local": local}


METHODS: dict[str, dict[str, Any]] = {
    "FedAvg": {"kind": "fedavg", **ROUNDS},
    "FedProx, μ = 0.01": {"kind": "fedavg", **ROUNDS, "local": {"kind": "proximal", "mu": 0.01}},
    "FedNova": {"kind": "fednova", **ROUNDS, "local": "normalised"},
    "SCAFFOLD": spatl("all", private_head=False),
    "SPATL, no selection": spatl("all"),
    "SPATL, agent": spatl("ppo"),
    "SPATL, random": spatl("random"),
    "SPATL, uniform": spatl("uniform"),
    "SPATL, random, zero_fill": spatl("random", "zero_fill"),
}
ABLATIONS: dict[str, dict[str, Any]] = {
    "random, derived": spatl("random", cv_uplink="derived"),
    "private heads only": spatl("all", control="none"),
    "post step, κ = 1": spatl("all", control="post_step"),
    "post step, κ = 0.01": spatl("all", control="post_step", kappa=0.01),
    "random, damped": spatl("random", "damped"),
    "random, rows+cols": spatl("random", upload="rows+cols"),
    "random, FLOP cut of at least 0.2": spatl("random", flops_cut=0.2, equal_flops=False),
}
STANDARDISED = {
    f"{name}, standardised pixels": {"strategy": METHODS[name], "learning.dataset": "digits"}
    for name in ("SCAFFOLD", "SPATL, no selection")
}
IID = ("FedAvg", "SPATL, no selection", "SPATL, random", "SPATL, random, zero_fill")


def played(name: str, scenario: str, methods: dict, seeds: range, **more: Any) -> Study:
    """A study of these methods; all cells must end well."""
    out = Path("runs") / "spatl" / name
    return whole(simfl.study(scenario, methods, seeds=seeds, out=out, **more))


def table_of(study: Study, at: tuple[int, ...]) -> pd.DataFrame:
    """One row per variant, medians over seeds: accuracies at some rounds, bytes, FLOP."""
    rows: dict[Any, dict[str, Any]] = {}
    for variant, seen in study.evaluations.groupby("variant", sort=False):
        rounds = seen.groupby("version").median(numeric_only=True)
        last, one = rounds.iloc[-1], study.runs()[variant].summary
        row = {f"local, {k}": percent(rounds.pers_local[k]) for k in at}
        row[f"balanced, {at[-1]}"] = percent(rounds.accuracy[at[-1]])
        tasks = one["applied"] + one["lost"]
        row["kB up"] = f"{last.up_bytes / tasks / 1e3:.1f}"
        row["kB down"] = f"{last.down_bytes / tasks / 1e3:.1f}"
        row["filters kept"] = share_of(seen, "kept")
        row["FLOP cut"] = share_of(seen, "flops_cut")
        rows[variant] = row
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def share_of(seen: pd.DataFrame, column: str) -> str:
    """Mean over rounds and seeds of a share, where there is one."""
    values = seen[column].dropna() if column in seen else pd.Series(dtype=float)
    return f"{values.mean():.2f}" if len(values) else "–"


def percent(value: float) -> str:
    """A dash where the model was not finite any more."""
    return f"{100 * value:.1f}" if np.isfinite(value) else "–"


def finals(study: Study, column: str = "pers_local") -> pd.DataFrame:
    """(variant, seed) last value of a column, in percent."""
    last = study.evaluations.groupby(["variant", "seed"], sort=False).last()
    return 100.0 * last[column].unstack()


def costs(study: Study, target: float) -> pd.DataFrame:
    """Rounds, bytes and time until devices meet the target on average, medians over seeds."""
    spent = study.to_target(pers_local=target)
    rows: dict[Any, dict[str, Any]] = {}
    for variant, part in spent.groupby("variant", sort=False):
        never = not part.met.all()
        say = (lambda value: "never") if never else (lambda value: f"{value:.3g}")
        rows[variant] = {
            "met": f"{int(part.met.sum())} of {len(part)}",
            "rounds": say(part.versions.median()),
            "MB up": say(part.up_bytes.median() / 1e6),
            "MB down": say(part.down_bytes.median() / 1e6),
            "MB": say((part.up_bytes + part.down_bytes).median() / 1e6),
            "virtual s": say(part.seconds.median()),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def acceptance(study: Study, iid: Study, other: Study) -> str:
    """What a correct implementation should show, with the numbers found."""
    local, balanced = finals(study), finals(study, "accuracy")

    def gap(table: pd.DataFrame, name: str, other: str) -> float:
        """Median over seeds of the difference in points."""
        return float((table.loc[f"SPATL, {name}"] - table.loc[other]).median())

    bar = float(local.loc["FedAvg"].median())
    passed = study.to_target(pers_local=bar / 100.0)
    when = passed[passed.variant == "SPATL, agent"].versions.median()
    up = pd.concat([one.table for one in (study, other)]).set_index(["variant", "seed"]).up_bytes
    full, fill = "SPATL, no selection", "SPATL, random, zero_fill"
    early = [100.0 * (at_round(one, "SPATL, random") - at_round(one, fill)) for one in (study, iid)]
    said = {
        "a": f"SPATL passes FedAvg's final `pers_local` ({bar:.1f}) after {when:.0f} of 25 rounds "
        f"and ends {gap(local, 'agent', 'FedAvg'):+.1f} points from it",
        "b": f"uplink over SCAFFOLD's: {over(up, 'SPATL, agent', 'SCAFFOLD'):.2f} explicit, "
        f"{over(up, 'random, derived', 'SCAFFOLD'):.2f} derived; explicit over FedAvg's: "
        f"{over(up, 'SPATL, agent', 'FedAvg'):.2f}",
        "c": "bytes both ways that FedAvg needs over SPATL's: "
        f"{bytes_over(study, 0.6):.1f} to `pers_local` 0.6; to 0.8 at least "
        f"{bytes_over(study, 0.8):.1f}, since FedAvg does not get there",
        "d": f"selection changes the end by {gap(local, 'agent', full):+.1f} points (random "
        f"{gap(local, 'random', full):+.1f}, uniform {gap(local, 'uniform', full):+.1f})",
        "e": f"index_mean over zero_fill at round 5: {early[0]:+.1f} points under skew, "
        f"{early[1]:+.1f} on IID data",
        "f": f"on all classes SPATL ends {gap(balanced, 'agent', 'FedAvg'):+.1f} points from "
        "FedAvg under skew",
    }
    return "\n".join(f"- ({key}) {line}." for key, line in said.items())


def over(values: pd.Series, name: str, other: str) -> float:
    """Median over seeds of a ratio."""
    return float((values.loc[name] / values.loc[other]).median())


def bytes_over(study: Study, target: float) -> float:
    """FedAvg's bytes to a target over SPATL's; runs that never meet it count as far as they got."""
    spent = study.to_target(pers_local=target).set_index(["variant", "seed"])
    return over(spent.up_bytes + spent.down_bytes, "FedAvg", "SPATL, agent")


def at_round(study: Study, variant: str, version: int = 5) -> float:
    """Median over seeds of the local accuracy at a round."""
    seen = study.evaluations
    return float(seen[(seen.variant == variant) & (seen.version == version)].pers_local.median())


def agents(study: Study) -> pd.DataFrame:
    """The agent against its controls at equal FLOP: final local accuracy by seed."""
    local = finals(study)
    names = ["SPATL, no selection", "SPATL, agent", "SPATL, random", "SPATL, uniform"]
    table = local.loc[[name for name in names if name in local.index]].round(1)
    table["median"] = table.median(axis=1).round(1)
    return table.rename(columns=lambda seed: f"seed {seed}" if seed != "median" else seed)


def picture(study: Study) -> None:
    """Local accuracy over rounds and over bytes; balanced accuracy over rounds."""
    names = ("FedAvg", "SCAFFOLD", "SPATL, no selection", "SPATL, agent", "SPATL, uniform")
    seen = study.evaluations.copy()
    seen["MB"] = (seen.up_bytes + seen.down_bytes) / 1e6
    middle = seen.groupby(["variant", "version"]).median(numeric_only=True)
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    panels = (("version", "pers_local"), ("MB", "pers_local"), ("version", "accuracy"))
    words = {"version": "round", "MB": "MB, up and down", "pers_local": "accuracy, local classes",
             "accuracy": "accuracy, all classes"}  # fmt: skip
    for ax, (x, y) in zip(axes, panels, strict=True):
        for name in names:
            run = middle.loc[name].reset_index()
            ax.plot(run[x], run[y], label=name)
        ax.set(xlabel=words[x], ylabel=words[y])
        ax.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    figure.savefig(DOCS / "spatl.png", dpi=130)
    plt.close(figure)


PIXELS = {"learning.dataset": UnitDigits()}


def digits(seeds: range) -> None:
    """The main tables: strong skew, the same network on IID data, and variants of the parts."""
    found = played("digits", "spatl/digits", METHODS, seeds, **PIXELS)
    iid = even()
    other = played("ablations", "spatl/digits", ABLATIONS | STANDARDISED, range(1), **PIXELS)
    put_block(PAGE, "digits", markdown(table_of(found, (5, 10, 20, 25))))
    put_block(PAGE, "costs to 60 %", markdown(costs(found, 0.6)))
    put_block(PAGE, "costs to 80 %", markdown(costs(found, 0.8)))
    put_block(PAGE, "acceptance", acceptance(found, iid, other))
    put_block(PAGE, "agents", markdown(agents(found)))
    put_block(PAGE, "ablations", markdown(table_of(other, (5, 10, 25))))
    picture(found)


def even() -> Study:
    """The same network on IID data, where drift control diverges at this rate; its table."""
    given = {**PIXELS, "learning.partition": "iid", "learning.lr": 0.05}
    given["stop.on_divergence"] = "warn"
    found = played("iid", "spatl/digits", {name: METHODS[name] for name in IID}, range(1), **given)
    put_block(PAGE, "iid", markdown(table_of(found, (5, 10, 25))))
    return found


def fashion() -> None:
    """Part of the devices in each round, and lost tasks, one seed."""
    names = ["FedAvg", *(n for n in METHODS if n.startswith("SPATL"))]
    some = {"cohort": 8, "epochs": 2.0}
    methods = {n: {**METHODS[n], **some} for n in names if "zero" not in n}
    subset = {"learning.dataset": FashionSubset(3000, 1000)}
    found = played("fashion", "spatl/fashion", methods, range(1), **subset)
    put_block(PAGE, "fashion", markdown(table_of(found, (5, 10, 15))))


def sizes() -> None:
    """What needs no learning: bytes of messages, and times of thinned models."""
    put_block(PAGE, "messages", markdown(messages()))
    put_block(PAGE, "inference", markdown(inference()))


def main() -> None:
    given = argparse.ArgumentParser(description=__doc__)
    given.add_argument("--seeds", type=int, default=3)
    given.add_argument("--only", choices=("digits", "iid", "fashion", "sizes"))
    asked = given.parse_args()
    parts = {"digits": lambda: digits(range(asked.seeds)), "iid": even, "sizes": sizes}
    if os.environ.get(DATA_DIR):
        parts["fashion"] = fashion
    else:
        print(f"Fashion-MNIST is left out: {DATA_DIR} is not set")
    for name, part in parts.items():
        if asked.only in (None, name):
            part()


if __name__ == "__main__":
    main()
