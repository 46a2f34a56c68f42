from __future__ import annotations

from math import inf, log

import numpy as np
import pytest
from pydantic import ValidationError

from simfl.fleet.faults import FaultOptions, Faults


def faults(**options) -> Faults:
    return Faults([FaultOptions(**options)], np.zeros(1, np.int32))


def test_nothing_goes_wrong_by_default():
    assert faults().fate(0, 1e-9, 0.5, 1e-9) == (inf, inf, inf)
    assert faults().on_offline(0) == "lost"


def test_a_task_drops_out_with_its_probability_where_its_draw_says():
    dropping = faults(drop_probability=0.3)
    assert dropping.fate(0, 0.2999, 0.75, 0.5) == (0.75, inf, inf)
    assert dropping.fate(0, 0.3, 0.75, 0.5) == (inf, inf, inf)


@pytest.mark.parametrize(("probability", "fraction"), [(0.0, inf), (1.0, 0.5)])
def test_certain_faults_are_certain(probability, fraction):
    dropping = faults(drop_probability=probability, hazard_per_hour=1.0)
    assert all(dropping.fate(0, u, 0.5, 0.5)[0] == fraction for u in (1e-16, 0.5, 1 - 1e-16))


def test_a_lifetime_is_exponential_in_hours():
    """Two an hour: mean half an hour, survival exp(-t / mean)."""
    hazard = faults(hazard_per_hour=2.0)
    assert hazard.fate(0, 0.5, 0.5, 0.1) == (inf, inf, pytest.approx(-1800.0 * log(0.1)))
    lifetimes = [hazard.fate(0, 0.5, 0.5, (k + 0.5) / 10_000).lifetime_s for k in range(10_000)]
    assert np.mean(lifetimes) == pytest.approx(1800.0, rel=1e-3)


def test_each_group_has_its_own_faults():
    mixed = Faults(
        [FaultOptions(on_offline="pause"), FaultOptions(drop_probability=1.0)],
        np.array([0, 0, 1], np.int32),
    )
    assert [mixed.on_offline(i) for i in range(3)] == ["pause", "pause", "lost"]
    assert [mixed.fate(i, 0.5, 0.25, 0.5)[0] for i in range(3)] == [inf, inf, 0.25]
    assert mixed.columns()["drop_probability"].tolist() == [0.0, 0.0, 1.0]


UNIFORM = {"kind": "uniform", "low_s": 2.0, "high_s": 6.0}


def test_a_task_drops_out_or_hangs_or_neither():
    """Each with its own probability, by the same draw."""
    odds = faults(drop_probability=0.3, suspend={"probability": 0.2, "hang": UNIFORM})
    assert odds.fate(0, 0.2999, 0.75, 0.5) == (0.75, inf, inf)
    assert odds.fate(0, 0.3, 0.75, 0.5) == (inf, 5.0, inf)
    assert odds.fate(0, 0.4999, 0.25, 0.5) == (inf, 3.0, inf)
    assert odds.fate(0, 0.5001, 0.75, 0.5) == (inf, inf, inf)
    columns = odds.columns()
    assert columns["suspend_probability"].tolist() == [pytest.approx(0.2)]


def test_a_hang_per_step_grows_with_the_work():
    odds = faults(suspend={"probability": 1.0, "hang": {**UNIFORM, "per": "step"}})
    assert [odds.fate(0, 0.5, 0.75, 0.5, steps).hang_s for steps in (1, 7)] == [5.0, 35.0]


@pytest.mark.parametrize(
    "options",
    [
        {"drop_probability": 1.1},
        {"hazard_per_hour": -1.0},
        {"on_offline": "retry"},
        {"suspend": {"probability": 0.2}},
        {"suspend": {"probability": 0.2, "hang": {**UNIFORM, "spread_sigma": 0.1}}},
        {"suspend": {"probability": 0.2, "hang": UNIFORM}, "drop_probability": 0.9},
    ],
)
def test_faults_that_make_no_sense_are_refused(options):
    with pytest.raises(ValidationError):
        FaultOptions(**options)
