"""Tables of the study of AsyncFedED: accuracies, times, and what its parts do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from parts.pages import verdicts

from simfl.results.study import Study


def best(evaluations: pd.DataFrame) -> pd.Series:
    """Highest accuracy of each run, by strategy, suspension and seed."""
    highest: pd.Series = evaluations.groupby(
        ["strategy", "group", "seed"], sort=False
    ).accuracy.max()
    return highest


def to_share(evaluations: pd.DataFrame, share: float) -> pd.Series:
    """Seconds of each run to this share of the best method's maximum of its seed; inf if never."""
    goal = share * best(evaluations).groupby(["group", "seed"]).max()
    rows = evaluations.join(goal.rename("goal"), on=["group", "seed"])
    keys = ["strategy", "group", "seed"]
    met = rows[rows.accuracy >= rows.goal].groupby(keys).time_s.min()
    everything = pd.MultiIndex.from_frame(rows[keys].drop_duplicates())
    times: pd.Series = met.reindex(everything, fill_value=np.inf)
    return times


def in_words(values: pd.Series) -> str:
    """Mean and sample standard deviation of accuracies, in per cent."""
    return f"{100 * values.mean():.1f} ± {100 * values.std(ddof=1):.1f}"


def seconds(value: float) -> str:
    return f"{value:.0f} s" if np.isfinite(value) else "not within 300 s"


def median_time(times: pd.Series) -> str:
    """Median seconds, and how many runs got there where not all did."""
    met = int(np.isfinite(times).sum())
    middle = float(np.median(times))
    shown = f"{middle:.0f}" if np.isfinite(middle) else "–"
    return shown if met == len(times) else f"{shown} ({met}/{len(times)})"


def maxima(study: Study, methods: dict[str, Any]) -> pd.DataFrame:
    """Maximum accuracy by method and suspension."""
    highest = best(study.evaluations).groupby(["strategy", "group"]).agg(in_words)
    return _by_suspension(highest, methods)


def times(study: Study, methods: dict[str, Any], share: float) -> pd.DataFrame:
    """Seconds to a share of the best maximum, by method and suspension."""
    found = to_share(study.evaluations, share).groupby(["strategy", "group"]).agg(median_time)
    return _by_suspension(found, methods)


def _by_suspension(values: pd.Series, methods: dict[str, Any]) -> pd.DataFrame:
    table = values.unstack("group").loc[list(methods)]
    table.columns = [f"P = {share:g}" for share in table.columns]
    return table.rename_axis("method")


def updates(study: Study, methods: dict[str, Any]) -> pd.DataFrame:
    """Median updates that entered the model; in rounds, those of all devices."""
    applied = study.table.groupby(["strategy", "group"]).applied.median()
    return _by_suspension(applied.map("{:.0f}".format), methods)


