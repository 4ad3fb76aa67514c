"""Layers of small networks on a CPU, in compiled loops: torch takes 5 to 20 us for each of theirs, however
little it computes, and lets go of the GIL at each, for which other threads then wait.

In float32, to 1e-5 what torch computes; NaN and infinity go through. Knows nothing of networks.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.compiled import compiled
from models.elementary import NO_FLOAT, exp_of, gelu_of, ordered, unordered

Floats = NDArray[np.float32]

#: Bytes that a processor reads from memory at once.
LINE: Final = 64


def floats(values: Tensor) -> Floats:
    """A copy of parameters, as the loops read them."""
    out = aligned(tuple(values.shape), np.float32)
    out[...] = values.detach().cpu().numpy()
    return out


def aligned(shape: tuple[int, ...], dtype: type[Any]) -> NDArray[Any]:
    """Zeros that begin where a line of memory does. NumPy's begin 16 bytes further, so wide registers are
    read from two lines each: a pair took 620 to 760 ns, as it happened, and takes 620.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    whole = np.zeros(size + LINE, np.uint8)
    start = -whole.ctypes.data % LINE
    out: NDArray[Any] = whole[start : start + size].view(dtype).reshape(shape)
    return out


@compiled
def add_product(left: Floats, right: Floats, out: Floats, m: int, n: int) -> None:
    """Add `left` [4, m] @ `right` [m, n] to `out` [4, n]; m is a multiple of 4.

    Four by four, so that a number that was read is used four times: 3 to 10 times the speed of row by row.
    """
    for a in range(0, m, 4):
        a0, a1, a2, a3 = left[0, a], left[0, a + 1], left[0, a + 2], left[0, a + 3]
        b0, b1, b2, b3 = left[1, a], left[1, a + 1], left[1, a + 2], left[1, a + 3]
        c0, c1, c2, c3 = left[2, a], left[2, a + 1], left[2, a + 2], left[2, a + 3]
        d0, d1, d2, d3 = left[3, a], left[3, a + 1], left[3, a + 2], left[3, a + 3]
        for j in range(n):
            r0, r1, r2, r3 = right[a, j], right[a + 1, j], right[a + 2, j], right[a + 3, j]
            out[0, j] += a0 * r0 + a1 * r1 + a2 * r2 + a3 * r3
            out[1, j] += b0 * r0 + b1 * r1 + b2 * r2 + b3 * r3
            out[2, j] += c0 * r0 + c1 * r1 + c2 * r2 + c3 * r3
            out[3, j] += d0 * r0 + d1 * r1 + d2 * r2 + d3 * r3


@compiled
def add_linear(x: Floats, weight: Floats, out: Floats) -> None:
    """Add `x` [n, m] @ `weight` [m, k] to `out` [n, k]. A row's sum may be taken in another order where there
    are fewer than four of them left.
    """
    n, m = x.shape
    k = weight.shape[1]
    fours, whole = n - n % 4, m - m % 4
    for i in range(0, fours, 4):
        add_product(x[i : i + 4], weight, out[i : i + 4], whole, k)
    for i in range(fours, n):
        for a in range(0, whole, 4):
            x0, x1, x2, x3 = x[i, a], x[i, a + 1], x[i, a + 2], x[i, a + 3]
            for j in range(k):
                out[i, j] += (
                    x0 * weight[a, j] + x1 * weight[a + 1, j] + x2 * weight[a + 2, j] + x3 * weight[a + 3, j]
                )
    for a in range(whole, m):
        for i in range(n):
            for j in range(k):
                out[i, j] += x[i, a] * weight[a, j]


@compiled
def linear(x: Floats, weight: Floats, bias: Floats, out: Floats) -> None:
    """`x` [n, m] @ `weight` [m, k] plus `bias` [k] into `out` [n, k]."""
    for i in range(len(x)):
        for j in range(len(bias)):
            out[i, j] = bias[j]
    add_linear(x, weight, out)


@compiled
def layer_norm(x: Floats, gain: Floats, bias: Floats, eps: float) -> None:
    """Rows [n, d] normalised in place (Ba et al. 2016)."""
    n, d = x.shape
    for i in range(n):
        total, squares = np.float32(0), np.float32(0)
        for j in range(d):
            total += x[i, j]
        mean = total / np.float32(d)
        for j in range(d):
            squares += (x[i, j] - mean) * (x[i, j] - mean)
        scale = np.float32(1) / np.sqrt(squares / np.float32(d) + np.float32(eps))
        for j in range(d):
            x[i, j] = (x[i, j] - mean) * scale * gain[j] + bias[j]


@compiled
def gelu(x: Floats) -> None:
    """Numbers [n, d] through GELU, in place."""
    n, d = x.shape
    for i in range(n):
        for j in range(d):
            x[i, j] = gelu_of(x[i, j])


@compiled
def softmax_row(x: Floats, i: int, n: int) -> None:
    """The first n of row i of numbers [m, n..] as chances, in place."""
    order, total = NO_FLOAT, np.float32(0)
    for j in range(n):
        order = max(order, ordered(x[i, j]))
    largest = unordered(order)
    for j in range(n):
        x[i, j] = exp_of(x[i, j] - largest)
        total += x[i, j]
    scale = np.float32(1) / total
    for j in range(n):
        x[i, j] *= scale
