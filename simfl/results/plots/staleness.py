"""Staleness: how it is distributed, over the run, over device classes, and over time."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from simfl.results.metrics import ages_in_flight, last_version, spread, staleness_of
from simfl.results.plots import style
from simfl.results.plots.style import LABELS, Runs
from simfl.results.result import Result

#: A histogram has a bar for each staleness up to this one, and wider bars beyond.
_BARS = 120

#: Columns of the tasks that tell how stale each was used, or is in flight.
_AGES = ("outcome", "staleness", "version", "applied_version")


def staleness(run: Result | pd.DataFrame, *, log: bool = False, ax: Axes | None = None) -> Axes:
    """Histogram of staleness, with median and 95th percentile of the applied updates.

    Ages of tasks in flight at the end stand on top: without them the slowest devices are hidden.
    log: counts on a logarithmic axis, for long tails.
    """
    tasks = style.frame_of(run, "tasks", _AGES)
    applied, flying = staleness_of(tasks), ages_in_flight(tasks, last_version(tasks))
    if len(applied) and not applied.any():
        ax = style.dressed(ax, height=1.6)
        style.always_fresh(ax)
        ax.set_xlabel(LABELS["staleness"])
        return ax
    ax = style.dressed(ax)
    edges = _edges(pd.concat([applied, flying]).max() if len(applied) + len(flying) else 0)
    ax.hist(
        [applied, flying], bins=edges.tolist(), stacked=True, color=[style.BLUE, style.ORANGE],
        label=["applied", "in flight at the end"], edgecolor="white", linewidth=0.4,
    )  # fmt: skip
    ax.set_yscale("log" if log else "linear")
    if len(applied):
        _mark_quantiles(ax, spread(applied))
    style.whole(ax.xaxis, LABELS["staleness"])
    ax.set_ylabel("tasks")
    ax.grid(visible=False, axis="x")
    if len(flying):
        style.legend(ax)
    return ax


def staleness_ecdf(runs: Runs, *, ax: Axes | None = None) -> Axes:
    """Share of applied updates that are at most so stale; one line per run."""
    frames = style.frames_of(runs, "tasks", ["outcome", "staleness"])
    ax = style.dressed(ax)
    for i, (name, tasks) in enumerate(frames.items()):
        look = {"color": style.colour(i), "linestyle": style.dash(i), "linewidth": 1.8}
        ax.step(*_ecdf(staleness_of(tasks)), where="post", label=name, **look)
    style.whole(ax.xaxis, LABELS["staleness"])
    style.in_percent(ax.yaxis, LABELS["share_of_updates"])
    ax.set_ylim(0, 1.02)
    if len(frames) > 1:
        style.legend(ax)
    return ax


def staleness_by_class(run: Result | pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Distribution of staleness for each device class, the freshest class on top.

    Each ridge is a histogram scaled to its own peak; under it the 5th to 95th percentile, and a
    dot at the median.
    """
    return _ridges(
        _by_class(style.frame_of(run, "tasks", ["outcome", "staleness", "device_class"])), ax
    )


def staleness_ridges(runs: Runs, *, ax: Axes | None = None) -> Axes:
    """Distribution of staleness for each run, the first on top; drawn as `staleness_by_class`."""
    frames = style.frames_of(runs, "tasks", ["outcome", "staleness"])
    groups = {name: staleness_of(tasks) for name, tasks in frames.items()}
    return _ridges({name: values for name, values in groups.items() if len(values)}, ax)


def _ridges(groups: dict[str, pd.Series], ax: Axes | None) -> Axes:
    """Histograms one below the other, each named with its count."""
    if groups and not any(values.any() for values in groups.values()):
        ax = style.dressed(ax, height=1.6)
        style.always_fresh(ax)
        ax.set_xlabel(LABELS["staleness"])
        return ax
    ax = style.dressed(ax, height=1.0 + 0.62 * max(len(groups), 1))
    edges = _edges(max((values.max() for values in groups.values()), default=0))
    for row, values in enumerate(reversed(groups.values())):
        _ridge(ax, row, values, edges)
    names = [f"{name}\n{len(values):,} updates" for name, values in reversed(groups.items())]
    ax.set_yticks(np.arange(len(groups)) + 0.3, names)
    ax.grid(visible=False, axis="y")
    ax.set_ylim(-0.3, max(len(groups), 1) - 0.02)
    ax.spines["left"].set_visible(False)
    ax.tick_params(axis="y", length=0)
    style.whole(ax.xaxis, LABELS["staleness"])
    return ax


