"""Plots of participation: work by device class, and waste."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from simfl.messages import PHASES
from simfl.results import formatting
from simfl.results.costs import SPENT, WASTED, spent, united, wasted_share
from simfl.results.metrics import gini
from simfl.results.metrics import participation as participation_of
from simfl.results.plots import style
from simfl.results.plots.style import LABELS, PHASE_COLOURS, Runs
from simfl.results.result import Result


def waste(run: Result | pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Device time spent in vain by cause, the greatest on top, split by phase."""
    everything = united([spent(part) for part in style.parts_of(run, "tasks", SPENT)])
    table = _by_cause(everything[everything["outcome"].isin(WASTED)])
    longest_s = float(table.sum(axis=1).max()) if len(table) else 0.0
    ax = style.dressed(ax, height=1.2 + 0.4 * max(len(table), 1))
    left = np.zeros(len(table))
    bars = []
    for phase in PHASES:
        drawn = ax.barh(list(table.index), table[phase], 0.62, left, color=PHASE_COLOURS[phase])
        drawn.set_label(phase)
        bars.append(drawn)
        left += table[phase].to_numpy()
    ax.set(xlim=(0, 1.04 * longest_s or 1.0), ylim=(max(len(table), 1) - 0.5, -0.5))
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    style.in_time(ax.xaxis, longest_s, LABELS["wasted_s"])
    total = formatting.seconds(float(everything["device_s"].sum()))
    ax.set_xlabel(f"{ax.get_xlabel()}: {formatting.share(wasted_share(everything))} of {total}")
    style.legend_above(ax, bars)
    return ax


def _by_cause(wasted: pd.DataFrame) -> pd.DataFrame:
    """Seconds by cause (rows, the greatest first) and phase (columns)."""
    cause = wasted["cause"].where(wasted["cause"] != "", wasted["outcome"])
    words = cause.str.replace("_", " ").rename("cause")
    table = wasted.groupby([words, wasted["phase"]])["device_s"].sum().unstack(fill_value=0.0)
    order = table.sum(axis=1).sort_values(ascending=False, kind="stable").index
    return table.reindex(index=order, columns=list(PHASES), fill_value=0.0)


def participation(runs: Runs, *, devices: int | None = None, ax: Axes | None = None) -> Axes:
    """Lorenz curve of applied updates over devices; the diagonal is perfect equality.

    devices: size of the fleet; needed where frames are given and some device never took part.
    """
    many = len(style.named(runs)) > 4
    ax = style.dressed(ax, width=6.6 if many else 4.4, height=3.8)
    ax.plot([0, 1], [0, 1], color=style.QUIET, linewidth=1, linestyle=(0, (4, 3)))
    for i, (name, run) in enumerate(style.named(runs).items()):
        fleet = devices or (run.count("devices") if isinstance(run, Result) else 0)
        parts = style.parts_of(run, "tasks", ["device", "outcome"])
        counts = np.sort(sum(participation_of(tasks, fleet) for tasks in parts))
        curve = np.concatenate([[0.0], np.cumsum(counts) / max(counts.sum(), 1)])
        label = f"{name}  (Gini {gini(counts):.2f})" if name else f"Gini {gini(counts):.2f}"
        ax.plot(np.linspace(0, 1, len(curve)), curve, color=style.colour(i), lw=1.8, label=label)
    style.in_percent(ax.xaxis, LABELS["share_of_devices"])
    style.in_percent(ax.yaxis, LABELS["share_of_updates"])
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    style.legend(ax)
    return ax
