"""Gantt chart of a run: one line per device, one bar per phase."""

from __future__ import annotations

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from simfl.messages import PHASES
from simfl.results.plots import style
from simfl.results.plots.style import LABELS, PHASE_COLOURS
from simfl.results.result import Result

# What became of a task: marker and colour at its end.
_ENDS = {
    "applied": ("o", style.INK),
    "evaluated": ("v", style.GREEN),
    "discarded": ("s", style.PINK),
    "lost": ("X", style.RED),
    "cancelled": ("D", style.RED),
}

# Share of a row's height that a bar fills.
_THICK = 0.66

#: Columns of the tasks that bars and marks are made of.
DRAWN = (
    *("task", "device", "device_class", "outcome", "dispatched_s", "ended_s"),
    *(f"{phase}_s" for phase in PHASES),
)


def timeline(
    run: Result | pd.DataFrame,
    *,
    devices: int = 24,
    between_s: tuple[float, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Tasks of some devices as bars, coloured by phase, each marked by what became of it.

    devices: how many, in the order in which they first got work.
    between_s: the window of virtual time; by default it opens at 0 and holds some six tasks a
        device. A thin line is a pause.
    """
    tasks = _of_first(run, devices)
    start_s, stop_s = between_s or (0.0, _horizon_s(tasks))
    tasks = tasks[(tasks["ended_s"] >= start_s) & (tasks["dispatched_s"] <= stop_s)]
    names = _rows(tasks)
    ax = style.dressed(ax, width=6.8, height=1.0 + 0.17 * max(len(names), 1))
    draw_tasks(ax, tasks, tasks["device"].map({device: row for row, device in enumerate(names)}))
    ax.set_yticks(range(len(names)), list(names.values()), fontsize=7)
    ax.tick_params(axis="y", length=0)
    ax.set(xlim=(start_s, stop_s), ylim=(len(names) - 0.4, -0.6))
    ax.grid(visible=False, axis="y")
    ax.spines["left"].set_visible(False)
    style.in_time(ax.xaxis, stop_s - start_s, LABELS["time"])
    explain(ax, tasks)
    return ax


def _of_first(run: Result | pd.DataFrame, devices: int) -> pd.DataFrame:
    """All tasks of the devices that got work first, by number."""
    firsts = pd.concat(
        [
            part.sort_values("task").drop_duplicates("device").head(devices)
            for part in style.parts_of(run, "tasks", ["task", "device"])
        ]
    )
    chosen = firsts.sort_values("task")["device"].drop_duplicates().head(devices)
    theirs = [part[part["device"].isin(chosen)] for part in style.parts_of(run, "tasks", DRAWN)]
    return pd.concat(theirs, ignore_index=True).sort_values("task")


def _horizon_s(tasks: pd.DataFrame) -> float:
    """When so many tasks have ended that there are six for each device."""
    ends = tasks["ended_s"].sort_values()
    return float(ends.iloc[: 6 * tasks["device"].nunique()].max()) if len(ends) else 1.0


def _rows(tasks: pd.DataFrame) -> dict[int, str]:
    """Label of each device's row; devices of a class lie together."""
    seen = tasks.drop_duplicates("device")
    pairs = sorted(zip(seen["device_class"].astype(str), seen["device"], strict=True))
    return {device: f"{device_class}  #{device}" for device_class, device in pairs}


def draw_tasks(ax: Axes, tasks: pd.DataFrame, row: pd.Series) -> None:
    """Bars of the phases, over a thin line from dispatch to end, under a mark at the end."""
    ax.hlines(row, tasks["dispatched_s"], tasks["ended_s"], color=style.QUIET, linewidth=0.8)
    trained_s = tasks["dispatched_s"] + tasks["download_s"]
    starts = {
        "download": tasks["dispatched_s"],
        "train": trained_s,
        "upload": tasks["ended_s"] - tasks["upload_s"],
    }
    for phase in PHASES:
        _bars(ax, phase, starts[phase], tasks[f"{phase}_s"], row)
    for outcome, (marker, colour) in _ENDS.items():
        these = tasks["outcome"] == outcome
        ax.scatter(
            tasks.loc[these, "ended_s"], row[these], marker=marker, color=colour,
            s=14, linewidths=0.5, edgecolors="white", zorder=4,
        )  # fmt: skip


def _bars(ax: Axes, phase: str, start_s: pd.Series, length_s: pd.Series, row: pd.Series) -> None:
    low, high = row - _THICK / 2, row + _THICK / 2
    stop_s = start_s + length_s
    corners = [
        [(a, bottom), (b, bottom), (b, top), (a, top)]
        for a, b, bottom, top in zip(start_s, stop_s, low, high, strict=True)
        if b > a
    ]
    bars = PolyCollection(corners, facecolors=PHASE_COLOURS[phase], label=phase, zorder=3)
    ax.add_collection(bars)


def explain(ax: Axes, tasks: pd.DataFrame) -> None:
    """A legend above the bars, of the outcomes that occur."""
    handles: list[Artist] = [Patch(color=PHASE_COLOURS[p], label=p) for p in PHASES]
    for outcome, (marker, colour) in _ENDS.items():
        if (tasks["outcome"] == outcome).any():
            handles.append(Line2D([], [], ls="", marker=marker, color=colour, ms=4, label=outcome))
    style.legend_above(ax, handles)
