from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simfl.errors import InputError
from simfl.results import metrics


@pytest.fixture
def evaluations(frame) -> pd.DataFrame:
    """Reaches 0.8 at 20 s, falls below, and reaches it again."""
    seen = [(0.0, 0, 2.3, 0.1), (10.0, 4, 1.1, 0.7), (20.0, 9, 0.9, 0.8), (30.0, 12, 1.0, 0.75),
            (40.0, 15, 0.5, 0.9)]  # fmt: skip
    keys = ("time_s", "version", "loss", "accuracy")
    rows = [dict(zip(keys, row, strict=True), down_bytes=int(row[0]), up_bytes=1) for row in seen]
    return frame("evaluations", *rows)


@pytest.fixture
def tasks(frame) -> pd.DataFrame:
    """Four applied, one lost and one in flight: classes phone and board."""
    applied = [("phone", 0, 0), ("phone", 1, 1), ("phone", 1, 1), ("board", 2, 6)]
    rows = [{"device_class": c, "device": d, "staleness": s} for c, d, s in applied]
    rows[-1]["applied_version"] = 20
    lost = {"device_class": "board", "outcome": "lost", "device": 2}
    flying = {"device_class": "board", "outcome": "in_flight", "version": 9, "device": 3}
    return frame("tasks", *rows, lost, flying)


def test_a_target_is_met_at_its_first_evaluation(evaluations) -> None:
    assert metrics.time_to(evaluations, accuracy=0.8) == 20.0
    assert metrics.versions_to(evaluations, accuracy=0.8) == 9
    assert metrics.bytes_to(evaluations, accuracy=0.8) == 21


def test_a_target_that_no_evaluation_has_a_number_of_is_no_bound(evaluations) -> None:
    evaluations["accuracy"], evaluations["mae"] = math.nan, 0.5
    with pytest.raises(InputError, match=r"the run has no accuracy \(it has: loss, mae\)"):
        metrics.time_to(evaluations, accuracy=0.8)
    assert metrics.time_to(evaluations, mae=0.1) == math.inf
    assert metrics.time_to(evaluations.iloc[:0], accuracy=0.8) == math.inf, "not evaluated yet"


def test_a_loss_is_met_from_above(evaluations) -> None:
    assert metrics.time_to(evaluations, loss=0.9) == 20.0


def test_a_target_that_was_not_met_is_censored_not_dropped(evaluations) -> None:
    functions = (metrics.time_to, metrics.versions_to, metrics.bytes_to)
    assert [f(evaluations, accuracy=0.95) for f in functions] == [math.inf] * 3
    assert metrics.reached(evaluations, accuracy=0.95) is None


def test_an_unknown_metric_names_those_that_were_evaluated(evaluations) -> None:
    with pytest.raises(InputError, match=r"'acuracy' was not evaluated \(did you mean 'accuracy'"):
        metrics.time_to(evaluations, acuracy=0.8)


def test_a_target_is_one_metric(evaluations) -> None:
    with pytest.raises(InputError, match="one metric"):
        metrics.time_to(evaluations, accuracy=0.8, loss=1.0)


@pytest.mark.parametrize(
    ("reference_s", "other_s", "expected"),
    [(30.0, 10.0, 3.0), (math.inf, 10.0, math.inf), (10.0, math.inf, 0.0), (5.0, 5.0, 1.0),
     (5.0, 0.0, math.inf), (0.0, 0.0, 1.0)],
)  # fmt: skip
def test_a_speedup_is_reference_over_other(reference_s, other_s, expected) -> None:
    assert metrics.speedup(reference_s, other_s) == expected


def test_two_runs_that_never_got_there_cannot_be_compared() -> None:
    assert math.isnan(metrics.speedup(math.inf, math.inf))


def test_staleness_is_that_of_applied_updates(tasks) -> None:
    found = metrics.staleness_summary(tasks)
    assert found == {"count": 4, "mean": 2.0, "p50": 1, "p95": 6, "max": 6}


def test_ages_in_flight_undo_the_censoring(tasks) -> None:
    """The task in flight has seen version 9 go out and version 20 made."""
    assert metrics.last_version(tasks) == 20
    found = metrics.staleness_summary(tasks, final_version=20)
    assert (found["count"], found["max"], found["mean"]) == (5, 11, (8 + 11) / 5)


def test_staleness_by_class_is_the_summary_of_each(tasks) -> None:
    table = metrics.staleness_by(tasks)
    assert table.loc["phone"].to_dict() == {
        "count": 3, "mean": pytest.approx(2 / 3), "p50": 1, "p95": 1, "max": 1,
    }  # fmt: skip
    assert metrics.staleness_by(tasks, final_version=20).loc["board", "max"] == 11


def test_no_tasks_have_no_staleness(frame) -> None:
    found = metrics.staleness_summary(frame("tasks"))
    assert found["count"] == 0
    assert math.isnan(found["p95"])
    assert metrics.last_version(frame("tasks")) == 0


@given(st.lists(st.integers(0, 50), min_size=1))
def test_a_quantile_is_a_value_that_occurred(values) -> None:
    """And at least that share of the data does not exceed it."""
    found = metrics.spread(pd.Series(values))
    for key, share in (("p50", 0.5), ("p95", 0.95)):
        assert found[key] in values
        assert np.mean(np.array(values) <= found[key]) >= share


def test_participation_counts_applied_updates_of_every_device(tasks) -> None:
    assert metrics.participation(tasks, devices=5).tolist() == [1, 2, 1, 0, 0]


@pytest.mark.parametrize(
    ("counts", "jain", "gini"),
    [([3, 3, 3, 3], 1.0, 0.0), ([8, 0, 0, 0], 0.25, 0.75), ([1, 3], 16 / 20, 0.25)],
)
def test_fairness_of_hand_made_counts(counts, jain, gini) -> None:
    assert metrics.jain(np.array(counts)) == pytest.approx(jain)
    assert metrics.gini(np.array(counts)) == pytest.approx(gini)


@given(st.lists(st.integers(0, 1000), min_size=1).filter(any), st.integers(2, 9))
def test_fairness_does_not_depend_on_scale_or_order(counts, factor) -> None:
    some, more = np.array(counts), factor * np.array(counts[::-1])
    assert metrics.jain(some) == pytest.approx(metrics.jain(more))
    assert metrics.gini(some) == pytest.approx(metrics.gini(more), abs=1e-12)
    assert 1 / len(some) - 1e-12 <= metrics.jain(some) <= 1 + 1e-12
    assert -1e-12 <= metrics.gini(some) <= 1 - 1 / len(some) + 1e-12
