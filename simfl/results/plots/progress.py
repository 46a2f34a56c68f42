"""Plots of progress: metrics over time, versions and bytes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import StepPatch

from simfl.errors import InputError, did_you_mean
from simfl.results.costs import TRAFFIC
from simfl.results.costs import traffic as traffic_of
from simfl.results.metrics import reached
from simfl.results.plots import style
from simfl.results.plots.style import LABELS, Runs
from simfl.results.result import Result

#: What `accuracy` can be plotted against.
AGAINST = ("time", "version", "bytes")

# Directions of traffic: column, sign on the plot, colour, words.
_WAYS = (
    ("up_bytes", 1, style.BLUE, "up, from devices"),
    ("down_bytes", -1, style.SKY, "down, to devices"),
)


def accuracy(
    runs: Runs,
    *,
    against: str = "time",
    metric: str = "accuracy",
    target: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """A metric against virtual time, server version or bytes moved; one line per run.

    target: drawn across, with a ring where each run first met it.
    """
    if against not in AGAINST:
        raise InputError(f"cannot plot against {against!r} {did_you_mean(against, AGAINST)}")
    frames = style.frames_of(runs, "evaluations")
    ax = style.dressed(ax)
    for i, (name, evaluations) in enumerate(frames.items()):
        _line(ax, i, name, evaluations, against, metric)
        met = None if target is None else reached(evaluations, **{metric: target})
        if met is not None:
            where = position(met.to_frame().T.astype("float64"), against)
            ax.plot(where, [met[metric]], "o", ms=10, mfc="none", mec=style.colour(i), mew=1.6)
    if target is not None:
        ax.axhline(target, color=style.QUIET, linewidth=1, linestyle=(0, (4, 3)), zorder=1)
    label_position(ax, against, frames)
    ax.set_ylabel(LABELS.get(metric, metric))
    if len(frames) > 1:
        style.legend(ax)
    return ax


def traffic(
    run: Result | pd.DataFrame, *, bin_s: float | None = None, ax: Axes | None = None
) -> Axes:
    """Bytes per second over virtual time: uploads rise above the axis, downloads hang below.

    bin_s: seconds averaged over; by default a hundred and twentieth of the run.
    """
    bin_s, edges, last_s = _bins(run, bin_s)
    parts = style.parts_of(run, "tasks", TRAFFIC)
    flow = np.sum([_flow(tasks, bin_s, last_s) for tasks in parts], axis=0)
    ax = style.dressed(ax)
    fills = [
        ax.stairs(sign * moved / bin_s, edges, fill=True, color=colour, label=label, lw=0)
        for moved, (_, sign, colour, label) in zip(flow, _WAYS, strict=True)
    ]
    return _finished(ax, edges[-1], fills)


def traffic_by_link(run: Result, *, bin_s: float | None = None, ax: Axes | None = None) -> Axes:
    """`traffic`, divided among the networks that devices are on; one colour each, stacked."""
    bin_s, edges, last_s = _bins(run, bin_s)
    network = run.read("devices", ["network"])["network"].astype(str)
    flows: dict[str, np.ndarray] = {}
    for tasks in style.parts_of(run, "tasks", ["device", *TRAFFIC]):
        for name, part in tasks.groupby(tasks["device"].map(network)):
            flows[str(name)] = flows.get(str(name), np.zeros(1)) + _flow(part, bin_s, last_s)
    below = {column: np.zeros(len(edges) - 1) for column, *_ in _WAYS}
    ax = style.dressed(ax)
    fills = []
    for i, (name, flow) in enumerate(sorted(flows.items())):
        look: dict[str, Any] = {"color": style.colour(i), "label": name, "lw": 0}
        for moved, (column, sign, *_) in zip(flow, _WAYS, strict=True):
            above = below[column] + sign * moved / bin_s
            fills.append(ax.stairs(above, edges, baseline=below[column], fill=True, **look))
            below[column] = above
    _finished(ax, edges[-1], fills[::2])
    ax.set_ylabel(f"{ax.get_ylabel()}: up above, down below")
    return ax


def _flow(tasks: pd.DataFrame, bin_s: float, last_s: float) -> np.ndarray:
    """(2, bins) bytes in the order of _WAYS, of a part of the tasks of a run that ends then."""
    return traffic_of(tasks, bin_s, last_s)[[column for column, *_ in _WAYS]].to_numpy().T


def _bins(run: Result | pd.DataFrame, bin_s: float | None) -> tuple[float, np.ndarray, float]:
    """Seconds averaged over, edges of the bins that `costs.traffic` makes of them, last end."""
    parts = style.parts_of(run, "tasks", ["ended_s"])
    last_s = max(float(part["ended_s"].max()) if len(part) else 0.0 for part in parts)
    bin_s = bin_s or max(last_s / 120, 1e-9)
    return bin_s, np.arange(max(1, math.ceil(last_s / bin_s)) + 1) * bin_s, last_s


def _finished(ax: Axes, span_s: float, fills: list[StepPatch]) -> Axes:
    """The Axes of bytes per second with everything but its data."""
    ax.axhline(0, color=style.INK, linewidth=0.8)
    style.in_units(ax.yaxis, "B/s", LABELS["traffic"])
    style.unsigned(ax.yaxis)
    style.in_time(ax.xaxis, span_s, LABELS["time"])
    style.legend_above(ax, fills)
    return ax


def _line(
    ax: Axes, i: int, name: str, evaluations: pd.DataFrame, against: str, metric: str
) -> None:
    every = max(1, len(evaluations) // 10)
    ax.plot(
        position(evaluations, against),
        evaluations[metric],
        color=style.colour(i),
        marker=style.MARKERS[i % len(style.MARKERS)],
        markevery=(i * every // 4, every),
        markersize=4.5,
        markeredgecolor="white",
        markeredgewidth=0.6,
        linewidth=1.8,
        label=name,
    )


def position(evaluations: pd.DataFrame, against: str) -> pd.Series:
    """Where on the axis evaluations lie: seconds, versions or bytes both ways."""
    if against == "bytes":
        return evaluations["down_bytes"] + evaluations["up_bytes"]
    return evaluations["time_s" if against == "time" else "version"]


def label_position(ax: Axes, against: str, frames: dict[str, pd.DataFrame]) -> None:
    """Labels the axis on which `position` lies."""
    if against == "time":
        span_s = max((float(f["time_s"].max()) for f in frames.values() if len(f)), default=0.0)
        style.in_time(ax.xaxis, span_s, LABELS["time"])
    elif against == "bytes":
        style.in_units(ax.xaxis, "B", LABELS["bytes"])
    else:
        style.whole(ax.xaxis, LABELS["version"])
