"""Layers of small networks on a CPU, in compiled loops: torch takes 5 to 20 us for each of theirs, however
little it computes, and lets go of the GIL at each, for which other threads then wait.

In float32, to 1e-5 what torch computes; NaN and infinity go through. Knows nothing of networks.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from models.compiled import compiled

Floats = NDArray[np.float32]

#: erf by Abramowitz and Stegun's formula 7.1.28: at most 3e-7 from it. What has no exp in it goes into wide
#: registers: 0.33 ns a number, where 7.1.26 takes 3.6.
_B1: Final = np.float32(0.0705230784)
_B2: Final = np.float32(0.0422820123)
_B3: Final = np.float32(0.0092705272)
_B4: Final = np.float32(0.0001520143)
_B5: Final = np.float32(0.0002765672)
_B6: Final = np.float32(0.0000430638)
#: 2^r for |r| <= 1/2 by its Taylor series: at most 1.5e-7 from it, in parts of it.
_E1: Final = np.float32(0.6931471806)
_E2: Final = np.float32(0.2402265070)
_E3: Final = np.float32(0.0555041087)
_E4: Final = np.float32(0.0096181291)
_E5: Final = np.float32(0.0013333558)
_E6: Final = np.float32(0.0001540353)
_LOG2_E: Final = np.float32(1.4426950409)
#: e to the power of less would not be a normal number.
_LEAST: Final = np.float32(-87)
_BIAS: Final = np.int32(127)
_MANTISSA: Final = np.int32(23)
_ROOT_HALF: Final = np.float32(0.7071067811865476)
_HALF: Final = np.float32(0.5)
_ONE: Final = np.float32(1)
_TWO: Final = np.float32(2)
_SIGN: Final = np.int32(31)
_REST: Final = np.int32(0x7FFFFFFF)
#: `ordered` gives no less.
NO_FLOAT: Final = np.int32(-0x80000000)


def floats(values: Tensor) -> Floats:
    """A copy of parameters, as the loops read them."""
    return np.array(values.detach().cpu().numpy(), np.float32, order="C")


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
        scale = _ONE / np.sqrt(squares / np.float32(d) + np.float32(eps))
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
def gelu_of(v: np.float32) -> np.float32:
    """GELU (Hendrycks and Gimpel 2016), the exact one."""
    z = np.abs(v) * _ROOT_HALF
    p = _ONE + z * (_B1 + z * (_B2 + z * (_B3 + z * (_B4 + z * (_B5 + z * _B6)))))
    p *= p
    p *= p
    p *= p
    p *= p
    chance: np.float32 = _HALF * (_ONE / p if v < 0 else _TWO - _ONE / p)
    return v * chance


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
    scale = _ONE / total
    for j in range(n):
        x[i, j] *= scale


@compiled
def exp_of(x: np.float32) -> np.float32:
    """e^x of x <= 0, at most 4e-6 of it from it. Libm's goes number by number: ten times as long."""
    exponent = (_LEAST if x < _LEAST else x) * _LOG2_E
    whole = np.floor(exponent + _HALF)
    r = exponent - whole
    part = _ONE + r * (_E1 + r * (_E2 + r * (_E3 + r * (_E4 + r * (_E5 + r * _E6)))))
    out: np.float32 = part * np.int32((np.int32(whole) + _BIAS) << _MANTISSA).view(np.float32)
    return out


@compiled
def ordered(x: np.float32) -> np.int32:
    """A number that is larger where x is, NaN beyond the infinities: what is largest of floats is found one
    by one, as NaN has no place among them, of integers in wide registers (six times as fast).
    """
    bits = np.float32(x).view(np.int32)
    return np.int32(bits ^ ((bits >> _SIGN) & _REST))


@compiled
def unordered(order: np.int32) -> np.float32:
    """What it was made of."""
    return np.int32(order ^ ((order >> _SIGN) & _REST)).view(np.float32)
