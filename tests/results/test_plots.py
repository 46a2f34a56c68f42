"""Plots are held to what they draw (artists' data), not to pixels."""

from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import to_hex

from simfl.errors import InputError
from simfl.results import plots
from simfl.results.plots import PLOTS, STUDY_PLOTS, style

ALL = PLOTS | STUDY_PLOTS

EVALUATIONS = [
    {"time_s": 600.0 * i, "version": 2 * i, "accuracy": 0.2 * i, "down_bytes": 100 * i,
     "up_bytes": 50 * i} for i in range(5)
]  # fmt: skip


@pytest.fixture
def tasks(frame):
    """Two classes, every outcome, each task six seconds long."""
    applied = [("phone", 0, 0), ("phone", 1, 1), ("phone", 1, 1), ("board", 2, 4)]
    rows = [
        {"device_class": c, "device": d, "staleness": s, "staleness_s": 6.0, "applied_version": 5}
        for c, d, s in applied
    ]
    others = [
        {"outcome": "lost", "cause": "offline", "upload_s": 0.0, "up_bytes": 0, "ended_s": 3.0},
        {"outcome": "cancelled", "cause": "late", "device": 3},
        {"outcome": "discarded", "cause": "too stale", "device": 3},
        {"outcome": "in_flight", "version": 3, "device": 3},
    ]
    made = [*rows, *others]
    return frame("tasks", *({"task": i} | row for i, row in enumerate(made)))


@pytest.fixture
def run(run_folder):
    tasks = [{"staleness": 1, "staleness_s": 6.0}]
    versions = [{"time_s": 6.0}]
    return run_folder("night", tasks=tasks, evaluations=EVALUATIONS, versions=versions)


def labels(axis) -> list[str]:
    axis.axes.figure.canvas.draw()
    return [tick.get_text() for tick in axis.get_ticklabels()]


@pytest.mark.parametrize("kind", PLOTS)
def test_every_plot_draws_a_result_into_the_axes_given(run, kind) -> None:
    """And leaves matplotlib's settings and other figures alone."""
    before = mpl.rcParams.copy()
    _, ax = plt.subplots()
    assert PLOTS[kind](run, ax=ax) is ax
    ax.figure.canvas.draw()
    assert ax.get_xlabel()
    assert len(plt.get_fignums()) == 1
    assert mpl.rcParams == before


@pytest.mark.parametrize("kind", sorted(set(PLOTS) - {"slowest-version"}))
def test_every_plot_survives_a_run_in_which_nothing_happened(run_folder, kind) -> None:
    PLOTS[kind](run_folder("empty")).figure.canvas.draw()


def test_the_names_of_plots_are_those_of_the_functions() -> None:
    assert {kind: f.__name__ for kind, f in ALL.items()} == {
        kind: kind.replace("-", "_") for kind in ALL
    }


def test_importing_results_does_not_load_matplotlib() -> None:
    code = "import sys, simfl.results; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_histogram_has_a_bar_for_each_staleness(tasks) -> None:
    """Ages in flight (5 - 3 = 2) stand on top; dashed lines are p50 and p95."""
    ax = plots.staleness(tasks)
    applied, flying = ax.containers
    assert [bar.get_height() for bar in applied] == [1, 2, 0, 0, 1]
    assert [bar.get_height() for bar in flying] == [0, 0, 1, 0, 0]
    assert [bar.get_x() for bar in applied] == [-0.5, 0.5, 1.5, 2.5, 3.5]
    assert [line.get_xdata()[0] for line in ax.lines] == [1, 4]
    assert ax.get_title(loc="right").split("    ") == ["p50 = 1", "p95 = 4", "max = 4"]


def test_wide_bars_hold_whole_numbers_of_versions(frame) -> None:
    rows = [{"staleness": s, "applied_version": 0} for s in (0, 1000)]
    bars = plots.staleness(frame("tasks", *rows)).containers[0]
    width = bars[0].get_width()
    assert width == int(width) == 9
    assert sum(bar.get_height() for bar in bars) == 2


