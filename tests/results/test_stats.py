from __future__ import annotations

from math import inf, nan

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simfl.results.stats import (
    COSTS,
    Estimate,
    at_target,
    bounds,
    device_seconds,
    in_words,
    median,
    ratios,
    target_table,
    to_target,
)

LOST = {"outcome": "lost"}


def costs(variant: str, seconds: list[float], met: list[bool] | None = None) -> pd.DataFrame:
    met = [True] * len(seconds) if met is None else met
    rows = [
        dict.fromkeys(COSTS, 1.0) | {"variant": variant, "seed": seed, "seconds": s, "met": m}
        for seed, (s, m) in enumerate(zip(seconds, met, strict=True))
    ]
    return pd.DataFrame(rows)


def test_costs_are_those_of_the_first_evaluation_that_met_the_target(run_folder) -> None:
    there = {"time_s": 3.5, "accuracy": 0.9, "version": 7, "down_bytes": 30, "up_bytes": 10}
    later = {**there, "time_s": 9.0, "version": 9}
    run = run_folder("a", tasks=[LOST, {**LOST, "dispatched_s": 3.0}], evaluations=[there, later])
    assert to_target(run, {"accuracy": 0.9}) == {
        "met": True, "seconds": 3.5, "versions": 7.0, "down_bytes": 30.0, "up_bytes": 10.0,
        "device_s": 4.0, "energy_j": pytest.approx(4.0 * (3.5 + 0.5) / 6.0),
    }  # fmt: skip


def test_a_run_that_never_met_it_has_spent_at_least_all_it_spent(run_folder) -> None:
    run = run_folder("a", tasks=[LOST], evaluations=[{"time_s": 3.5, "accuracy": 0.5}])
    found = to_target(run, {"accuracy": 0.9})
    assert (found["met"], found["seconds"], found["device_s"]) == (False, 6.0, 6.0)


def test_a_task_under_way_counts_since_its_dispatch(frame) -> None:
    tasks = frame("tasks", {}, {"dispatched_s": 2.0}, {"dispatched_s": 50.0})
    assert [device_seconds(tasks, t) for t in (0.0, 4.0, 7.0, 1e9)] == [0.0, 6.0, 11.0, 18.0]


def test_a_common_factor_is_the_speedup_whatever_the_seeds_do() -> None:
    """Paired by seed, the spread between seeds drops out."""
    table = pd.concat([costs("slow", [10.0, 30.0, 90.0]), costs("quick", [5.0, 15.0, 45.0])])
    found = at_target(table, "slow").loc["quick", "speedup"]
    assert found == Estimate(2.0, 2.0, 2.0, 2.0)


def test_the_reference_is_exactly_as_quick_as_itself() -> None:
    table = costs("only", [10.0, 30.0], [True, False])
    assert at_target(table, "only").loc["only", "speedup"] == Estimate(1.0, 1.0, 1.0, 1.0)


def test_a_censored_time_bounds_a_ratio_from_the_side_it_is_on() -> None:
    base, other = costs("a", [10.0] * 4), costs("b", [5.0] * 4)
    base["met"] = [True, False, True, False]
    other["met"] = [True, True, False, False]
    low, high = ratios(base.set_index("seed"), other.set_index("seed"))
    assert low.tolist() == [2.0, 2.0, 0.0, 0.0]
    assert high.tolist() == [2.0, inf, 2.0, inf]


def test_seeds_that_only_one_side_has_are_left_out() -> None:
    low, _ = ratios(costs("a", [10.0, 20.0]).set_index("seed"), costs("b", [5.0]).set_index("seed"))
    assert low.tolist() == [2.0]


@given(st.lists(st.floats(0.1, 1e6), min_size=1, max_size=12))
def test_the_median_lies_in_its_interval_and_the_interval_in_the_data(values: list[float]) -> None:
    array = np.array(values)
    found = median(array, array)
    assert found.low == found.high == pytest.approx(np.median(array))
    assert array.min() <= found.lowest <= found.low <= found.highest <= array.max()


@given(st.lists(st.tuples(st.floats(0.1, 1e6), st.booleans()), min_size=1, max_size=12))
def test_censoring_only_widens(pairs: list[tuple[float, bool]]) -> None:
    """What is unknown may be anything above the bound, so nothing gets more certain."""
    seconds, met = map(list, zip(*pairs, strict=True))
    low, high = bounds(costs("a", seconds, met))
    narrow, wide = median(low, low), median(low, high)
    assert (wide.low, wide.lowest) == (narrow.low, narrow.lowest)
    assert wide.high >= narrow.high
    assert wide.highest >= narrow.highest


def test_an_interval_covers_the_true_median_as_often_as_it_says() -> None:
    """Of 300 samples of twenty, some 95 % hold it; a percentile bootstrap errs by a few points."""
    rng = np.random.default_rng(7)
    samples = rng.exponential(size=(300, 20))
    estimates = [median(sample, sample) for sample in samples]
    covered = np.mean([e.lowest <= np.log(2) <= e.highest for e in estimates])
    assert 0.91 <= covered <= 0.98


def test_most_seeds_censored_leave_a_lower_bound_alone() -> None:
    table = costs("a", [100.0, 10.0, 100.0], [False, True, False])
    found = at_target(table, "a").loc["a", "seconds"]
    assert (found.low, found.high) == (100.0, inf)
    assert in_words(found, "seconds") == "> 1.67 [0.167, inf] min"


@pytest.mark.parametrize(
    ("estimate", "quantity", "said"),
    [
        (Estimate(2.0, 2.0, 1.5, 3.0), "factor", "2 [1.5, 3] x"),
        (Estimate(2.0, 2.0, 1.5, inf), "factor", "2 [1.5, inf] x"),
        (Estimate(0.0, 0.25, 0.0, 0.5), "factor", "< 0.25 [0, 0.5] x"),
        (Estimate(0.0, inf, 0.0, inf), "factor", "-"),
        (Estimate(90.0, 90.0, 60.0, 120.0), "seconds", "1.5 [1, 2] min"),
        (Estimate(90.0, inf, 60.0, inf), "seconds", "> 1.5 [1, inf] min"),
        (Estimate(5e6, 5e6, 5e6, 5e6), "bytes", "5 MB"),
        (Estimate(nan, nan, nan, nan), "seconds", "-"),
    ],
)
def test_an_estimate_in_words(estimate, quantity, said) -> None:
    assert in_words(estimate, quantity) == said


def test_the_table_says_how_many_seeds_met_the_target() -> None:
    table = target_table(at_target(costs("a", [60.0, 30.0], [True, False]), "a"))
    assert table.loc["a", ["met", "speed-up"]].tolist() == ["1 of 2", "1 x"]
