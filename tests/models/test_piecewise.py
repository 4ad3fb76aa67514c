from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from models.piecewise import BINS, PiecewiseLinear


def coded(column: list[float], values: list[float]) -> torch.Tensor:
    module = PiecewiseLinear(1)
    module.fit(torch.tensor(column).unsqueeze(1))
    return module.codes(torch.tensor(values).unsqueeze(1))[:, 0]


def test_a_number_fills_the_bins_below_it() -> None:
    codes = coded([float(i) for i in range(9)], [0.0, 2.5, 8.0, 99.0, -99.0])
    filled = [0.0, 2.5, 8.0, 8.0, 0.0]
    assert codes.shape == (5, BINS)
    assert codes.sum(1).tolist() == filled
    assert codes[1].tolist() == [1.0, 1.0, 0.5] + [0.0] * 5


def test_a_count_that_is_mostly_zero_still_has_fine_bins() -> None:
    counts = [0.0] * 9_000 + [float(i) for i in range(1, 1_001)]
    codes = coded(counts, [0.0, 100.0, 300.0, 900.0])
    assert (codes.sum(1).diff() > 0.5).all()
    assert codes[3, BINS - 2] > 0


def test_a_constant_says_nothing() -> None:
    assert not coded([3.0] * 50, [3.0, 4.0]).any()


def test_codes_are_centred_and_of_like_size() -> None:
    module = PiecewiseLinear(1)
    values = torch.randn(1000, 1, generator=torch.Generator().manual_seed(0))
    module.fit(values)
    torch.testing.assert_close(module(values).mean(0), torch.zeros(BINS), atol=1e-4, rtol=0)
    torch.testing.assert_close(module(values).std(0, correction=0)[1:-1], torch.ones(BINS - 2))


@given(arrays(np.float32, st.integers(1, 60), elements=st.floats(-1e6, 1e6, width=32)))
def test_codes_rise_with_the_number_and_stay_in_bounds(column: np.ndarray) -> None:
    module = PiecewiseLinear(1)
    module.fit(torch.from_numpy(column).unsqueeze(1))
    codes = module.codes(torch.linspace(-2e6, 2e6, 101).unsqueeze(1))[:, 0]
    assert torch.isfinite(codes).all()
    assert codes.min() >= 0
    assert codes.max() <= 1
    assert (codes.diff(dim=0) >= 0).all()
    ends = module.codes(torch.tensor([[column.min()], [column.max()]])).sum((1, 2))
    assert ends[0] == 0
    assert float(ends[1]) == pytest.approx(float((module.scale > 0).sum()), abs=1e-4)


def test_bins_in_use_are_those_of_all() -> None:
    torch.manual_seed(0)
    values = torch.stack([torch.randn(500), torch.randint(0, 2, (500,)).float(), torch.ones(500)], dim=1)
    fitted, loaded = PiecewiseLinear(3), PiecewiseLinear(3)
    assert torch.equal(fitted.dense(values), fitted(values))
    fitted.fit(values)
    loaded.load_state_dict(fitted.state_dict())
    every = fitted(values)
    for module in (fitted, loaded):
        assert torch.equal(module.used, torch.arange(BINS + 1))
        torch.testing.assert_close(module.dense(values), every[:, module.used])
    assert not every[:, BINS + 1 :].any()