def test_the_ecdf_ends_at_one_for_every_run(tasks) -> None:
    ax = plots.staleness_ecdf({"a": tasks, "b": tasks[:2]})
    steps = [dict(zip(*line.get_data(), strict=True)) for line in ax.lines]
    assert steps[0] == {0: 0.25, 1: 0.75, 4: 1.0}
    assert steps[1] == {0: 0.5, 1: 1.0}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_ridges_go_from_fresh_to_stale_and_show_the_median(tasks) -> None:
    ax = plots.staleness_by_class(tasks)
    assert labels(ax.yaxis) == ["board\n1 updates", "phone\n3 updates"]
    medians = [line.get_data() for line in ax.lines if line.get_marker() == "o"]
    assert [(x[0], y[0]) for x, y in medians] == [(4, 0), (1, 1)]


def test_the_heat_map_holds_means_by_class_and_time_of_use(frame) -> None:
    rows = [
        {"staleness": 2, "staleness_s": 10.0, "dispatched_s": 0.0},
        {"staleness": 4, "staleness_s": 1.0, "dispatched_s": 9.0},
        {"staleness": 9, "staleness_s": 10.0, "dispatched_s": 30.0, "device_class": "board"},
    ]
    ax = plots.staleness_heatmap(frame("tasks", *rows), bins=2)
    shown = ax.collections[0].get_array()
    assert labels(ax.yaxis) == ["phone", "board"]
    np.testing.assert_array_equal(shown.filled(-1), [[3, -1], [-1, 9]])


@pytest.mark.parametrize(
    ("against", "last", "words"),
    [("time", 2400.0, "virtual time (min)"), ("version", 8, "server version"),
     ("bytes", 600, "bytes moved, both ways")],
)  # fmt: skip
def test_accuracy_is_drawn_against_what_was_asked(frame, against, last, words) -> None:
    ax = plots.accuracy(frame("evaluations", *EVALUATIONS), against=against)
    x, y = ax.lines[0].get_data()
    assert (x[-1], y[-1]) == (last, 0.8)
    assert ax.get_xlabel() == words


def test_a_target_is_ringed_where_it_was_first_met(run) -> None:
    ax = plots.accuracy([run], target=0.4)
    ring = ax.lines[1]
    assert [list(values) for values in ring.get_data()] == [[1200.0], [0.4]]
    assert len(plots.accuracy([run], target=0.9).lines) == 2


def test_runs_are_told_apart_by_colour_and_marker(run) -> None:
    ax = plots.accuracy([run, run])
    first, second = ax.lines
    assert first.get_color() != second.get_color()
    assert first.get_marker() != second.get_marker()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["night #1", "night #2"]


def test_accuracy_against_the_moon_is_refused(run) -> None:
    with pytest.raises(InputError, match=r"'moon' \(options: bytes, time, version\)"):
        plots.accuracy(run, against="moon")


