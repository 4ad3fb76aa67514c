"""Products of 8-bit integers and the loops between them, against torch's layers in float32."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn

from models.small_layers import Floats, floats
from models.text import int8
from models.text.int8 import Int8Linear, Levels

ROWS, INPUTS, OUTPUTS = 15, 256, 48


def numbers(*shape: int) -> Floats:
    out: Floats = np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)
    return out


def value(levels: Levels, rows: int = ROWS) -> Floats:
    """The first rows that they stand for."""
    out: Floats = levels.codes[:rows] * levels.step[:rows, None] + levels.least[:rows, None]
    return out


def close(found: Floats, exact: Tensor, error: float) -> None:
    """Each row to a part of its length."""
    truth = exact.detach().numpy()
    assert found.shape == truth.shape
    apart = np.linalg.norm(found - truth, axis=-1) / np.linalg.norm(truth, axis=-1)
    assert 0 < apart.max() < error


def layer(outputs: int = OUTPUTS, *, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(INPUTS, outputs, bias=bias)


def through(linear: nn.Linear, rows: Floats) -> Floats:
    """The layer's outputs, by way of what hands them to attention."""
    quick, given = Int8Linear(linear), int8.levels(rows, len(rows))
    out = np.empty((3, 1, len(rows), linear.out_features // 3), np.float32)
    int8.by_head(
        quick.products(given.codes), given, quick.rest, np.ones(len(rows), np.int64), 1, out.reshape(3, -1)
    )
    out[0] *= np.sqrt(np.float32(linear.out_features // 3))
    whole: Floats = np.concatenate(list(out[:, 0]), 1)
    return whole


@settings(deadline=None)  # the first one compiles
@given(
    arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.integers(1, 40)),
        elements=st.floats(-1e6, 1e6, width=32),
    )
)
def test_levels_are_within_half_a_step_of_the_rows(rows: Floats) -> None:
    levels = int8.levels(rows, len(rows) + 2)
    assert levels.codes.shape == (len(rows) + 2, rows.shape[1])
    found = value(levels, len(rows))
    spread = rows.max(1) - rows.min(1)
    most = spread / 127 * 0.51 + np.abs(rows).max(1) * 1e-6 + 1e-12
    assert np.all(np.abs(found - rows) <= most[:, None])
    assert levels.codes[: len(rows)].max() <= 127


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_layer_is_near_the_exact_one(bias: bool) -> None:
    linear = layer(bias=bias)
    x = numbers(ROWS, INPUTS) * np.logspace(-3, 3, ROWS, dtype=np.float32)[:, None]  # of very different size
    close(through(linear, x), linear(torch.from_numpy(x)), 0.02)


def test_zeros_are_exact() -> None:
    linear = layer()
    found = through(linear, np.zeros((2, INPUTS), np.float32))
    np.testing.assert_allclose(found, np.tile(linear.bias.detach().numpy(), (2, 1)), rtol=1e-6)


@pytest.mark.parametrize("wrong", [np.nan, -np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so_and_in_its_row(wrong: float) -> None:
    x, linear = numbers(ROWS, INPUTS), layer()
    good = through(linear, x)
    x[4, 7] = wrong
    found = through(linear, x)
    assert not np.isfinite(found[4]).any()
    np.testing.assert_array_equal(np.delete(found, 4, 0), np.delete(good, 4, 0))


def test_an_activation_is_near_the_exact_one() -> None:
    linear, x = layer(), numbers(ROWS, INPUTS)
    quick, given = Int8Linear(linear), int8.levels(x, ROWS)
    found = int8.activated(quick.products(given.codes), given, quick.rest, ROWS)
    close(value(found), nn.functional.gelu(linear(torch.from_numpy(x))), 0.03)


def test_a_norm_is_near_the_exact_one_in_states_and_levels() -> None:
    linear, x, states = layer(), numbers(ROWS, INPUTS), numbers(ROWS, OUTPUTS) * 3 + 1
    norm = nn.LayerNorm(OUTPUTS, eps=1e-5)
    gain, bias = numbers(OUTPUTS), numbers(OUTPUTS) + 1
    norm.load_state_dict({"weight": torch.from_numpy(gain), "bias": torch.from_numpy(bias)})
    exact = norm(torch.from_numpy(states) + linear(torch.from_numpy(x)))
    quick, given = Int8Linear(linear), int8.levels(x, ROWS + 1)
    levels = int8.normed(quick.products(given.codes), given, quick.rest, states, gain, bias, norm.eps)
    close(states, exact, 0.02)
    close(value(levels), exact, 0.03)


def test_attention_takes_texts_apart_by_heads_and_puts_them_together_again() -> None:
    heads, width, lengths = 4, 4, np.array([1, 2, 2, 10])
    d = heads * width
    linear, x = layer(3 * d), numbers(ROWS, INPUTS)
    quick, given = Int8Linear(linear), int8.levels(x, ROWS)
    apart = np.empty((3, ROWS * d), np.float32)
    int8.by_head(quick.products(given.codes), given, quick.rest, lengths, heads, apart)
    whole = through(linear, x)
    whole[:, :d] /= np.sqrt(np.float32(width))
    start = 0
    for n in lengths:
        text = whole[start : start + n].reshape(n, 3, heads, width).transpose(1, 2, 0, 3)
        np.testing.assert_allclose(apart[:, start * d : (start + n) * d].reshape(text.shape), text, rtol=1e-5)
        start += n
    together = int8.by_token(apart[2], lengths, heads, d, ROWS)
    plain = int8.levels(np.ascontiguousarray(whole[:, 2 * d :]), ROWS)
    np.testing.assert_allclose(together.codes.astype(int), plain.codes, atol=1)
    np.testing.assert_allclose(value(together), value(plain), atol=float(plain.step.max()) * 1.01)


def test_softmax() -> None:
    x = numbers(9, 31) * 30
    expected = torch.from_numpy(x.copy()).double().softmax(1).numpy()
    int8.softmax(x)
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-9)


def test_weights_are_those_it_was_made_of() -> None:
    linear, x = layer(), numbers(ROWS, INPUTS)
    quick, given = Int8Linear(linear), int8.levels(x, ROWS)
    before = quick.products(given.codes).copy(), floats(torch.from_numpy(quick.rest.bias))
    with torch.no_grad():
        linear.weight.zero_()
        linear.bias.zero_()
    np.testing.assert_array_equal(quick.products(given.codes), before[0])
    np.testing.assert_array_equal(quick.rest.bias, before[1])
