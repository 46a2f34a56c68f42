"""Statistics over seeds: medians and speed-ups with bootstrap intervals, censoring included.

A run that ended before it met the target is *right-censored*: its cost is only known to be at
least what it had spent by then. So every cost is a pair of bounds, [low, high], equal where the
target was met and high = inf where it was not, and every statistic is computed on both bounds:
an interval that is too wide rather than one that hides a failure.

Intervals are percentile bootstrap over seeds (Efron and Tibshirani, 1993, chapter 13), of the
median; speed-ups are ratios within a seed, since runs of one seed share their random numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from simfl.errors import InputError, did_you_mean
from simfl.results import formatting
from simfl.results.costs import PHASE_S
from simfl.results.evidence import signed_rank
from simfl.results.metrics import lower_is_better, reached
from simfl.results.result import Result

#: What it takes to meet a target. Every cost is what was spent until then, or until the end.
COSTS = ("met", "seconds", "versions", "down_bytes", "up_bytes", "device_s", "energy_j")

#: Resamples of a bootstrap, and the key of its own counter-based generator.
RESAMPLES, _KEY = 10_000, 1993


@dataclass(frozen=True)
class Estimate:
    """A statistic within [low, high] (equal unless censored) and its interval [lowest, highest]."""

    low: float
    high: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return in_words(self)


def to_target(result: Result, target: Mapping[str, float]) -> dict[str, float]:
    """COSTS of one run until it first met the target; until its end, and met = False, if never."""
    met = reached(result.evaluations, **target)
    if met is None:
        known = result.summary
        spent = {"seconds": known["virtual_s"]}
        spent |= {key: known[key] or 0 for key in ("versions", "down_bytes", "up_bytes")}
    else:
        spent = {"seconds": met["time_s"], "versions": met["version"]}
        spent |= {key: met[key] for key in ("down_bytes", "up_bytes")}
    tasks = result.read("tasks", ["dispatched_s", "energy_j", *PHASE_S.values()])
    spent |= {"device_s": device_seconds(tasks, float(spent["seconds"]))}
    spent |= {"energy_j": energy_joules(tasks, float(spent["seconds"]))}
    return {"met": met is not None, **{key: float(value) for key, value in spent.items()}}


def cost_of(spent: Mapping[str, float], cost: str) -> float:
    """One of COSTS, or "bytes", both ways, of what `to_target` found.

    >>> cost_of({"seconds": 9.0, "down_bytes": 300, "up_bytes": 100}, "bytes")
    400
    """
    return spent["down_bytes"] + spent["up_bytes"] if cost == "bytes" else spent[cost]


def best_of(evaluations: pd.DataFrame, metric: str) -> float:
    """The best value of a metric in a run; NaN without evaluations. Raises InputError.

    >>> best_of(pd.DataFrame({"loss": [2.0, 0.5, 0.7]}), "loss")
    0.5
    """
    if metric not in evaluations:
        raise InputError(f"{metric!r} was not evaluated {did_you_mean(metric, evaluations)}")
    found = evaluations[metric]
    return float(found.min() if lower_is_better(evaluations, metric) else found.max())


def shortfall(evaluations: pd.DataFrame, target: Mapping[str, float]) -> float:
    """How far a run stayed from its target, as a share of it; 0 if it met it."""
    ((metric, wanted),) = target.items()
    missing = abs(wanted - best_of(evaluations, metric))
    met = reached(evaluations, **target) is not None
    return 0.0 if met else missing / max(abs(wanted), 1e-12)


def device_seconds(tasks: pd.DataFrame, until_s: float) -> float:
    """Device-seconds spent until then; of a task under way, the seconds since its dispatch."""
    busy = tasks[list(PHASE_S.values())].sum(axis="columns")
    so_far = np.clip(until_s - tasks["dispatched_s"], 0.0, busy)
    return float(so_far.sum())


def energy_joules(tasks: pd.DataFrame, until_s: float) -> float:
    """Joules spent until then; of a task under way, in proportion to its device-seconds."""
    busy = tasks[list(PHASE_S.values())].sum(axis="columns")
    so_far = np.clip(until_s - tasks["dispatched_s"], 0.0, busy)
    share = np.divide(so_far, busy, out=np.ones(len(tasks)), where=busy > 0)
    return float((share * tasks["energy_j"].fillna(0.0)).sum())


def at_target(costs: pd.DataFrame, reference: str, level: float = 0.95) -> pd.DataFrame:
    """One row per variant: seeds, how many met the target, and an Estimate of every cost.

    costs: rows of `to_target` with columns variant and seed. Columns: `seeds`, `met`, one of
    Estimates for each of COSTS but `met`, and `speedup` over the reference, paired by seed, with
    the `p` of a paired test (see `evidence.signed_rank`). A row of the reference compares it with
    itself: exactly 1.
    """
    wide = {name: part.set_index("seed") for name, part in costs.groupby("variant", sort=False)}
    base = wide.get(reference)
    rows: dict[Any, dict[str, Any]] = {}
    for name, part in wide.items():
        rows[name] = {"seeds": len(part), "met": int(part["met"].sum())}
        for cost in COSTS[1:]:
            rows[name][cost] = median(*bounds(part, cost), level)
        if base is not None:
            pairs = ratios(base, part)
            rows[name] |= {"speedup": median(*pairs, level), "p": signed_rank(*pairs)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("variant")


def bounds(costs: pd.DataFrame, cost: str = "seconds") -> tuple[np.ndarray, np.ndarray]:
    """(n,) low and (n,) high bounds of a cost; high is inf where the target was not met."""
    low = costs[cost].to_numpy(np.float64)
    return low, np.where(costs["met"], low, math.inf)


def ratios(base: pd.DataFrame, other: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of base over other in seconds, for the seeds that both have; both indexed by seed."""
    seeds = base.index.intersection(other.index, sort=False)
    if base is other:
        return np.ones(len(seeds)), np.ones(len(seeds))
    (base_low, base_high), (low, high) = bounds(base.loc[seeds]), bounds(other.loc[seeds])
    with np.errstate(divide="ignore", invalid="ignore"):
        lowest = np.where(np.isinf(high), 0.0, base_low / high)
        highest = np.where(np.isinf(base_high), math.inf, base_high / low)
    return _equal_at_once(lowest), _equal_at_once(highest)


