"""Who did the work, and what of it was in vain."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from simfl.messages import PHASES
from simfl.results import say
from simfl.results.costs import spent, wasted_share
from simfl.results.costs import waste as waste_of
from simfl.results.metrics import gini
from simfl.results.metrics import participation as participation_of
from simfl.results.plots import style
from simfl.results.plots.style import LABELS, PHASE_COLOURS, Runs
from simfl.results.result import Result


def waste(run: Result | pd.DataFrame, *, ax: Axes | None = None) -> Axes:
    """Device time spent in vain by cause, the greatest on top, split by phase."""
    tasks = style.frame_of(run, "tasks")
    lost = waste_of(tasks)
    lost["cause"] = lost["cause"].where(lost["cause"] != "", lost["outcome"])
    lost["cause"] = lost["cause"].str.replace("_", " ")
    table = lost.pivot_table(index="cause", columns="phase", values="device_s", aggfunc="sum")
    table = table.reindex(columns=list(PHASES)).fillna(0.0)
    table = table.loc[table.sum(axis=1).sort_values(ascending=False, kind="stable").index]
    ax = style.dressed(ax, height=1.1 + 0.4 * max(len(table), 1))
    left = np.zeros(len(table))
    for phase in PHASES:
        ax.barh(
            list(table.index), table[phase], left=left, height=0.62,
            color=PHASE_COLOURS[phase], label=phase,
        )  # fmt: skip
        left += table[phase].to_numpy()
    ax.invert_yaxis()
    ax.set_xlim(0, 1.04 * max(left.max(initial=0.0), 1e-9))
    ax.grid(visible=False, axis="y")
    ax.tick_params(axis="y", length=0)
    style.in_time(ax.xaxis, float(left.max(initial=0.0)), "wasted " + LABELS["device_s"])
    everything = spent(tasks)
    total = say.seconds(float(everything["device_s"].sum()))
    title = f"{say.share(wasted_share(everything))} of {total} device time was wasted"
    ax.set_title(title, loc="left", fontsize=9, color=style.INK)
    style.legend(ax, PHASES)
    return ax


def participation(runs: Runs, *, devices: int | None = None, ax: Axes | None = None) -> Axes:
    """Lorenz curve of applied updates over devices; the diagonal is perfect equality.

    devices: size of the fleet; needed where frames are given and some device never took part.
    """
    ax = style.dressed(ax, width=4.4, height=3.8)
    ax.plot([0, 1], [0, 1], color=style.QUIET, linewidth=1, linestyle=(0, (4, 3)))
    for i, (name, run) in enumerate(style.named(runs).items()):
        fleet = len(run.devices) if isinstance(run, Result) else 0
        tasks = style.frame_of(run, "tasks")
        counts = np.sort(participation_of(tasks, devices or fleet))
        curve = np.concatenate([[0.0], np.cumsum(counts) / max(counts.sum(), 1)])
        label = f"{name}  (Gini {gini(counts):.2f})" if name else f"Gini {gini(counts):.2f}"
        ax.plot(np.linspace(0, 1, len(curve)), curve, color=style.colour(i), lw=1.8, label=label)
    style.in_percent(ax.xaxis, LABELS["share_of_devices"])
    style.in_percent(ax.yaxis, LABELS["share_of_updates"])
    ax.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
    style.legend(ax, ["Gini"])
    return ax
