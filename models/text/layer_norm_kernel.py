"""The kernel of `models.text.layer_norm`: apart, as Triton is not everywhere and takes a while to import."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor


# Triton reads the annotations: what is a pointer or a number has none.
@triton.jit  # type: ignore[untyped-decorator]
def _norm(  # type: ignore[no-untyped-def]
    x, weight, bias, out, count, width, eps, rows: tl.constexpr, wide: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64) * rows + tl.arange(0, rows)[:, None]
    column = tl.arange(0, wide)[None, :]
    inside = (row < count) & (column < width)
    at = row * width + column
    values = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
    mean = tl.sum(values, axis=1)[:, None] / width
    away = tl.where(inside, values - mean, 0.0)
    scale = tl.rsqrt(tl.sum(away * away, axis=1)[:, None] / width + eps)
    factor = tl.load(weight + column, mask=column < width, other=0.0).to(tl.float32)
    shift = tl.load(bias + column, mask=column < width, other=0.0).to(tl.float32)
    tl.store(out + at, (away * scale * factor + shift).to(out.dtype.element_ty), mask=inside)


def launch(x: Tensor, weight: Tensor, bias: Tensor, eps: float, rows: int, warps: int) -> Tensor:
    """Rows [n, d], contiguous, to rows of mean 0 and variance 1, times weight [d], plus bias [d]; `rows` of
    them a program of so many warps.
    """
    out = torch.empty_like(x)
    count, width = x.shape
    wide = triton.next_power_of_2(width)
    grid = (triton.cdiv(count, rows),)
    _norm[grid](x, weight, bias, out, count, width, eps, rows=rows, wide=wide, num_warps=warps)
    return out