def _equal_at_once(ratio: np.ndarray) -> np.ndarray:
    """0 / 0, where both met the target before the first task, is no speed-up."""
    return np.where(np.isnan(ratio), 1.0, ratio)


def median(low: np.ndarray, high: np.ndarray, level: float = 0.95) -> Estimate:
    """Bounds of the median of values between (n,) low and high, and its bootstrap interval.

    >>> found = median(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 4.0]))
    >>> found.low, found.high
    (2.0, 2.0)
    """
    if not len(low):
        return Estimate(*[math.nan] * 4)
    rng = np.random.Generator(np.random.Philox(key=_KEY))
    picked = rng.integers(len(low), size=(RESAMPLES, len(low)))
    tail = (1 - level) / 2
    return Estimate(
        _middle(low),
        _middle(high),
        float(np.quantile(_middles(low[picked]), tail, method="inverted_cdf")),
        float(np.quantile(_middles(high[picked]), 1 - tail, method="inverted_cdf")),
    )


def _middle(values: np.ndarray) -> float:
    return float(_middles(values[None, :])[0])


def _middles(values: np.ndarray) -> np.ndarray:
    """Medians of rows; inf is a value like any other."""
    ordered = np.sort(values, axis=1)
    half, odd = divmod(values.shape[1], 2)
    return ordered[:, half] if odd else (ordered[:, half - 1] + ordered[:, half]) / 2


