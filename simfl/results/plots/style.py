"""What all plots share: colours, words on axes, and how an Axes is dressed.

Nothing here is global: a style reaches one Axes and no other. Colours are those of Okabe and Ito
(2008), which people with any common colour vision tell apart; in print, lines differ by markers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import pandas as pd
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.ticker import EngFormatter, FuncFormatter, MaxNLocator, PercentFormatter

from simfl.results.compare import distinct_names
from simfl.results.result import Result

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PINK, SKY, YELLOW = "#CC79A7", "#56B4E9", "#F0E442"
INK, QUIET, FAINT = "#222222", "#767676", "#E3E3E3"

#: Colours of runs, in order.
PALETTE = (BLUE, ORANGE, GREEN, RED, PINK, SKY, INK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))

#: Names that a legend inside of the Axes may have.
_INSIDE = 4

#: Colours of phases.
PHASE_COLOURS = {"download": SKY, "train": ORANGE, "upload": BLUE}

#: What columns are called on axes. Units are in the ticks where these scale them.
LABELS = {
    "time": "virtual time",
    "version": "server version",
    "version_s": "time since the version before",
    "bytes": "bytes moved, both ways",
    "accuracy": "test accuracy",
    "loss": "test loss",
    "staleness": "staleness (versions)",
    "staleness_mean": "mean staleness (versions)",
    "updates": "applied updates",
    "share_of_updates": "share of applied updates",
    "share_of_devices": "share of devices, least active first",
    "traffic": "traffic",
    "wasted_s": "wasted device time",
}

# Seconds in a unit of time, and how many of it a span must have before it is used.
_TIME_UNITS = ((86400.0, "d", 4), (3600.0, "h", 2), (60.0, "min", 2), (1.0, "s", 0))

#: One run, or several with or without names of their own.
Runs: TypeAlias = "Result | pd.DataFrame | Mapping[str, Result | pd.DataFrame] | Iterable[Result]"


def frame_of(
    run: Result | pd.DataFrame, table: str, columns: Sequence[str] | None = None
) -> pd.DataFrame:
    """The table of a Result; a frame is taken to be that table already.

    columns: those that are looked at. Of a Result only they are read and nothing is kept, so that
    a run of ten million tasks can be drawn.
    """
    if isinstance(run, pd.DataFrame):
        return run
    if columns is not None and table not in vars(run):
        return run.read(table, list(columns))
    found: pd.DataFrame = getattr(run, table)
    return found


def parts_of(
    run: Result | pd.DataFrame, table: str, columns: Sequence[str]
) -> Iterable[pd.DataFrame]:
    """Columns of a table part by part, so that a run of ten million tasks can be drawn.

    A frame, or a table that a Result holds by now, is one part.
    """
    if isinstance(run, pd.DataFrame):
        return [run]
    if table in vars(run):
        return [vars(run)[table]]
    return run.parts(table, list(columns))


def named(runs: Runs) -> dict[str, Result | pd.DataFrame]:
    """One or several runs by name; a single frame has the empty name."""
    if isinstance(runs, pd.DataFrame):
        return {"": runs}
    if isinstance(runs, Mapping):
        return dict(runs)
    return dict(distinct_names([runs] if isinstance(runs, Result) else runs))


def frames_of(
    runs: Runs, table: str, columns: Sequence[str] | None = None
) -> dict[str, pd.DataFrame]:
    """A table of one or several runs, by name.

    columns: see `frame_of`.
    """
    return {name: frame_of(run, table, columns) for name, run in named(runs).items()}


def colour(index: int) -> str:
    """Colour of the run at a place in the order given."""
    return PALETTE[index % len(PALETTE)]


def dash(index: int) -> Any:
    """Line style of the run at a place in the order given."""
    return DASHES[index % len(DASHES)]


def dressed(ax: Axes | None, width: float = 6.0, height: float = 3.4) -> Axes:
    """The given Axes, or one on a new figure (in inches); quiet frame and grid."""
    if ax is None:
        _, ax = plt.subplots(figsize=(width, height), layout="constrained", dpi=150)
    ax.spines[["top", "right"]].set_visible(False)
    ax.spines[["left", "bottom"]].set_color(QUIET)
    ax.tick_params(colors=INK, labelsize=9, length=3, color=QUIET)
    ax.grid(color=FAINT, linewidth=0.7)
    ax.set_axisbelow(True)
    return ax


def legend(ax: Axes) -> None:
    """A frameless legend; one of many names stands beside the Axes, where it hides no data."""
    if len(ax.get_legend_handles_labels()[1]) > _INSIDE:
        legend_beside(ax)
        return
    ax.legend(frameon=False, fontsize=9, handlelength=2.4)


def legend_beside(ax: Axes) -> None:
    """A frameless legend to the right of the Axes, where it hides no data however long it is."""
    ax.legend(
        frameon=False, fontsize=9, handlelength=2.4, loc="upper left", bbox_to_anchor=(1.01, 1.0)
    )


def legend_above(ax: Axes, handles: Sequence[Any]) -> None:
    """A legend in one line above the Axes, where it hides no data."""
    ax.legend(
        handles=handles, ncols=len(handles), loc="lower left", bbox_to_anchor=(0, 1),
        frameon=False, fontsize=9, handlelength=1.0, columnspacing=1.4, borderaxespad=0.2,
    )  # fmt: skip


class _ScaledLocator(MaxNLocator):
    """Ticks at round multiples of a unit."""

    def __init__(self, unit: float, steps: list[float]) -> None:
        super().__init__(nbins=7, steps=steps)
        self._unit = unit

    def tick_values(self, vmin: float, vmax: float) -> list[float]:
        ticks = super().tick_values(vmin / self._unit, vmax / self._unit)
        return [tick * self._unit for tick in ticks]


def in_time(axis: Axis, span_s: float, label: str) -> None:
    """Labels an axis of seconds in the unit that suits the span; the data stay in seconds."""
    unit, name, _ = next(u for u in _TIME_UNITS if span_s >= u[0] * u[2])
    steps = [1.0, 2.0, 3.0, 6.0, 10.0] if name == "h" else [1.0, 2.0, 5.0, 10.0]
    axis.set_major_locator(_ScaledLocator(unit, steps))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / unit:g}"))
    axis.set_label_text(f"{label} ({name})")


def in_units(axis: Axis, unit: str, label: str) -> None:
    """Labels an axis with a unit and decimal prefixes: 2 GB."""
    axis.set_major_formatter(EngFormatter(unit=unit))
    axis.set_label_text(label)


def always_fresh(ax: Axes) -> None:
    """Says in words what a picture of nothing but zeros does not show."""
    ax.text(
        0.5, 0.5, "always 0: every update entered the version that its task was sent",
        transform=ax.transAxes, ha="center", va="center", color=QUIET, fontsize=9, wrap=True,
    )  # fmt: skip
    ax.set(xticks=[], yticks=[])
    ax.grid(visible=False)
    ax.spines[["left", "bottom"]].set_visible(False)


def in_percent(axis: Axis, label: str) -> None:
    """Labels an axis of fractions as percentages."""
    axis.set_major_formatter(PercentFormatter(1.0))
    axis.set_label_text(label)


def whole(axis: Axis, label: str) -> None:
    """Labels an axis of counts: no ticks between whole numbers."""
    axis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    axis.set_label_text(label)


def unsigned(axis: Axis) -> None:
    """Keeps an axis' labels but drops their signs: for what is drawn downwards."""
    signed = axis.get_major_formatter()
    axis.set_major_formatter(FuncFormatter(lambda value, place: signed(abs(value), place)))
