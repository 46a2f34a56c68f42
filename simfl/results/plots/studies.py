"""Plots of studies: medians over seeds, with their spread."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simfl.errors import InputError, did_you_mean
from simfl.results import stats
from simfl.results.plots import style
from simfl.results.plots.progress import AGAINST, label_position, position
from simfl.results.plots.style import LABELS
from simfl.results.stats import Estimate
from simfl.results.study import Study

#: Costs that `pareto` can lay against each other: words on the axis and how it is labelled.
_COSTS: dict[str, tuple[str, str]] = {
    "seconds": ("virtual time", "s"),
    "bytes": ("bytes moved, both ways", "B"),
    "device_s": ("device time", "s"),
    "versions": ("server versions", ""),
}


def bands(
    study: Study | pd.DataFrame,
    *,
    against: str = "time",
    metric: str = "accuracy",
    between: tuple[float, float] = (0.0, 1.0),
    target: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Median of a metric over seeds, one line per variant, in a band between two quantiles.

    between: default the whole range. A run that has ended keeps its last value until the last of
    its variant has. A frame is that of `Study.evaluations`.
    """
    if against not in AGAINST:
        raise InputError(f"cannot plot against {against!r} {did_you_mean(against, AGAINST)}")
    evaluations = study.evaluations if isinstance(study, Study) else study
    ax = style.dressed(ax)
    frames = dict(list(evaluations.groupby("variant", sort=False)))
    for i, (name, seen) in enumerate(frames.items()):
        x, (low, middle, high) = _quantiles(seen, against, metric, (between[0], 0.5, between[1]))
        look = {"color": style.colour(i), "linestyle": style.dash(i), "linewidth": 1.8}
        ax.step(x, middle, where="post", label=name, **look)
        ax.fill_between(x, low, high, step="post", color=style.colour(i), alpha=0.18, linewidth=0)
    if target is not None:
        ax.axhline(target, color=style.QUIET, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    label_position(ax, against, frames)
    ax.set_ylabel(LABELS.get(metric, metric))
    if frames:
        style.legend(ax)
    return ax


def bands_apart(
    study: Study | pd.DataFrame,
    *,
    against: str = "time",
    metric: str = "accuracy",
    between: tuple[float, float] = (0.0, 1.0),
    ax: Axes | None = None,
) -> Axes:
    """`bands` of many variants: a panel each, with the medians of the others in grey.

    The panels lie in the Axes given, or in those of a new figure, which are returned; they share
    their scales.
    """
    evaluations = study.evaluations if isinstance(study, Study) else study
    frames = dict(list(evaluations.groupby("variant", sort=False)))
    columns = min(3, max(len(frames), 1))
    rows = -(-len(frames) // columns) or 1
    frame = style.dressed(ax, width=2.9 * columns, height=2.0 * rows + 0.4)
    if ax is None and isinstance(frame.figure, Figure):
        frame.figure.set_layout_engine("none")
    frame.axis("off")
    label_position(frame, against, frames)
    top = 1.15 * float(evaluations[metric].max()) if len(evaluations) else 1.0
    right = max((float(position(one, against).max()) for one in frames.values()), default=1.0)
    for i, (name, seen) in enumerate(frames.items()):
        row, column = divmod(i, columns)
        box = ((column + 0.12) / columns, 1 - (row + 0.85) / rows, 0.85 / columns, 0.68 / rows)
        panel = style.dressed(frame.inset_axes(box))
        for other in frames.values():
            x, (middle,) = _quantiles(other, against, metric, (0.5,))
            panel.step(x, middle, where="post", color=style.FAINT, linewidth=1.0)
        x, (low, middle, high) = _quantiles(seen, against, metric, (between[0], 0.5, between[1]))
        panel.fill_between(x, low, high, step="post", color=style.colour(i), alpha=0.25, lw=0)
        panel.step(x, middle, where="post", color=style.colour(i), linewidth=1.6)
        panel.set_title(str(name), fontsize=9, loc="left")
        panel.set(xlim=(0, right), ylim=(0, top))
        panel.tick_params(labelsize=7)
        label_position(panel, against, frames)
        panel.set_xlabel(frame.get_xlabel() if row == rows - 1 else "", fontsize=8)
    return frame


def _quantiles(
    seen: pd.DataFrame, against: str, metric: str, shares: tuple[float, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Of a variant's curves over its seeds."""
    curves = [(position(one, against), one[metric]) for _, one in seen.groupby("seed")]
    return stats.quantiles(curves, shares)


def time_to_target(
    study: Study | pd.DataFrame,
    *,
    cost: str = "seconds",
    reference: str | None = None,
    target: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Bars of the median cost to the target, with 95 % intervals and the speed-up in words.

    cost: one of `stats.COSTS`. An open bar with an arrow is a lower bound: half of the seeds or
    more never met the target. A frame is that of `Study.at_target`.
    """
    found = study
    if isinstance(study, Study):
        found = study.at_target(reference, **(target or {}))
    assert isinstance(found, pd.DataFrame)
    ax = style.dressed(ax, width=6.4, height=0.9 + 0.42 * max(len(found), 1))
    for place, (_, row) in enumerate(found.iterrows()):
        _bar(ax, place, row[cost], style.colour(place))
        if "speedup" in row:
            label = stats.in_words(row["speedup"], "factor")
            ax.annotate(label, (1.02, place), xycoords=ax.get_yaxis_transform(), va="center",
                        fontsize=8)  # fmt: skip
    if "speedup" in found:
        ax.set_title("speed-up", loc="right", fontsize=8)
    longest = max((max(r[cost].low, _finite(r[cost].highest)) for _, r in found.iterrows()),
                  default=1.0)  # fmt: skip
    ax.set_yticks(range(len(found)), list(found.index))
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(0, 1.08 * longest), ylim=(len(found) - 0.5, -0.5))
    ax.grid(visible=False, axis="y")
    _label(ax.xaxis, cost, longest)
    return ax


def pareto(
    study: Study,
    *,
    x: str = "seconds",
    y: str = "bytes",
    target: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Medians over seeds of two costs, with their intervals, and the Pareto front.

    x, y: seconds, bytes, device_s or versions, to the target; y may be "accuracy", the final one,
        and then x is that of the whole run.
    """
    points = pareto_points(study, x, y, target)
    ax = style.dressed(ax, width=5.2, height=3.8)
    for i, (name, point) in enumerate(points.iterrows()):
        here, there = point["x"], point["y"]
        look: dict[str, Any] = {
            "color": style.colour(i),
            "marker": style.MARKERS[i % len(style.MARKERS)],
        }
        ax.errorbar([here.low], [there.low], xerr=_whiskers(here), yerr=_whiskers(there),
                    linestyle="", markersize=7, elinewidth=1, label=str(name), **look)  # fmt: skip
    _front(ax, points, higher=y == "accuracy")
    for axis, cost in ((ax.xaxis, x), (ax.yaxis, y)):
        _label(axis, cost, max((point.low for point in points[axis.axis_name]), default=1.0))
    style.legend(ax)
    return ax


def pareto_points(
    study: Study, x: str, y: str, target: Mapping[str, float] | None = None
) -> pd.DataFrame:
    """Estimates x and y of each variant: what `pareto` draws. Raises InputError."""
    for cost in (x, y):
        if cost not in _COSTS and (cost, y) != ("accuracy", cost):
            raise InputError(f"cannot plot {cost!r} {did_you_mean(cost, [*_COSTS, 'accuracy'])}")
    costs = _whole(study) if y == "accuracy" else study.to_target(**(target or {}))
    costs["bytes"] = costs["down_bytes"] + costs["up_bytes"]
    rows = {
        name: {axis: stats.median(*stats.bounds(part, cost)) for axis, cost in (("x", x), ("y", y))}
        for name, part in costs.groupby("variant", sort=False)
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["x", "y"])


def _whole(study: Study) -> pd.DataFrame:
    """Costs of whole runs, which nothing censors."""
    table = study.table[study.table["cell"].isin(list(study.results))]
    renamed = table.rename(columns={"virtual_s": "seconds", "final_accuracy": "accuracy"})
    return renamed.assign(met=True)


def _front(ax: Axes, points: pd.DataFrame, higher: bool) -> None:
    """A stepped line through the points that no other beats in both."""
    x = np.array([point.low for point in points["x"]])
    y = np.array([point.low for point in points["y"]])
    known = np.array([np.isfinite([a.high, b.high]).all() for a, b in points.to_numpy()], bool)
    best = stats.pareto_front(x[known], -y[known] if higher else y[known])
    order = best[np.argsort(x[known][best], kind="stable")]
    ax.step(x[known][order], y[known][order], where="post", color=style.QUIET, linewidth=1,
            zorder=1, label="_front")  # fmt: skip


def _bar(ax: Axes, place: int, estimate: Estimate, colour: str) -> None:
    censored = np.isinf(estimate.high)
    look: dict[str, Any] = {"facecolor": "none"} if censored else {"facecolor": colour}
    ax.barh(place, estimate.low, 0.62, edgecolor=colour, linewidth=1.2, **look)
    if censored:
        ax.plot([estimate.low], [place], marker=">", color=colour, markersize=6, clip_on=False)
        return
    ax.errorbar([estimate.low], [place], xerr=_whiskers(estimate), color=style.INK, elinewidth=1.2,
                capsize=3)  # fmt: skip


def _whiskers(estimate: Estimate) -> list[list[float]]:
    """Lengths of the interval to both sides; an open end is not drawn."""
    return [[estimate.low - estimate.lowest], [_finite(estimate.highest - estimate.low)]]


def _finite(value: float) -> float:
    return value if np.isfinite(value) else 0.0


def _label(axis: Any, cost: str, longest: float) -> None:
    words, unit = _COSTS.get(cost, (cost.replace("_", " "), "B" if "bytes" in cost else ""))
    if cost == "accuracy":
        style.in_percent(axis, "final accuracy")
    elif unit == "s":
        style.in_time(axis, longest, words)
    elif unit:
        style.in_units(axis, unit, words)
    else:
        style.whole(axis, words)
