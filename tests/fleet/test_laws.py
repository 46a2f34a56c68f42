from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from simfl.fleet.laws import ComputeOptions, Constant, Exponential, FlopRate, LogNormal, Uniform

LAWS = [
    Constant(s=3.0),
    Exponential(mean_s=30.0),
    LogNormal(median_s=10.0, sigma=0.5),
    Uniform(low_s=2.0, high_s=6.0),
]
QUANTILES = (np.arange(20_000) + 0.5) / 20_000

each_law = pytest.mark.parametrize("law", LAWS, ids=lambda law: law.kind)


@each_law
def test_the_draws_of_a_law_average_to_its_mean(law):
    assert np.mean([law.draw(u) for u in QUANTILES]) == pytest.approx(law.mean(), rel=1e-3)


@each_law
@given(u=st.floats(1e-9, 1 - 1e-9), v=st.floats(1e-9, 1 - 1e-9))
def test_a_law_is_never_negative_and_monotone_in_its_draw(law, u, v):
    falls = isinstance(law, Exponential)
    low, high = sorted((u, v), reverse=falls)
    assert 0.0 <= law.draw(low) <= law.draw(high)


@pytest.mark.parametrize(
    ("law", "median_s"),
    [
        (Constant(s=3.0), 3.0),
        (Exponential(mean_s=30.0), 30.0 * np.log(2.0)),
        (LogNormal(median_s=10.0, sigma=0.5), 10.0),
        (Uniform(low_s=2.0, high_s=6.0), 4.0),
    ],
)
def test_the_middle_draw_is_the_median(law, median_s):
    assert law.draw(0.5) == pytest.approx(median_s, rel=1e-12)


def test_a_lognormal_law_has_its_sigma():
    law = LogNormal(median_s=10.0, sigma=0.5)
    assert np.std([np.log(law.draw(u)) for u in QUANTILES]) == pytest.approx(0.5, rel=1e-3)


@each_law
def test_a_law_for_each_step_takes_as_many_times_as_long(law):
    by_step = law.model_copy(update={"per": "step"})
    assert law.seconds(1e9, 7, 0.3) == law.draw(0.3)
    assert by_step.seconds(1e9, 7, 0.3) == 7 * law.draw(0.3)
    assert by_step.expected_s(1e9, 7) == 7 * law.expected_s(1e9, 7)


def test_a_rate_takes_its_overhead_and_its_work():
    """setup + overhead * steps + flops / rate, without jitter exactly so."""
    law = FlopRate(gflops=5.0, setup_s=2.0, step_overhead_s=0.01)
    assert law.seconds(2e9, 10, 0.123) == 2.0 + 0.01 * 10 + 2e9 / 5e9 == law.expected_s(2e9, 10)


@given(u=st.floats(1e-9, 1 - 1e-9))
def test_set_up_is_what_a_task_without_work_takes(u):
    law = FlopRate(gflops=5.0, setup_s=2.0, step_overhead_s=0.01, jitter_sigma=0.3)
    assert law.setup(u) == law.seconds(0.0, 0, u)
    assert Exponential(mean_s=30.0).setup(u) == 0.0


def test_jitter_has_median_one_and_the_mean_of_a_lognormal():
    law = FlopRate(gflops=1.0, jitter_sigma=0.4)
    assert law.seconds(1e9, 1, 0.5) == pytest.approx(1.0)
    mean_s = np.mean([law.seconds(1e9, 1, u) for u in QUANTILES])
    assert mean_s == pytest.approx(law.expected_s(1e9, 1), rel=1e-3)


def test_no_jitter_never_looks_at_the_draw():
    assert FlopRate(gflops=1.0).seconds(1e9, 1, float("nan")) == 1.0


def read(table):
    return TypeAdapter(ComputeOptions).validate_python(table)


def test_a_rate_needs_no_kind_and_everything_else_does():
    assert read({"gflops": 5.0, "jitter_sigma": 0.1}) == FlopRate(gflops=5.0, jitter_sigma=0.1)
    assert read({"kind": "exponential", "mean_s": 30}) == Exponential(mean_s=30.0)
    with pytest.raises(ValidationError, match="kind"):
        read({"mean_s": 30.0})


@pytest.mark.parametrize(
    "table",
    [
        {"gflops": "5"},
        {"gflops": True},
        {"gflops": 0.0},
        {"gflops": float("inf")},
        {"gflops": 5.0, "flops": 1.0},
        {"kind": "constant", "s": -1.0},
        {"kind": "exponential", "mean_s": float("nan")},
        {"kind": "uniform", "low_s": 3.0, "high_s": 2.0},
        {"kind": "weibull", "mean_s": 1.0},
    ],
)
def test_a_law_that_makes_no_sense_is_refused(table):
    with pytest.raises(ValidationError):
        read(table)
