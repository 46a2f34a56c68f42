"""Staleness weightings start at one and never rise."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simfl.strategy.weighting import Hinge, Polynomial, Sigmoid, Weighting

some = st.one_of(
    st.just(Weighting()),
    st.builds(Polynomial, a=st.floats(0, 5)),
    st.builds(Hinge, a=st.floats(0, 20), b=st.floats(0, 20)),
    st.builds(Sigmoid, a=st.floats(0, 0.6), b=st.floats(0, 20)),
)


@given(some, st.integers(0, 1000))
def test_a_weighting_starts_at_one_and_never_rises(weighting, staleness):
    assert weighting(0) == 1.0
    assert 0.0 < weighting(staleness + 1) <= weighting(staleness)


def test_a_hinge_is_flat_up_to_its_knee_and_continuous_there():
    hinge = Hinge(a=10.0, b=4.0)
    assert [hinge(tau) for tau in (0, 4, 5, 6)] == [1.0, 1.0, 1 / 11, 1 / 21]


def test_a_polynomial_of_degree_zero_is_constant():
    assert [Polynomial(a=0.0)(tau) for tau in range(5)] == [1.0] * 5


def test_an_offset_reads_a_fresh_update_as_one_version_old():
    assert Polynomial(a=1.0, offset=1)(0) == 0.5
    assert Hinge(a=1.0, b=4.0, offset=1)(4) == 0.5
    assert Hinge(a=1.0, b=4.0)(4) == pytest.approx(1.0)
