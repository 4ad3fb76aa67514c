"""Rows of numbers in 8-bit integers, for CPUs: what they are multiplied by, and the loops between products.

Weights are scaled per output, activations spread per token, as they come, over 128 levels from the least to
the largest (LLM.int8(), Dettmers et al. 2022, with a zero point and without outliers): a scale for the whole
batch would make a text's vector depend on its neighbours, and costs 5 % of cosine on MiniLM where this costs
0.4 %. That is 7 of the 8 bits, since AVX2 adds two products in 16. Whatever comes after a product is done to
a row while it is at hand, up to the levels for the next one. Knows nothing of encoders.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from models.compiled import compiled
from models.elementary import NO_FLOAT, gelu_of, ordered, unordered
from models.small_layers import Floats, floats, softmax_row

_STEPS: Final = np.float32(127)
_SMALLEST: Final = np.float32(1e-12)
_HALF: Final = np.float32(0.5)
_ONE: Final = np.float32(1)


class Levels(NamedTuple):
    """Rows [m, k]: `codes` of steps [m] above the least [m]. What is not finite is so in the step."""

    codes: NDArray[np.uint8]
    step: Floats
    least: Floats


class Rest(NamedTuple):
    """What makes products of codes those of the rows, beside their step: `least · sums + bias`, both [n]."""

    sums: Floats
    bias: Floats


class Int8Linear:
    """A `nn.Linear` for inference on the CPU where it is made, as far as its products: its weights are laid
    out as oneDNN likes.
    """

    def __init__(self, linear: nn.Linear) -> None:
        weight = linear.weight.detach()
        scale = weight.abs().amax(1).div_(float(_STEPS)).clamp_(min=float(_SMALLEST))
        rounded = (weight / scale[:, None]).round_()
        self.scale = scale
        self._weight = torch.ops.onednn.qlinear_prepack(rounded.to(torch.int8), None)
        self._none = torch.zeros(len(weight), dtype=torch.int64)
        bias = torch.zeros(len(weight)) if linear.bias is None else linear.bias
        self.rest = Rest(floats(rounded.sum(1) * scale), floats(bias))

    def products(self, codes: NDArray[np.uint8]) -> Floats:
        """Of codes [m, k], float32 [m, n]."""
        out: Floats = torch.ops.onednn.qlinear_pointwise(
            torch.from_numpy(codes), 1.0, 0, self._weight, self.scale, self._none, None,
            1.0, 0, torch.float32, "none", [], "",
        ).numpy()  # fmt: skip
        return out


@compiled
def levels(rows: Floats, m: int) -> Levels:
    """Rows [t, k] as they are multiplied, with others after them up to m."""
    t, k = rows.shape
    out = _room(m, k)
    for i in range(t):
        _spread(rows, i, out, i)
    return out


@compiled
def activated(products: Floats, given: Levels, rest: Rest, t: int) -> Levels:
    """GELU of the first t rows that came of `given`."""
    m, k = products.shape
    out, row = _room(m, k), np.empty((1, k), np.float32)
    for i in range(t):
        step, least = given.step[i], given.least[i]
        for j in range(k):
            row[0, j] = gelu_of(products[i, j] * step + (least * rest.sums[j] + rest.bias[j]))
        _spread(row, 0, out, i)
    return out


@compiled
def normed(
    products: Floats,
    given: Levels,
    rest: Rest,
    states: Floats,
    gain: Floats,
    bias: Floats,
    eps: float,
) -> Levels:
    """What came of `given` added to states [t, k], which are then normalised (Ba et al. 2016), in place."""
    m, k = products.shape
    out = _room(m, k)
    for i in range(len(states)):
        step, least = given.step[i], given.least[i]
        total, squares = np.float32(0), np.float32(0)
        for j in range(k):
            x = states[i, j] + products[i, j] * step + (least * rest.sums[j] + rest.bias[j])
            states[i, j] = x
            total += x
        mean = total / np.float32(k)
        for j in range(k):
            squares += (states[i, j] - mean) * (states[i, j] - mean)
        scale = _ONE / np.sqrt(squares / np.float32(k) + np.float32(eps))
        for j in range(k):
            states[i, j] = (states[i, j] - mean) * scale * gain[j] + bias[j]
        _spread(states, i, out, i)
    return out


@compiled
def by_head(
    products: Floats, given: Levels, rest: Rest, lengths: NDArray[np.int64], heads: int, out: Floats
) -> None:
    """Queries (scaled as attention wants them), keys and values of texts end to end into `out` [3, t · d]:
    each text's are [heads, length, width].
    """
    d = products.shape[1] // 3
    width, row = d // heads, np.empty(3 * d, np.float32)
    root, start = _ONE / np.sqrt(np.float32(width)), 0
    for n in lengths:
        for i in range(n):
            step, least = given.step[start + i], given.least[start + i]
            for j in range(3 * d):
                row[j] = products[start + i, j] * step + (least * rest.sums[j] + rest.bias[j])
            for j in range(d):
                row[j] *= root
            for part in range(3):
                for head in range(heads):
                    column, at = part * d + head * width, start * d + (head * n + i) * width
                    for j in range(width):
                        out[part, at + j] = row[column + j]
        start += n


@compiled
def softmax(scores: Floats) -> None:
    """Of rows [s, n], in place."""
    for i in range(len(scores)):
        softmax_row(scores, i, scores.shape[1])


@compiled
def by_token(mixed: Floats, lengths: NDArray[np.int64], heads: int, d: int, m: int) -> Levels:
    """What attention made of texts, laid out as `by_head` does, [t · d], as they are multiplied."""
    out, row = _room(m, d), np.empty((1, d), np.float32)
    width, start = d // heads, 0
    for n in lengths:
        for i in range(n):
            for head in range(heads):
                at = start * d + (head * n + i) * width
                for j in range(width):
                    row[0, head * width + j] = mixed[at + j]
            _spread(row, 0, out, start + i)
        start += n
    return out


@compiled
def _room(m: int, k: int) -> Levels:
    return Levels(np.empty((m, k), np.uint8), np.empty(m, np.float32), np.empty(m, np.float32))


@compiled
def _spread(rows: Floats, i: int, out: Levels, to: int) -> None:
    """Row i as row `to` of the levels."""
    k = rows.shape[1]
    low, high = ~NO_FLOAT, NO_FLOAT
    for j in range(k):
        order = ordered(rows[i, j])
        low, high = min(low, order), max(high, order)
    least = unordered(low)
    step = (unordered(high) - least) / _STEPS
    step = _SMALLEST if step < _SMALLEST else step
    scale = _ONE / step
    for j in range(k):
        out.codes[to, j] = np.uint8(np.int32((rows[i, j] - least) * scale + _HALF))
    out.step[to], out.least[to] = step, least
