from __future__ import annotations

from math import fmod, inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simfl.fleet.network.series import Series
from simfl.fleet.network.varying import VaryingRate
from simfl.fleet.traces import Trace

steps = st.lists(st.tuples(st.integers(1, 5000), st.floats(0.0, 100.0)), min_size=2, max_size=8)
times = st.floats(0.0, 1e6) | st.integers(0, 10_000).map(lambda k: k / 1024.0)


def series_of(rows: list[list[tuple[int, float]]]) -> Series:
    """Steps given by their lengths in ticks."""
    ends = [np.cumsum([ticks for ticks, _ in row]) / 1024.0 for row in rows]
    offsets = np.cumsum([0] + [len(row) for row in rows])
    return Series(offsets, np.concatenate(ends), np.array([v for row in rows for _, v in row]))


@given(st.lists(steps, min_size=1, max_size=3), times)
def test_a_series_is_its_steps_again_and_again(rows, t):
    """By looking at all steps, at any time and at the ends that it gives itself."""
    series = series_of(rows)
    for i, row in enumerate(rows):
        ends = np.cumsum([ticks for ticks, _ in row]) / 1024.0
        for _ in range(5):
            value, until_s = series.at(i, t)
            assert until_s > t
            local = fmod(t, ends[-1])
            near = np.min(np.abs(local - np.append(ends, 0.0))) < 1e-6
            assert near or value == row[int(np.argmax(ends > local))][1]
            t = until_s


@given(steps, times, st.integers(0, 40))
def test_following_a_series_adds_up_to_its_mean(row, t, periods):
    series = series_of([row])
    period_s = series.periods_s()[0]
    start_s, end_s = t, t + periods * period_s
    area = 0.0
    while t < end_s:
        value, until_s = series.at(0, t)
        area += value * (min(until_s, end_s) - t)
        t = until_s
    assert area == pytest.approx(series.means()[0] * (end_s - start_s), rel=1e-6, abs=1e-6)


def test_one_step_lasts_for_ever():
    assert series_of([[(5, 3.0)]]).at(0, 1e9) == (3.0, inf)


TRACE = Trace(
    "bandwidth",
    {
        "trace": np.array([0, 0, 1, 1]),
        "t_s": np.array([1.0, 4.0, 2.0, 3.0]),
        "down_mbps": np.array([8.0, 0.0, 1.0, 7.0]),
        "up_mbps": np.array([1.0, 1.0, 2.0, 2.0]),
    },
)


def varying_rate(n=200, levels=(None, None), trace=TRACE):
    return VaryingRate(trace, range(50, 50 + n), np.random.default_rng(3), levels)


def test_devices_replay_recordings_from_moments_of_their_own():
    """Each moves around its own mean; nobody is off the grid of the series."""
    moving = varying_rate()
    levels = moving.level(up=False)
    assert set(levels.tolist()) == {2.0, 3.0}
    firsts = [moving.at(50 + i, 0.0, up=False) for i in range(200)]
    factors = sorted({factor for factor, _ in firsts})
    assert factors == pytest.approx([0.0, 1 / 3, 7 / 3, 4.0])
    assert len({until_s for _, until_s in firsts}) > 100
    assert all(0.0 < until_s <= 3.0 for _, until_s in firsts)


def test_both_directions_replay_the_same_moment():
    trace = Trace("bandwidth", {**TRACE.columns, "up_mbps": TRACE.columns["down_mbps"] * 0.5})
    moving = varying_rate(trace=trace)
    for i in range(50, 250, 7):
        assert moving.at(i, 1.5, up=True) == moving.at(i, 1.5, up=False)


def test_a_direction_that_was_not_recorded_moves_like_the_other():
    one = Trace("bandwidth", {k: v for k, v in TRACE.columns.items() if k != "up_mbps"})
    moving = varying_rate(levels=(None, 5.0), trace=one)
    assert moving.at(60, 0.3, up=True) == moving.at(60, 0.3, up=False)