def ablation(main: Study, parts: Study) -> pd.DataFrame:
    """What each part of AsyncFedED contributes, at P = 0.1."""
    whole = main.evaluations
    whole = whole[(whole.strategy == "AsyncFedED") & (whole.group == 0.1)]
    seen, rows = pd.concat([whole, parts.evaluations]), {}
    for name, runs in seen.groupby("strategy", sort=False):
        by_seed = runs.groupby("seed").accuracy
        last = runs[runs.time_s > 200].groupby("seed").accuracy.mean()
        early = runs[runs.time_s <= 60].groupby("seed").accuracy.last()
        rows[name] = {
            "maximum": in_words(by_seed.max()),
            "mean after 200 s": in_words(last),
            "at 60 s": in_words(early),
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("variant")


def local_epochs(study: Study) -> list[tuple[float, float]]:
    """The least and the greatest of the devices' median K, seed by seed, P = 0.1."""
    tasks = study.frame("tasks", ["device", "outcome", "epochs"])
    tasks = tasks[(tasks.strategy == "AsyncFedED") & (tasks.group == 0.1)]
    medians = tasks[tasks.outcome == "applied"].groupby(["seed", "device"]).epochs.median()
    by_seed = medians.groupby("seed")
    return list(zip(by_seed.min(), by_seed.max(), strict=True))


def mechanism(study: Study, variant: str) -> pd.DataFrame:
    """By device over all seeds, P = 0.1: round time, staleness, step and local epochs."""
    tasks = study.frame("tasks", ["device", "outcome", "train_s", "drift", "weight", "epochs"])
    tasks = tasks[(tasks.strategy == variant) & (tasks.group == 0.1)]
    used = tasks[tasks.outcome == "applied"]
    by = used.groupby("device")
    return pd.DataFrame(
        {
            "updates": by.size(),
            "median train time, s": by.train_s.median().round(3),
            "median γ": by.drift.median().round(2),
            "γ, 95 %": by.drift.quantile(0.95).round(1),
            "median step": by.weight.median().round(2),
            "largest step": by.weight.max().round(3),
            "median K": by.epochs.median(),
            "K, 5 to 95 %": [f"{a:g} to {b:g}" for a, b in _ends(by.epochs)],
        }
    )


def _ends(groups: Any) -> list[tuple[float, float]]:
    return list(zip(groups.quantile(0.05), groups.quantile(0.95), strict=True))


def acceptance(main: Study, parts: Study) -> pd.DataFrame:
    """What the paper and its authors' logs lead one to expect, and what was found."""
    mean = 100 * best(main.evaluations).groupby(["strategy", "group"]).mean().unstack("group")
    late = to_share(main.evaluations, 0.9).groupby(["strategy", "group"]).median()
    ours, rounds, fixed = late["AsyncFedED", 0.1], late["FedAvg", 0.1], best(parts.evaluations)
    asked = mean.loc[["FedAsync, constant", "FedAsync, hinge"], 0.1].max()
    lost = mean[0.0] - mean[0.9]
    gammas = mechanism(parts, "kappa = 0")["median γ"]
    slow, fast = gammas.loc[[3, 0, 4]], gammas.loc[[5, 7, 8]]
    steps = mechanism(main, "AsyncFedED")
    local = local_epochs(main)
    off = mean.loc["AsyncFedED", 0.1] - 100 * fixed.loc["kappa = 0"].mean()
    found = {
        "A1: best maximum, P = 0.1; FedAvg before FedAsync": (
            f"{mean.loc['AsyncFedED', 0.1]:.1f}, {mean.loc['FedAvg', 0.1]:.1f}, {asked:.1f}",
            mean.loc["AsyncFedED", 0.1] > mean.loc["FedAvg", 0.1] > asked,
        ),
        "A2: time to 90 % at most half of FedAvg's, P = 0.1": (
            f"{ours:.0f} s; FedAvg {seconds(rounds)}", ours <= 0.5 * rounds,
        ),
        "A3: loses least from P = 0 to 0.9": (
            ", ".join(f"{name} {value:.1f}" for name, value in lost.items()),
            lost.idxmin() == "AsyncFedED",
        ),
        "A4: γ larger on slow devices at equal K": (
            f"{slow.min():.1f} to {slow.max():.1f} on 3, 0 and 4, "
            f"{fast.min():.1f} to {fast.max():.1f} on 5, 7 and 8",
            slow.min() > fast.max(),
        ),
        "A4: steps at most 1 (λ = ε)": (
            f"largest {steps['largest step'].max():.3f}", steps["largest step"].max() <= 1 + 1e-6,
        ),
        "A4: K low on some devices, at least five times as high on others": (
            "medians by seed " + ", ".join(f"{a:g} to {b:g}" for a, b in local),
            all(b >= 5 * a for a, b in local),
        ),
        "A5: adaptive K adds little to the maximum": (f"{off:+.1f} points", abs(off) <= 2.0),
    }  # fmt: skip
    return verdicts(found)
