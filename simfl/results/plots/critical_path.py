"""Plots of the critical path: the tasks and phases that each version waited for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.patches import StepPatch

from simfl.errors import InputError
from simfl.messages import PHASES
from simfl.results import formatting
from simfl.results.critical_path import SHARES
from simfl.results.critical_path import critical_path as path_of
from simfl.results.plots import style
from simfl.results.plots.gantt import DRAWN, draw_tasks, explain
from simfl.results.plots.style import LABELS, PHASE_COLOURS
from simfl.results.result import Result

_COLOURS = {
    "idle_s": style.FAINT,
    **{f"{phase}_s": PHASE_COLOURS[phase] for phase in PHASES},
    "pause_s": style.PINK,
    "held_s": style.QUIET,
}
_WORDS = {"idle_s": "before dispatch", "pause_s": "away", "held_s": "held by the server"}
_DOING = {"download_s": "downloading", "train_s": "training", "upload_s": "uploading", **_WORDS}

#: Tasks that the picture of one version shows: the last to end.
_ROWS = 30


def critical_path(run: Result, *, ax: Axes | None = None) -> Axes:
    """Seconds each version took, by what the task that it waited for was doing.

    The slowest version bears the class and number of the device it waited for.
    """
    path = path_of(style.frame_of(run, "tasks", DRAWN), run.versions)
    edges = np.append(path["version"] - 0.5, path["version"].iloc[-1:] + 0.5)
    ax = style.dressed(ax)
    below = np.zeros(len(path))
    handles: list[StepPatch] = []
    for share in SHARES:
        above = below + path[share].to_numpy()
        if (above > below).any():
            label = _WORDS.get(share, share.removesuffix("_s"))
            look: dict[str, Any] = {"color": _COLOURS[share], "linewidth": 0, "label": label}
            handles.append(ax.stairs(above, edges, baseline=below, fill=True, **look))
        below = above
    style.whole(ax.xaxis, LABELS["version"])
    style.in_time(ax.yaxis, float(below.max(initial=0.0)), LABELS["version_s"])
    if len(path):
        _name_slowest(ax, path, below)
        ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(0, 1.12 * below.max(initial=0.0) or 1.0)
    style.legend_above(ax, handles)
    return ax


def slowest_version(run: Result, *, version: int | None = None, ax: Axes | None = None) -> Axes:
    """The tasks that a version waited for, the one that it waited for longest at the bottom.

    version: default the one that took longest. Dashed: when the version before was made.
    """
    tasks = style.frame_of(run, "tasks", DRAWN)
    row = _chosen(path_of(tasks, run.versions), version)
    waited = tasks[(tasks["ended_s"] <= row["made_s"]) & (tasks["ended_s"] > row["opened_s"])]
    tasks = waited.sort_values(["ended_s", "task"]).tail(_ROWS)
    names = [f"{c}  #{d}" for c, d in zip(tasks["device_class"], tasks["device"], strict=True)]
    ax = style.dressed(ax, width=6.8, height=1.2 + 0.17 * max(len(names), 1))
    draw_tasks(ax, tasks, pd.Series(range(len(tasks)), index=tasks.index))
    ax.axvline(row["opened_s"], color=style.INK, linewidth=1, linestyle=(0, (4, 3)))
    ax.set_yticks(range(len(names)), names, fontsize=7)
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(len(names) - 0.4, -0.6)
    ax.grid(visible=False, axis="y")
    style.in_time(ax.xaxis, float(row["made_s"] - row["opened_s"]), LABELS["time"])
    ax.set_xlabel(f"{ax.get_xlabel()}\n{in_words(row)}")
    explain(ax, tasks)
    return ax


def in_words(row: pd.Series) -> str:
    """Why this version took so long, from a row of `critical_path`."""
    took_s = float(row["made_s"] - row["opened_s"])
    longest = max(SHARES, key=lambda share: float(row[share]))
    return (
        f"version {row['version']} took {formatting.seconds(took_s)}, "
        f"{formatting.seconds(float(row[longest]))} of it {_DOING[longest]}: "
        f"{row['device_class']} #{row['device']}"
    )


def _chosen(path: pd.DataFrame, version: int | None) -> pd.Series:
    if path.empty:
        raise InputError("no version was made, so none was slow")
    if version is None:
        return path.loc[(path["made_s"] - path["opened_s"]).idxmax()]
    found = path[path["version"] == version]
    if found.empty:
        known = f"{path['version'].min()} to {path['version'].max()}"
        raise InputError(f"version {version} was not made by this run (versions: {known})")
    return found.iloc[0]


def _name_slowest(ax: Axes, path: pd.DataFrame, took_s: np.ndarray) -> None:
    at = int(took_s.argmax())
    row = path.iloc[at]
    place = "right" if at > len(path) / 2 else "left"
    ax.annotate(
        f"{row['device_class']} #{row['device']}", (row["version"], took_s[at]), (0, 3),
        textcoords="offset points", ha=place, fontsize=8,
    )  # fmt: skip
