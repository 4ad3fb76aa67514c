"""Calibration: the network's logits to probabilities that can be believed, one curve a head.

Knows nothing of networks, nor of how a curve is fitted (`models.calibrate`). A curve is monotone, so it never
changes the order of two pairs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled

Floats = NDArray[np.float64]


class Curve(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """logit -> sigmoid(scale · knots(logit) + shift), `knots` linear between (x, y), or the identity."""

    scale: float = 1.0
    shift: float = 0.0
    x: list[float] = []
    y: list[float] = []

    def logits(self, logits: NDArray[np.float32] | Floats) -> Floats:
        """Calibrated logits, float64, in the shape given."""
        values = np.asarray(logits, np.float64)
        if self.x:
            values = np.interp(values, self.x, self.y)
        out: Floats = self.scale * values + self.shift
        return out

    def probabilities(self, logits: NDArray[np.float32] | Floats) -> NDArray[np.float32]:
        """Calibrated probabilities, float32, in the shape given."""
        return sigmoid(self.logits(logits)).astype(np.float32)


class Curves:
    """The curves of several heads, for many pairs at once."""

    def __init__(self, curves: Sequence[Curve]) -> None:
        n, knots = len(curves), [len(curve.x) for curve in curves]
        self._scale = np.array([curve.scale for curve in curves])
        self._shift = np.array([curve.shift for curve in curves])
        self._knots = np.array(knots, np.int64)
        self._x, self._y = np.zeros((n, max(knots))), np.zeros((n, max(knots)))
        for i, curve in enumerate(curves):
            self._x[i, : knots[i]], self._y[i, : knots[i]] = curve.x, curve.y

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """Calibrated probabilities [n, h] of logits [n, h], to 1e-7 those of each curve."""
        logits = np.ascontiguousarray(logits)
        out = np.empty_like(logits)
        _fill(logits, self._scale, self._shift, self._knots, self._x, self._y, out)
        return out


@compiled
def _fill(
    logits: NDArray[np.float32],
    scale: Floats,
    shift: Floats,
    knots: NDArray[np.int64],
    x: Floats,
    y: Floats,
    out: NDArray[np.float32],
) -> None:
    """With NumPy's operations, 12 for four heads, a call of `score` waited for the GIL after each: a tenth of
    its time.
    """
    n, heads = logits.shape
    for i in range(n):
        for j in range(heads):
            value = np.float64(logits[i, j])
            if knots[j]:
                value = _between(value, x, y, j, knots[j])
            value = scale[j] * value + shift[j]
            rest = exp(-abs(value))
            out[i, j] = (1.0 if value >= 0 else rest) / (1.0 + rest)


@compiled
def _between(value: np.float64, x: Floats, y: Floats, j: int, count: int) -> np.float64:
    """Linear between the first `count` points (x[j], y[j]), whose x rise; level beyond them."""
    low, high = 0, count - 1
    while high - low > 1:
        middle = (low + high) // 2
        if x[j, middle] <= value:
            low = middle
        else:
            high = middle
    x0, x1, y0, y1 = x[j, low], x[j, high], y[j, low], y[j, high]
    out: np.float64 = y0 if value <= x0 else y1 if value >= x1 else y0 + (value - x0) / (x1 - x0) * (y1 - y0)
    return out


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + exp(-logits)), without overflow."""
    out: Floats = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return out
