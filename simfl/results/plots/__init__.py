"""Plots: functions of a Result or a frame that return Axes; `simfl.plot` is this package.

Every function takes `ax=None` and then makes a figure of its own; none shows or saves one, sets
a style, or chooses a backend. PLOTS has them by the names that the command line uses.
"""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes

from simfl.results.plots.ages import (
    staleness,
    staleness_by_class,
    staleness_ecdf,
    staleness_heatmap,
)
from simfl.results.plots.effort import participation, waste
from simfl.results.plots.gantt import timeline
from simfl.results.plots.progress import accuracy, traffic

__all__ = [
    "PLOTS",
    "accuracy",
    "participation",
    "staleness",
    "staleness_by_class",
    "staleness_ecdf",
    "staleness_heatmap",
    "timeline",
    "traffic",
    "waste",
]

PLOTS: dict[str, Callable[..., Axes]] = {
    "accuracy": accuracy,
    "participation": participation,
    "staleness": staleness,
    "staleness-by-class": staleness_by_class,
    "staleness-ecdf": staleness_ecdf,
    "staleness-heatmap": staleness_heatmap,
    "timeline": timeline,
    "traffic": traffic,
    "waste": waste,
}
