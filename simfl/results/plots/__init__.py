"""Plots: functions of a Result or a frame that return Axes; `simfl.plot` is this package.

Every function takes `ax=None` and then makes a figure of its own; none shows or saves one, sets
a style, or chooses a backend. PLOTS and STUDY_PLOTS have them by the names that the command line
uses.
"""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axes import Axes

from simfl.results.plots.critical_path import critical_path, slowest_version
from simfl.results.plots.gantt import timeline
from simfl.results.plots.participation import participation, waste
from simfl.results.plots.profiles import performance_profile
from simfl.results.plots.progress import accuracy, traffic, traffic_by_link
from simfl.results.plots.staleness import (
    staleness,
    staleness_by_class,
    staleness_ecdf,
    staleness_heatmap,
    staleness_ridges,
)
from simfl.results.plots.studies import bands, bands_apart, pareto, time_to_target
from simfl.results.plots.tuning import importance, tuning

__all__ = [
    "PLOTS",
    "STUDY_PLOTS",
    "accuracy",
    "bands",
    "bands_apart",
    "critical_path",
    "importance",
    "pareto",
    "participation",
    "performance_profile",
    "slowest_version",
    "staleness",
    "staleness_by_class",
    "staleness_ecdf",
    "staleness_heatmap",
    "staleness_ridges",
    "time_to_target",
    "timeline",
    "traffic",
    "traffic_by_link",
    "tuning",
    "waste",
]

PLOTS: dict[str, Callable[..., Axes]] = {
    "accuracy": accuracy,
    "critical-path": critical_path,
    "participation": participation,
    "slowest-version": slowest_version,
    "staleness": staleness,
    "staleness-by-class": staleness_by_class,
    "staleness-ecdf": staleness_ecdf,
    "staleness-heatmap": staleness_heatmap,
    "staleness-ridges": staleness_ridges,
    "timeline": timeline,
    "traffic": traffic,
    "traffic-by-link": traffic_by_link,
    "waste": waste,
}

#: Plots of a whole study.
STUDY_PLOTS: dict[str, Callable[..., Axes]] = {
    "bands": bands,
    "bands-apart": bands_apart,
    "importance": importance,
    "pareto": pareto,
    "performance-profile": performance_profile,
    "time-to-target": time_to_target,
    "tuning": tuning,
}
