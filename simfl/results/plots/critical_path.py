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
from simfl.results.critical_path import SHARES, VERSIONS, Made, Stretches, stretches
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

#: Stretches of versions that the picture of all of them shows.
_STRETCHES = 1000

#: Tasks that the picture of one version shows: the last to end.
_ROWS = 30


def critical_path(run: Result, *, ax: Axes | None = None) -> Axes:
    """Seconds each version took, by what the task that it waited for was doing.

    The slowest version bears the class and number of the device it waited for. Of more versions
    than there are lines in a picture, neighbours are drawn as their mean.
    """
    found = _stretches(run, _STRETCHES)
    ax = style.dressed(ax)
    edges, below = found.edges, np.zeros(len(found.shares))
    handles: list[StepPatch] = []
    for share in SHARES:
        above = below + found.shares[share].to_numpy()
        if (above > below).any():
            label = _WORDS.get(share, share.removesuffix("_s"))
            look: dict[str, Any] = {"color": _COLOURS[share], "linewidth": 0, "label": label}
            handles.append(ax.stairs(above, edges, baseline=below, fill=True, **look))
        below = above
    style.whole(ax.xaxis, LABELS["version"])
    style.in_time(ax.yaxis, float(below.max(initial=0.0)), LABELS["version_s"])
    if found.slowest is not None:
        _name_slowest(ax, found.slowest, edges, below)
        ax.set_xlim(edges[0], edges[-1])
    ax.set_ylim(0, 1.12 * below.max(initial=0.0) or 1.0)
    style.legend_above(ax, handles)
    return ax


def slowest_version(run: Result, *, version: int | None = None, ax: Axes | None = None) -> Axes:
    """The tasks that a version waited for, the one that it waited for longest at the bottom.

    version: default the one that took longest. Dashed: when the version before was made.
    """
    row = _chosen(run, version)
    waited = [
        tasks[(tasks["ended_s"] <= row["made_s"]) & (tasks["ended_s"] > row["opened_s"])]
        for tasks in style.parts_of(run, "tasks", DRAWN)
    ]
    tasks = pd.concat(waited, ignore_index=True).sort_values(["ended_s", "task"]).tail(_ROWS)
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


def _stretches(run: Result, most: int, version: int | None = None) -> Stretches:
    """Of all versions, or of one alone."""
    versions = run.read("versions", list(VERSIONS))
    made = Made.of(versions) if version is None else Made.of(versions).only(version)
    return stretches(lambda: style.parts_of(run, "tasks", DRAWN), made, most)


def _chosen(run: Result, version: int | None) -> pd.Series:
    """The row of `critical_path` of this version, or of the slowest."""
    row = _stretches(run, 1, version).slowest
    if row is not None:
        return row
    known = run.read("versions", ["version"])["version"]
    if version is None or known.empty:
        raise InputError("no version was made, so none was slow")
    raise InputError(
        f"version {version} was not made by this run (versions: {known.min()} to {known.max()})"
    )


def _name_slowest(ax: Axes, row: pd.Series, edges: np.ndarray, tops: np.ndarray) -> None:
    at = min(int(np.searchsorted(edges, row["version"], side="right")) - 1, len(tops) - 1)
    place = "right" if at > len(tops) / 2 else "left"
    ax.annotate(
        f"{row['device_class']} #{row['device']}", (row["version"], tops[at]), (0, 3),
        textcoords="offset points", ha=place, fontsize=8,
    )  # fmt: skip
