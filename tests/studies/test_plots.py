"""Pictures of a study, held to what they draw."""

from __future__ import annotations

from math import inf

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from simfl.errors import InputError
from simfl.results import plots
from simfl.results.plots import STUDY_PLOTS
from simfl.results.plots.studies import pareto_points
from simfl.results.stats import Estimate, pareto_front, quantiles

CURVES = pd.DataFrame(
    {
        "variant": ["a"] * 5,
        "seed": [0, 0, 0, 1, 1],
        "time_s": [0.0, 10.0, 20.0, 0.0, 15.0],
        "accuracy": [0.1, 0.4, 0.8, 0.1, 0.6],
    }
)


@pytest.mark.parametrize("kind", STUDY_PLOTS)
def test_every_plot_draws_a_study_into_the_axes_given(small, tuned, kind) -> None:
    _, ax = plt.subplots()
    study = tuned if kind in ("importance", "tuning") else small
    assert STUDY_PLOTS[kind](study, ax=ax) is ax
    ax.figure.canvas.draw()
    assert ax.get_xlabel()
    assert len(plt.get_fignums()) == 1


def test_a_curve_holds_its_value_until_the_next_and_the_last_for_ever() -> None:
    pairs = [(one["time_s"], one["accuracy"]) for _, one in CURVES.groupby("seed")]
    x, (low, middle, high) = quantiles(pairs, (0.0, 0.5, 1.0))
    assert x.tolist() == [0.0, 10.0, 15.0, 20.0]
    assert low == pytest.approx([0.1, 0.1, 0.4, 0.6])
    assert middle == pytest.approx([0.1, 0.25, 0.5, 0.7])
    assert high == pytest.approx([0.1, 0.4, 0.6, 0.8])


def test_quantiles_begin_where_every_curve_has() -> None:
    late = (pd.Series([12.0]), pd.Series([1.0]))
    early = (pd.Series([0.0, 20.0]), pd.Series([0.0, 2.0]))
    x, (middle,) = quantiles([late, early], (0.5,))
    assert (x.tolist(), middle.tolist()) == ([12.0, 20.0], [0.5, 1.5])


def test_bands_are_medians_within_the_range_of_the_seeds() -> None:
    ax = plots.bands(CURVES, target=0.5)
    line = ax.lines[0]
    assert line.get_label() == "a"
    assert line.get_ydata() == pytest.approx([0.1, 0.25, 0.5, 0.7])
    band = ax.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (0.1, 0.8)
    assert ax.lines[1].get_ydata()[0] == 0.5


def test_bars_are_medians_and_a_bound_is_open() -> None:
    sure, bound = Estimate(60.0, 60.0, 50.0, 90.0), Estimate(100.0, inf, 100.0, inf)
    found = pd.DataFrame({"seconds": [sure, bound]}, index=["quick", "never"])
    ax = plots.time_to_target(found)
    assert [bar.get_width() for bar in ax.patches] == [60.0, 100.0]
    assert [bar.get_facecolor()[3] for bar in ax.patches] == [1.0, 0.0]
    (whiskers,) = (c for c in ax.collections if len(c.get_segments()) == 1)
    assert whiskers.get_segments()[0][:, 0].tolist() == [50.0, 90.0]
    assert [label.get_text() for label in ax.get_yticklabels()] == ["quick", "never"]


def test_what_nobody_beats_is_the_front() -> None:
    x, y = np.array([1.0, 2.0, 3.0, 2.0, 1.0]), np.array([9.0, 5.0, 5.0, 4.0, 9.0])
    assert pareto_front(x, y).tolist() == [0, 3, 4]


def test_points_are_medians_over_seeds(small) -> None:
    points = pareto_points(small, "seconds", "bytes")
    costs = small.to_target().query("variant == 'buffered'")
    assert points.loc["buffered", "x"].low == costs["seconds"].median()
    assert points.loc["buffered", "y"].low == (costs["down_bytes"] + costs["up_bytes"]).median()
    assert points.loc["timid", "x"].high == inf
    whole = pareto_points(small, "bytes", "accuracy").loc["timid", "y"]
    assert whole.low == small.table.query("variant == 'timid'")["final_accuracy"].median()


def test_what_cannot_be_plotted_is_refused(small) -> None:
    with pytest.raises(InputError, match=r"cannot plot 'byte'.*did you mean 'bytes'"):
        plots.pareto(small, y="byte")
    with pytest.raises(InputError, match="cannot plot 'accuracy'"):
        plots.pareto(small, x="accuracy")
    with pytest.raises(InputError, match="cannot plot against 'tim'"):
        plots.bands(small, against="tim")