def test_uploads_rise_and_downloads_hang(tasks) -> None:
    """All eight download ten bytes in the first second; the seven that got so far upload."""
    up, down = plots.traffic(tasks, bin_s=1.0).patches
    np.testing.assert_allclose(down.get_data().values, [-80, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(up.get_data().values, [0, 0, 0, *[7 * 20 / 3] * 3])


def test_the_timeline_draws_phases_end_to_end(tasks) -> None:
    """One bar per phase that took time, one mark per ended task."""
    ax = plots.timeline(tasks)
    bars = {c.get_label(): c for c in ax.collections if c.get_label() in style.PHASE_COLOURS}
    assert {phase: len(c.get_paths()) for phase, c in bars.items()} == {
        "download": 8, "train": 8, "upload": 7,
    }  # fmt: skip
    spans = [bars[phase].get_paths()[0].vertices[:, 0] for phase in bars]
    assert [(x.min(), x.max()) for x in spans] == [(0, 1), (1, 3), (3, 6)]
    assert labels(ax.yaxis) == ["board  #2", "phone  #0", "phone  #1", "phone  #3"]
    words = [text.get_text() for text in ax.get_legend().get_texts()]
    assert words[3:] == ["applied", "discarded", "lost", "cancelled"]


def test_the_timeline_shows_the_devices_and_the_window_asked_for(frame) -> None:
    rows = [{"task": i, "device": i % 3, "dispatched_s": 10.0 * i, "ended_s": 10.0 * i + 6}
            for i in range(9)]  # fmt: skip
    ax = plots.timeline(frame("tasks", *rows), devices=2, between_s=(25.0, 45.0))
    assert labels(ax.yaxis) == ["phone  #0", "phone  #1"]
    assert ax.get_xlim() == (25.0, 45.0)
    marks = [c for c in ax.collections if c.get_label() not in style.PHASE_COLOURS][1]
    assert marks.get_offsets().tolist() == [[36, 0], [46, 1]]


def test_waste_is_stacked_by_phase_under_its_cause(tasks) -> None:
    ax = plots.waste(tasks)
    names = labels(ax.yaxis)
    bars = {c.get_label(): [bar.get_width() for bar in c] for c in ax.containers}
    assert names == ["in flight", "late", "too stale", "offline"]
    assert bars == {"download": [1] * 4, "train": [2] * 4, "upload": [3, 3, 3, 0]}
    assert ax.get_xlabel() == "wasted device time (s): 46.7 % of 45 s"


def test_the_lorenz_curve_counts_devices_that_never_took_part(tasks, run) -> None:
    """Updates per device 0, 1, 1, 2 of the frame; one of four devices of the run has all."""
    x, y = plots.participation(tasks, devices=4).lines[1].get_data()
    np.testing.assert_allclose(x, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(y, [0, 0, 0.25, 0.5, 1])
    np.testing.assert_allclose(plots.participation(run).lines[1].get_ydata(), [0, 0, 0, 0, 1])


@pytest.mark.parametrize(
    ("span_s", "label"), [(50.0, "t (s)"), (600.0, "t (min)"), (86400.0, "t (h)"), (1e6, "t (d)")]
)
def test_axes_of_time_choose_a_unit_and_keep_seconds(span_s, label) -> None:
    _, ax = plt.subplots()
    ax.plot([0, span_s], [0, 1])
    style.in_time(ax.xaxis, span_s, "t")
    assert ax.get_xlabel() == label
    assert ax.lines[0].get_xdata()[-1] == span_s
    assert all(float(text) == int(float(text)) for text in labels(ax.xaxis))


def test_runs_have_seven_colours() -> None:
    assert len({to_hex(colour) for colour in style.PALETTE}) == len(style.PALETTE) == 7


def test_traffic_by_link_stacks_to_all_traffic(run_folder) -> None:
    """Devices 0 and 1 are on lte, 3 on 3g; the outermost layers are the sums."""
    rows = [{"task": i, "device": d, "outcome": "lost"} for i, d in enumerate((0, 1, 3))]
    run = run_folder("night", tasks=rows)
    whole, parts = plots.traffic(run), plots.traffic_by_link(run)
    up, down = (patch.get_data().values for patch in whole.patches)
    layers = [patch.get_data() for patch in parts.patches]
    assert layers[-2].values == pytest.approx(up)
    assert layers[-1].values == pytest.approx(down)
    named = [text.get_text() for text in parts.get_legend().get_texts()]
    assert named == ["3g", "lte"]


@pytest.mark.parametrize("kind", ["staleness", "staleness-by-class", "staleness-heatmap"])
def test_staleness_that_is_always_0_is_said_in_words(frame, kind) -> None:
    fresh = {"outcome": "applied", "staleness": 0, "staleness_s": 1.0, "cause": ""}
    axes = PLOTS[kind](frame("tasks", fresh, fresh))
    assert [text.get_text()[:8] for text in axes.texts] == ["always 0"]
    assert not axes.patches
    stale = PLOTS[kind](frame("tasks", fresh, {**fresh, "staleness": 2}))
    assert not any("always" in text.get_text() for text in stale.texts)
