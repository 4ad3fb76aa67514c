"""Against NumPy's, in double precision."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.elementary import exp2_of, exp_of, log1p_of, ordered, unordered


def test_exp() -> None:
    for x in np.linspace(-86, 0, 997, dtype=np.float32):
        assert exp_of(x) == pytest.approx(np.exp(np.float64(x)), rel=5e-6)
    assert exp_of(np.float32(0)) == 1
    assert 0 < exp_of(np.float32(-np.inf)) < 1e-37
    assert np.isnan(exp_of(np.float32(np.nan)))


def test_exp2() -> None:
    for x in np.linspace(-125, 0, 997, dtype=np.float32):
        assert exp2_of(x) == pytest.approx(np.exp2(np.float64(x)), rel=3e-7)
    assert exp2_of(np.float32(0)) == 1
    assert 0 < exp2_of(np.float32(-np.inf)) < 1e-37
    assert np.isnan(exp2_of(np.float32(np.nan)))


def test_log1p() -> None:
    for x in np.logspace(-20, 38, 997, dtype=np.float32):
        assert log1p_of(x) == pytest.approx(np.log1p(np.float64(x)), rel=1e-7, abs=2e-16)
    assert log1p_of(np.float32(0)) == 0
    assert np.isnan(log1p_of(np.float32(np.nan)))
    assert np.isnan(log1p_of(np.float32(np.inf)))


@settings(deadline=None)  # the first one compiles
@given(st.lists(st.floats(width=32), min_size=2))
def test_the_order_of_numbers_is_that_of_their_integers(values: list[float]) -> None:
    numbers = [np.float32(value) for value in values]
    for a, b in itertools.pairwise(numbers):
        assert (a < b) <= (ordered(a) < ordered(b))
        assert np.isnan(a) == (not ordered(np.float32(-np.inf)) <= ordered(a) <= ordered(np.float32(np.inf)))
    for x in numbers:
        np.testing.assert_array_equal(unordered(ordered(x)), x)