def quantiles(
    curves: Sequence[tuple[pd.Series, pd.Series]], shares: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """(m,) positions and (shares, m) quantiles of step curves over each other.

    curves: pairs of ascending positions and values, each value holding until the next, the last
    for ever. The quantiles begin where every curve has.
    """
    start = max(x.iloc[0] for x, _ in curves)
    grid = np.unique(np.concatenate([x.to_numpy(np.float64) for x, _ in curves]))
    grid = grid[grid >= start]
    held = [
        y.to_numpy()[np.searchsorted(x.to_numpy(np.float64), grid, side="right") - 1]
        for x, y in curves
    ]
    return grid, np.quantile(np.stack(held), shares, axis=0)


def pareto_front(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Indices of the points that no other point beats: lower in one and not higher in the other."""
    beaten = [
        bool(((x <= a) & (y <= b) & ((x < a) | (y < b))).any()) for a, b in zip(x, y, strict=True)
    ]
    return np.flatnonzero(~np.array(beaten, bool))


def in_words(estimate: Estimate, quantity: str = "number") -> str:
    """A median and its interval: "63 [58, 71] s", or "> 400 s" where only a bound is known.

    quantity: one of UNITS.
    """
    if math.isnan(estimate.low) or (estimate.low <= 0 and math.isinf(estimate.high)):
        return "-"
    sign, middle = "", estimate.low
    if math.isinf(estimate.high):
        sign = "> "
    elif estimate.low < estimate.high:
        sign, middle = "< ", estimate.high
    scale, unit = UNITS[quantity](middle)
    ends = [formatting.number(end / scale) for end in (estimate.lowest, estimate.highest)]
    known = (estimate.lowest, estimate.highest) != (estimate.low, estimate.high)
    interval = f" [{', '.join(ends)}]" if known else ""
    return f"{sign}{formatting.number(middle / scale)}{interval} {unit}".rstrip()


#: Scale and name of the unit that suits a value, by quantity.
UNITS: dict[str, Callable[[float], tuple[float, str]]] = {
    "number": lambda value: (1.0, ""),
    "factor": lambda value: (1.0, "x"),
    "seconds": formatting.time_unit,
    "bytes": lambda value: (formatting.prefix_of(value)[0], f"{formatting.prefix_of(value)[1]}B"),
}


def target_table(found: pd.DataFrame) -> pd.DataFrame:
    """`Study.at_target` as text, for a page or a terminal."""
    rows = {
        name: {
            "met": f"{row['met']} of {row['seeds']}",
            "time": in_words(row["seconds"], "seconds"),
            **(_compared(row) if "speedup" in row else {}),
            "versions": in_words(row["versions"]),
            "down": in_words(row["down_bytes"], "bytes"),
            "up": in_words(row["up_bytes"], "bytes"),
            "device time": in_words(row["device_s"], "seconds"),
        }
        for name, row in found.iterrows()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis(found.index.name)


def _compared(row: pd.Series) -> dict[str, str]:
    same = (row["speedup"].lowest, row["speedup"].highest) == (1.0, 1.0)
    p = "-" if same or math.isnan(row["p"]) else f"{row['p']:.2g}"
    return {"speed-up": in_words(row["speedup"], "factor"), "p": p}


def how_made(found: pd.DataFrame, reference: str) -> str:
    """The note below a table of `Study.at_target`: how its numbers were made."""
    seeds, others = int(found["seeds"].max()), len(found) - 1
    note = "Medians over seeds with 95 % bootstrap intervals (percentile, 10,000 resamples); "
    note += "a run that missed the target counts as a lower bound. "
    if others < 1:
        return note.strip()
    return note + (
        f"Speed-ups are paired by seed and refer to {reference}; p is that of a two-sided exact "
        "signed-rank test (Wilcoxon) of these pairs, not corrected for the "
        f"{others} comparison{'s' * (others > 1)}; with {seeds} seed{'s' * (seeds > 1)} it cannot "
        f"be below {0.5 ** (seeds - 1):.2g}."
    )
