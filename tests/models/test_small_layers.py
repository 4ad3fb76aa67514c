"""Against torch's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from models.small_layers import LINE, Floats, aligned, floats, gelu, layer_norm, linear, softmax_row


def numbers(*shape: int) -> Floats:
    out: Floats = np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)
    return out


@pytest.mark.parametrize("shape", [(7,), (3, 5), (1_000, 70)])
def test_weights_begin_with_a_line_of_memory(shape: tuple[int, ...]) -> None:
    values = torch.randn(shape[::-1]).permute(*reversed(range(len(shape))))  # laid out the other way round
    found, none = floats(values), aligned(shape, np.uint8)
    np.testing.assert_array_equal(found, values.numpy())
    assert found.flags.c_contiguous
    assert not none.any()
    assert none.shape == shape
    assert found.ctypes.data % LINE == none.ctypes.data % LINE == 0


@pytest.mark.parametrize("rows", [1, 3, 4, 7, 24])
@pytest.mark.parametrize("inputs", [1, 4, 6, 32])
@pytest.mark.parametrize("outputs", [1, 5, 16])
def test_linear(rows: int, inputs: int, outputs: int) -> None:
    x, weight, bias = numbers(rows, inputs), numbers(inputs, outputs), numbers(outputs)
    out = np.full((rows, outputs), np.nan, np.float32)
    linear(x, weight, bias, out)
    np.testing.assert_allclose(out, x @ weight + bias, rtol=1e-5, atol=1e-5)


def test_layer_norm() -> None:
    x, gain, bias = numbers(5, 24) * 9 + 4, numbers(24), numbers(24)
    x[3] = 7.0  # nothing to divide by
    norm = nn.LayerNorm(24, eps=1e-5)
    norm.load_state_dict({"weight": torch.from_numpy(gain), "bias": torch.from_numpy(bias)})
    expected = norm(torch.from_numpy(x.copy())).detach().numpy()
    layer_norm(x, gain, bias, norm.eps)
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-5)


def test_gelu() -> None:
    x = np.linspace(-12, 12, 4_001, dtype=np.float32)[None]
    expected = nn.functional.gelu(torch.from_numpy(x.astype(np.float64))).numpy()
    gelu(x)
    np.testing.assert_allclose(x, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("count", [1, 7, 30])
def test_softmax(rows: int, count: int) -> None:
    x = numbers(rows, 30) * 20
    before = x.copy()
    for i in range(rows):
        softmax_row(x, i, count)
    expected = torch.from_numpy(before[:, :count]).double().softmax(1).numpy()
    np.testing.assert_allclose(x[:, :count], expected, rtol=1e-5, atol=1e-9)
    np.testing.assert_array_equal(x[:, count:], before[:, count:])


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so(wrong: float) -> None:
    """Or a broken vector would be taken for a good one."""
    x = numbers(4, 8)
    x[2, 3] = wrong
    out, plain = np.zeros((4, 5), np.float32), np.zeros(8, np.float32)
    linear(x, numbers(8, 5), np.zeros(5, np.float32), out)
    assert np.isfinite(out).all(1).tolist() == [True, True, False, True]
    normed = x.copy()
    layer_norm(normed, plain + 1, plain, 1e-5)
    assert np.isfinite(normed).all(1).tolist() == [True, True, False, True]
    if wrong > 0 or np.isnan(wrong):
        gelu(x)
        assert np.isfinite(x).all(1).tolist() == [True, True, False, True]
