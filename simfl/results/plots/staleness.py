"""Staleness: how it is distributed, over the run, over device classes, and over time."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm

from simfl.results.counts import NONE, Counts
from simfl.results.metrics import last_version, staleness_of
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
    applied, flying = _ages(style.parts_of(run, "tasks", _AGES))
    if applied.total and not applied.largest:
        ax = style.dressed(ax, height=1.6)
        style.always_fresh(ax)
        ax.set_xlabel(LABELS["staleness"])
        return ax
    ax = style.dressed(ax)
    edges = _edges(max(applied.largest, flying.largest))
    ax.hist(
        [applied.values, flying.values], weights=[applied.counts, flying.counts],
        bins=edges.tolist(), stacked=True, color=[style.BLUE, style.ORANGE],
        label=["applied", "in flight at the end"], edgecolor="white", linewidth=0.4,
    )  # fmt: skip
    ax.set_yscale("log" if log else "linear")
    if applied.total:
        _mark_quantiles(ax, applied.spread())
    style.whole(ax.xaxis, LABELS["staleness"])
    ax.set_ylabel("tasks")
    ax.grid(visible=False, axis="x")
    if flying.total:
        style.legend(ax)
    return ax


def _ages(parts: Iterable[pd.DataFrame]) -> tuple[Counts, Counts]:
    """Staleness of applied updates, and ages of the tasks in flight at the end."""
    applied, flying, newest = NONE, NONE, 0
    for tasks in parts:
        applied += Counts.of(staleness_of(tasks))
        flying += Counts.of(tasks.loc[tasks["outcome"] == "in_flight", "version"])
        newest = max(newest, last_version(tasks))
    return applied, Counts(newest - flying.values[::-1], flying.counts[::-1])


def _of_runs(runs: Runs) -> dict[str, Counts]:
    """Staleness of the applied updates of each run."""
    columns = ["outcome", "staleness"]
    return {
        name: sum((Counts.of(staleness_of(t)) for t in style.parts_of(run, "tasks", columns)), NONE)
        for name, run in style.named(runs).items()
    }


def staleness_ecdf(runs: Runs, *, ax: Axes | None = None) -> Axes:
    """Share of applied updates that are at most so stale; one line per run."""
    found = _of_runs(runs)
    ax = style.dressed(ax)
    for i, (name, counts) in enumerate(found.items()):
        look = {"color": style.colour(i), "linestyle": style.dash(i), "linewidth": 1.8}
        ax.step(*_ecdf(counts), where="post", label=name, **look)
    style.whole(ax.xaxis, LABELS["staleness"])
    style.in_percent(ax.yaxis, LABELS["share_of_updates"])
    ax.set_ylim(0, 1.02)
    if len(found) > 1:
        style.legend(ax)
    return ax


def staleness_by_class(run: Result | pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Distribution of staleness for each device class, the freshest class on top.

    Each ridge is a histogram scaled to its own peak; under it the 5th to 95th percentile, and a
    dot at the median.
    """
    columns = ["outcome", "staleness", "device_class"]
    return _ridges(_by_class(style.parts_of(run, "tasks", columns)), ax)


def staleness_ridges(runs: Runs, *, ax: Axes | None = None) -> Axes:
    """Distribution of staleness for each run, the first on top; drawn as `staleness_by_class`."""
    return _ridges({name: found for name, found in _of_runs(runs).items() if found.total}, ax)


def _ridges(groups: dict[str, Counts], ax: Axes | None) -> Axes:
    """Histograms one below the other, each named with its count."""
    if groups and not any(found.largest for found in groups.values()):
        ax = style.dressed(ax, height=1.6)
        style.always_fresh(ax)
        ax.set_xlabel(LABELS["staleness"])
        return ax
    ax = style.dressed(ax, height=1.0 + 0.62 * max(len(groups), 1))
    edges = _edges(max((found.largest for found in groups.values()), default=0))
    for row, found in enumerate(reversed(groups.values())):
        _ridge(ax, row, found, edges)
    names = [f"{name}\n{found.total:,} updates" for name, found in reversed(groups.items())]
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
    span_s = max(_used_s(part).max() for part in style.parts_of(run, "tasks", columns[:3]))
    edges = np.linspace(0.0, span_s if span_s > 0 else 1.0, bins + 1)
    mean = _mean_by_time(style.parts_of(run, "tasks", columns), edges)
    if len(mean) and not np.nan_to_num(mean).any():
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


def _used_s(tasks: pd.DataFrame) -> pd.Series:
    """When each update was applied."""
    tasks = tasks[tasks["outcome"] == "applied"]
    used_s: pd.Series = tasks["dispatched_s"] + tasks["staleness_s"]
    return used_s


def _mean_by_time(parts: Iterable[pd.DataFrame], edges: np.ndarray) -> pd.DataFrame:
    """Mean staleness by device class (rows, the freshest first) and bin of time (columns)."""
    bins, sums = len(edges) - 1, []
    for tasks in parts:
        used_s = _used_s(tasks)
        applied = tasks.loc[used_s.index]
        column = np.clip(np.searchsorted(edges, used_s, side="right") - 1, 0, bins - 1)
        keys = [applied["device_class"].astype(str), pd.Series(column, index=used_s.index)]
        sums.append(applied["staleness"].astype("float64").groupby(keys).agg(["sum", "count"]))
    total = pd.concat(sums).groupby(level=[0, 1]).sum()
    by_class = total.groupby(level=0).sum()
    order = (by_class["sum"] / by_class["count"]).sort_values(kind="stable").index
    mean = (total["sum"] / total["count"]).unstack()
    return mean.reindex(index=order, columns=range(bins))


def _ecdf(found: Counts) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the empirical distribution function, from 0: one step for each value.

    matplotlib's own `ecdf` keeps a point per update, and compressed it misses the tops of steps.
    """
    x, share = found.values, np.cumsum(found.counts) / max(found.total, 1)
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


def _by_class(parts: Iterable[pd.DataFrame]) -> dict[str, Counts]:
    """Staleness of applied updates by device class, in ascending order of the mean."""
    groups: dict[str, Counts] = {}
    for tasks in parts:
        values = staleness_of(tasks)
        classes = tasks.loc[values.index, "device_class"].astype(str)
        for name, part in values.groupby(classes):
            groups[name] = groups.get(name, NONE) + Counts.of(part)
    return dict(sorted(groups.items(), key=lambda item: (item[1].mean, item[0])))


def _ridge(ax: Axes, row: int, found: Counts, edges: np.ndarray) -> None:
    counts, _ = np.histogram(found.values, edges, weights=found.counts)
    heights = row + 0.82 * counts / counts.max()
    ax.stairs(heights, edges, baseline=row, fill=True, color=style.SKY, linewidth=0)
    ax.axhline(row, color=style.FAINT, linewidth=0.7, zorder=1)
    low, middle, high = map(found.quantile, (0.05, 0.5, 0.95))
    ax.plot([low, high], [row, row], color=style.INK, linewidth=1.4, solid_capstyle="butt")
    ax.plot([middle], [row], marker="o", color=style.INK, markersize=5)
