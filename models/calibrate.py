"""Fits calibration curves to held-out predictions. Knows nothing of networks."""

from __future__ import annotations

from typing import Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray
from scipy.optimize import brentq
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from models.calibration import Curve, Floats, sigmoid
from models.recipe import Calibration

#: So many positives count as held out whose share is everywhere what the network says. What is held out is
#: one stretch of days, whose rate moves all of it. Without them, the curve of four days (235 positives) cost
#: the six weeks after them 4 points of RCE on a real log, that of 141 tweets (1,179) one on a simulated one;
#: with 200, still 1.3 and 0.8, and 1.9 where four months lay between (640). Where a curve is right, to have
#: none costs 0.2 at 21,097 exposures, 0.5 at 6,249, and nothing where there are many.
_PRIOR: Final = 2_000.0
#: Logits are moved by less, whatever the level.
_FARTHEST: Final = 1_000.0


def fit_curve(
    kind: Calibration,
    logits: NDArray[np.float32] | Floats,
    labels: NDArray[np.bool_],
    weights: Floats | None = None,
) -> Curve:
    """Fit a curve to held-out logits [n], drawn towards the identity the fewer positives there are."""
    if kind == "none" or not len(logits):
        return Curve()
    logits = np.asarray(logits, np.float64)
    weights = np.ones(len(logits)) if weights is None else np.asarray(weights, np.float64)
    said = sigmoid(logits)
    prior = weights * (_PRIOR / max(float(weights @ said), 1e-9))
    # Every exposure as it was, and as the network has it: a share of it positive, the rest not.
    positive = weights * labels + prior * said
    logits, weights = np.tile(logits, 2), np.concatenate([positive, weights + prior - positive])
    labels = np.repeat([True, False], len(said))
    if kind == "isotonic":
        return _isotonic(logits, labels, weights)
    model = LogisticRegression(C=np.inf, fit_intercept=kind == "platt", tol=1e-8)
    model.fit(logits[:, None], labels, sample_weight=weights)
    scale, shift = float(model.coef_[0, 0]), float(np.ravel(model.intercept_)[0])
    return Curve(scale=scale, shift=shift) if scale > 0 else Curve()


def at_level(curve: Curve, logits: NDArray[np.float32] | Floats, level: float) -> Curve:
    """The curve moved so that the mean probability of logits [n] is `level`, which is inside (0, 1)."""
    calibrated = curve.logits(logits)
    shift = brentq(lambda x: sigmoid(calibrated + x).mean() - level, -_FARTHEST, _FARTHEST)
    return replace(curve, shift=curve.shift + float(shift))


def _isotonic(logits: Floats, labels: NDArray[np.bool_], weights: Floats) -> Curve:
    model = IsotonicRegression(y_min=1e-6, y_max=1 - 1e-6, out_of_bounds="clip")
    p = model.fit_transform(logits, labels.astype(np.float64), sample_weight=weights)
    # One knot in the middle of each step: between them the curve rises, so that order is kept.
    levels, index = np.unique(p, return_inverse=True)
    mass = np.bincount(index, weights)
    x = np.bincount(index, weights * logits) / mass
    return Curve(x=x.tolist(), y=np.log(levels / (1 - levels)).tolist())
