"""Tuning: what every trial cost, and which options made the difference."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from simfl.errors import InputError
from simfl.results.plots import style
from simfl.results.study import Study
from simfl.results.tuning import Tuning

#: Colours of options, in order of appearance.
_BAR = 0.8


def tuning(study: Study | Tuning, *, ax: Axes | None = None) -> Axes:
    """The objective of every trial, and the best so far as a line; one colour per variant.

    A cross is a trial that missed the target or failed: its cost is a lower bound.
    """
    found = _tuning_of(study)
    ax = style.dressed(ax)
    sign = -1.0 if (found.trials["value"] < 0).any() else 1.0
    for i, (name, trials) in enumerate(found.trials.groupby("variant", sort=False)):
        met, value = trials["met"].to_numpy(bool), sign * trials["value"].to_numpy()
        look = {"color": style.colour(i), "linewidth": 1.6, "linestyle": style.dash(i)}
        best = np.minimum.accumulate(np.where(met, trials["value"].to_numpy(), np.inf))
        ax.step(trials["trial"], np.where(np.isfinite(best), sign * best, np.nan), where="post",
                label=name, **look)  # fmt: skip
        for shape, which in (("o", met), ("x", ~met)):
            ax.plot(trials["trial"][which], value[which], shape, color=look["color"], markersize=4,
                    alpha=0.7)  # fmt: skip
    style.whole(ax.xaxis, "trial")
    objective = str(found.options["objective"])
    if objective in ("seconds", "device_s"):
        longest = float(found.trials["value"].max())
        style.in_time(ax.yaxis, longest, objective.replace("device_s", "device time")
                      .replace("seconds", "virtual time to the target"))  # fmt: skip
    else:
        ax.set_ylabel(objective.replace("_", " "))
    style.legend(ax)
    return ax


def importance(study: Study | Tuning, *, ax: Axes | None = None) -> Axes:
    """Share of the differences between a variant's trials that each of its options explains."""
    found = _tuning_of(study)
    known = {name: one.importance for name, one in found.best.items() if one.importance}
    rows = [(name, path, share) for name, one in known.items() for path, share in one.items()]
    ax = style.dressed(ax, height=0.9 + 0.3 * max(len(rows), 1))
    colours = {name: style.colour(i) for i, name in enumerate(found.best)}
    for place, (name, _, share) in enumerate(rows):
        first = place == 0 or rows[place - 1][0] != name
        ax.barh(place, share, _BAR, color=colours[name], label=name if first else "_again")
    names = [path.rpartition(".")[2] for _, path, _ in rows]
    ax.set_yticks(range(len(rows)), names)
    ax.set(xlim=(0, 1), ylim=(max(len(rows), 1) - 0.5, -0.5))
    ax.tick_params(axis="y", length=0)
    ax.grid(visible=False, axis="y")
    style.in_percent(ax.xaxis, "share of the differences explained")
    if rows:
        style.legend_beside(ax)
    return ax


def _tuning_of(study: Study | Tuning) -> Tuning:
    found = study if isinstance(study, Tuning) else study.tuning
    if found is None:
        raise InputError("this study was not tuned: its scenario has no [tune]")
    return found
