"""Performance profiles: which method solves how many problems at what price."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from simfl.results.plots import style
from simfl.results.study import Study


def performance_profile(
    study: Study | pd.DataFrame,
    *,
    cost: str = "seconds",
    target: Mapping[str, float] | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Share of the problems solved at no more than so many times the best cost; a line each.

    A problem is a combination of what varied beside the first axis, and a seed. A line's height at
    1 is how often the method was the best, at the right end how often it met the target at all. A
    frame is that of `Study.profile`.
    """
    found = study.profile(cost, **(target or {})) if isinstance(study, Study) else study
    solver = str(found.columns[0])
    ax = style.dressed(ax)
    last = max(float(found["ratio"].max()), 1.0) * 1.05 if len(found) else 2.0
    for i, (name, steps) in enumerate(found.groupby(solver, sort=False)):
        x, y = [*steps["ratio"], last], [*steps["share"], steps["share"].iloc[-1]]
        look = {"color": style.colour(i), "linestyle": style.dash(i), "linewidth": 1.8}
        ax.step(x, y, where="post", label=str(name), **look)
    ax.set_xscale("log", base=2)
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    ax.set_xlabel(f"{cost.replace('_', ' ')} to the target, over the best of the problem")
    style.in_percent(ax.yaxis, "share of problems")
    ax.set(xlim=(1.0, max(last, 1.1)), ylim=(0.0, 1.02))
    style.legend_beside(ax)
    return ax
