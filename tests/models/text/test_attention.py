"""What a GPU computes in one call is what is computed length by length; its kernels have stand-ins here."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from models.text import attention
from models.text.base import groups_of

HEADS, WIDTH = 2, 8
CPU = torch.device("cpu")


def kernel(seen: list[list[int]]) -> Callable[..., Tensor]:
    """Notes the lengths of the texts it is given. What comes after them is NaN: nobody may look at it."""

    def attend(q: Tensor, k: Tensor, v: Tensor, bounds: Tensor, longest: int) -> Tensor:
        lengths = bounds.diff().tolist()
        assert max(lengths) == longest
        seen.append(lengths)
        out = torch.full_like(q, float("nan"))
        for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
            query, key, value = (part[start:end].transpose(0, 1) for part in (q, k, v))
            out[start:end] = scaled_dot_product_attention(query, key, value).transpose(0, 1)
        return out

    return attend


@pytest.mark.parametrize(
    ("lengths", "small", "large"),
    [
        ([1, 3, 3, 64], [[1, 3, 3, 64]], []),
        ([65, 70, 70], [], [[65, 70, 70]]),
        ([2, 64, 65, 65, 90], [[2, 64]], [[65, 65, 90]]),
    ],
)
def test_short_and_long_texts_each_have_their_kernel(
    lengths: list[int], small: list[list[int]], large: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: tuple[list[list[int]], list[list[int]]] = [], []
    monkeypatch.setattr(attention, "small_tiles", kernel(found[0]))
    monkeypatch.setattr(attention, "large_tiles", kernel(found[1]))
    groups, count = list(groups_of(lengths)), sum(lengths)
    torch.manual_seed(0)
    qkv = torch.randn(count + 11, 3 * HEADS * WIDTH)
    mixed = attention.at_once(groups, HEADS, CPU)(qkv)
    assert found == (small, large)
    assert mixed.shape == (count + 11, HEADS * WIDTH)
    wanted = attention.by_length(groups, HEADS)(qkv)
    torch.testing.assert_close(mixed[:count], wanted[:count])
    assert not wanted[count:].any()


def test_a_cpu_goes_length_by_length() -> None:
    weight = torch.zeros(1, dtype=torch.bfloat16)
    attend = attention.end_to_end(list(groups_of([2, 3])), HEADS, WIDTH, weight)
    assert "by_length" in attend.__qualname__