def staleness_heatmap(
    run: Result | pd.DataFrame, *, bins: int = 48, ax: Axes | None = None
) -> Axes:
    """Mean staleness of updates by device class and time of use; grey where none was used."""
    columns = ("outcome", "dispatched_s", "staleness_s", "device_class", "staleness")
    tasks = style.frame_of(run, "tasks", columns)
    tasks = tasks[tasks["outcome"] == "applied"]
    used_s = tasks["dispatched_s"] + tasks["staleness_s"]
    edges = np.linspace(0.0, used_s.max() if used_s.max() > 0 else 1.0, bins + 1)
    mean = _mean_by_time(tasks, used_s, edges)
    if len(tasks) and not tasks["staleness"].any():
        ax = style.dressed(ax, width=6.4, height=1.6)
        style.always_fresh(ax)
        style.in_time(ax.xaxis, edges[-1], LABELS["time"])
        ax.set_xticks([])
        return ax
    ax = style.dressed(ax, width=6.4, height=0.9 + 0.42 * max(len(mean), 1))
    ax.grid(visible=False)
    ax.set_facecolor(style.FAINT)
    shades = PowerNorm(0.5, vmin=0.0)  # one slow class must not leave the others in the dark
    mesh = ax.pcolormesh(edges, np.arange(len(mean) + 1), mean, cmap="cividis", norm=shades)
    ax.set_yticks(np.arange(len(mean)) + 0.5, list(mean.index))
    ax.invert_yaxis()
    ax.tick_params(axis="y", length=0)
    style.in_time(ax.xaxis, edges[-1], LABELS["time"])
    bar = ax.figure.colorbar(mesh, ax=ax, pad=0.02)
    bar.set_label(LABELS["staleness_mean"], fontsize=9)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8)
    return ax


def _mean_by_time(tasks: pd.DataFrame, used_s: pd.Series, edges: np.ndarray) -> pd.DataFrame:
    """Mean staleness by device class (rows, the freshest first) and bin of time (columns)."""
    bins = len(edges) - 1
    column = np.clip(np.searchsorted(edges, used_s, side="right") - 1, 0, bins - 1)
    keys = [tasks["device_class"].astype(str), pd.Series(column, index=tasks.index)]
    mean = tasks["staleness"].astype("float64").groupby(keys).mean().unstack()
    return mean.reindex(index=list(_by_class(tasks)), columns=range(bins))


def _ecdf(values: pd.Series) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the empirical distribution function, from 0: one step for each value.

    matplotlib's own `ecdf` keeps a point per update, and compressed it misses the tops of steps.
    """
    x, counts = np.unique(values, return_counts=True)
    share = np.cumsum(counts) / max(len(values), 1)
    return np.concatenate([x[:1], x]), np.concatenate([0 * share[:1], share])


def _edges(highest: float) -> np.ndarray:
    """Bin edges halfway between whole numbers: no bar mixes more versions than its neighbours."""
    width = max(1, -(-(int(highest) + 1) // _BARS))
    return np.arange(0, int(highest) + 1 + width, width) - 0.5


def _mark_quantiles(ax: Axes, found: dict[str, float]) -> None:
    """Lines at p50 (dashed) and p95 (dotted), and their values, which may be close, in the head."""
    for key, dash in (("p50", (0, (4, 3))), ("p95", (0, (1, 1.5)))):
        ax.axvline(found[key], color=style.INK, linewidth=1.2, linestyle=dash)
    parts = [f"{key} = {found[key]:g}" for key in ("p50", "p95", "max")]
    ax.set_title("    ".join(parts), loc="right", fontsize=8)


def _by_class(tasks: pd.DataFrame) -> dict[str, pd.Series]:
    """Staleness of applied updates by device class, in ascending order of the mean."""
    values = staleness_of(tasks)
    groups = values.groupby(tasks.loc[values.index, "device_class"].astype(str))
    return dict(sorted(groups, key=lambda item: (item[1].mean(), item[0])))


def _ridge(ax: Axes, row: int, values: pd.Series, edges: np.ndarray) -> None:
    counts, _ = np.histogram(values, edges)
    heights = row + 0.82 * counts / counts.max()
    ax.stairs(heights, edges, baseline=row, fill=True, color=style.SKY, linewidth=0)
    ax.axhline(row, color=style.FAINT, linewidth=0.7, zorder=1)
    low, middle, high = np.quantile(values, [0.05, 0.5, 0.95], method="inverted_cdf")
    ax.plot([low, high], [row, row], color=style.INK, linewidth=1.4, solid_capstyle="butt")
    ax.plot([middle], [row], marker="o", color=style.INK, markersize=5)
