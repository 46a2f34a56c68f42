"""Chargers over time: levels, waits and empty batteries against a walk in small steps."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simfl.clock.battery import Battery
from simfl.fleet.charging import Charger, Steady
from simfl.fleet.traces import Trace

#: 2 s of nothing, 3 s of 4 W, 1 s of nothing: 12 J every 6 s.
NIGHTS = Trace(
    "charger",
    {
        "trace": np.zeros(3, int),
        "t_s": np.array([2.0, 5.0, 6.0]),
        "charge_w": np.array([0, 4, 0.0]),
    },
)
WHOLE = st.integers(0, 40).map(float)


def flows(t: float) -> float:
    return 4.0 if 2.0 <= t % 6.0 < 5.0 else 0.0


@given(WHOLE, st.integers(1, 40).map(float))
def test_joules_have_flowed_when_it_says(since_s: float, joules: float) -> None:
    step_s, t, had_j = 1 / 64, since_s, 0.0
    while had_j < joules:
        had_j, t = had_j + flows(t) * step_s, t + step_s
    assert Charger(NIGHTS, 0).of(0).gained_s(since_s, joules) == pytest.approx(t, abs=step_s)


@given(WHOLE, WHOLE, WHOLE, st.sampled_from([0.0, 1.0, 3.0, 5.0]))
def test_a_level_is_that_of_small_steps(
    since_s: float, level_j: float, later_s: float, draw_w: float
) -> None:
    step_s, t, level = 1 / 64, since_s, min(level_j, 20.0)
    battery = Battery(level, since_s, 20.0, Charger(NIGHTS, 0).of(0))
    empty_s = since_s if level == 0.0 and flows(t) < draw_w else inf
    while t < since_s + later_s:
        level, t = level + (flows(t) - draw_w) * step_s, t + step_s
        empty_s = t if level < 0.0 and empty_s == inf else empty_s
        level = max(0.0, min(20.0, level))
    assert battery.at(t, draw_w).level_j == pytest.approx(level, abs=5.0 * step_s)
    found_s = battery.empty_s(draw_w, t)
    assert found_s >= t or found_s == pytest.approx(empty_s, abs=2 * step_s)
    assert found_s < t or empty_s == inf or empty_s >= t - 2 * step_s


def test_a_draw_that_the_charger_makes_up_for_never_empties_a_battery() -> None:
    charger = Charger(NIGHTS, 0).of(0)
    assert Battery(20.0, 0.0, 20.0, charger).empty_s(2.0) == inf
    # Nothing is left from second 8 on, while as much flows in as is drawn; the task ends at 11.
    assert Battery(20.0, 0.0, 20.0, charger).empty_s(4.0) == 11.0
    assert Battery(20.0, 0.0, 20.0, Steady(1.0)).empty_s(3.0) == 10.0


def test_devices_take_recordings_in_turn_and_one_may_never_charge() -> None:
    columns = {"trace": np.array([0, 1]), "t_s": np.array([5.0, 9.0]), "charge_w": np.array([2, 0])}
    charger = Charger(Trace("charger", {**columns, "charge_w": columns["charge_w"] * 1.0}), 10)
    assert [charger.of(i).at(3.0)[0] for i in (10, 11, 12)] == [2.0, 0.0, 2.0]
    assert charger.of(11).gained_s(3.0, 1.0) == inf
