"""Logistic regression, against the condition that its solution is defined by."""

from __future__ import annotations

import numpy as np
import pytest

from models.linear import fit_linear


def sample(rows: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(rows, 6)).astype(np.float32)
    chances = 1 / (1 + np.exp(-(inputs[:, :2] @ [2.0, -1.0] - 1.0)))
    labels = (rng.random((rows, 2)) < chances[:, None]).astype(np.float32)
    return inputs, labels, rng.choice([0.0, 1.0, 3.0], (rows, 2)).astype(np.float32)


def test_the_slope_of_the_posterior_is_zero() -> None:
    inputs, labels, weights = sample()
    found = fit_linear(inputs, labels, weights)
    p = 1 / (1 + np.exp(-(inputs @ found.weights.T + found.bias)))
    wrong = weights * (labels - p)
    # The log of a normal prior of variance 0.01 falls by 100 w.
    np.testing.assert_allclose(wrong.T @ inputs, 100 * found.weights, atol=0.3)
    np.testing.assert_allclose(wrong.sum(0), 0, atol=0.3)
    assert (found.weights[:, 0] > 0.1).all()
    assert (found.weights[:, 1] < -0.1).all()


def test_what_has_no_weight_is_not_there() -> None:
    inputs, labels, weights = sample()
    other = np.where(weights > 0, labels, 1 - labels)
    found, again = fit_linear(inputs, labels, weights), fit_linear(inputs, other, weights)
    np.testing.assert_array_equal(found.weights, again.weights)


@pytest.mark.parametrize(("label", "bias"), [(0.0, np.log(1e-6)), (1.0, 0.0)])
def test_labels_that_are_all_alike_give_a_bias(label: float, bias: float) -> None:
    inputs, labels, weights = sample()
    labels[weights[:, 1] > 0, 1] = label
    found = fit_linear(inputs, labels, weights)
    assert not found.weights[1].any()
    assert found.bias[1] == pytest.approx(bias, abs=1e-4)
    assert found.weights[0].any()


def test_nobody_recorded_a_label() -> None:
    inputs, labels, weights = sample()
    weights[:, 0] = 0
    found = fit_linear(inputs, labels, weights)
    assert not found.weights[0].any()
    assert found.bias[0] == 0
