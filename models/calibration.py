"""Calibration: the network's logits to probabilities that can be believed, one curve a head.

Knows nothing of networks, nor of how a curve is fitted (`models.calibrate`). A curve is monotone, so it never
changes the order of two pairs.
"""

from __future__ import annotations

import msgspec
import numpy as np
from numpy.typing import NDArray

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


def sigmoid(logits: Floats) -> Floats:
    """1 / (1 + exp(-logits)), without overflow."""
    out: Floats = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return out
