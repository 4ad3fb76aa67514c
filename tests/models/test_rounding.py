from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.rounding import INTEREST, VECTOR, pack, unpack


@given(st.lists(st.lists(st.integers(-8, 7), min_size=6, max_size=6), max_size=5))
def test_packed_codes_come_back(codes: list[list[int]]) -> None:
    values = np.array(codes, np.int8).reshape(-1, 3, 2) if codes else np.zeros((0, 3, 2), np.int8)
    packed = pack(values)
    assert packed.shape == (*values.shape[:-1], 1)
    np.testing.assert_array_equal(unpack(packed), values)


def test_rounding_is_to_the_nearest_and_clipped() -> None:
    values = torch.tensor([0.05, 0.07, -0.07, 5.0, -5.0])
    assert (INTEREST.rounded(values) * 12).round(decimals=4).tolist() == [1, 1, -1, 7, -8]
    assert VECTOR.codes(VECTOR.rounded(values)).tolist() == [2, 2, -2, 127, -128]


def test_gradients_pass_as_if_nothing_were_rounded() -> None:
    values = torch.tensor([0.03, 0.4], requires_grad=True)
    (INTEREST.rounded(values) ** 2).sum().backward()  # type: ignore[no-untyped-call]
    assert values.grad is not None
    assert values.grad.tolist() == pytest.approx([0.0, 2 * 5 / 12])
