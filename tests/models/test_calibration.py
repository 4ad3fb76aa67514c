from __future__ import annotations

import numpy as np
import pytest

from models.calibrate import fit_curve
from models.calibration import Curve, sigmoid
from models.metrics import ece
from models.recipe import Calibration

RNG = np.random.default_rng(0)
TRUE = RNG.normal(-2, 1.5, 40_000)
LABELS = RNG.random(40_000) < sigmoid(TRUE)


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_distorted_logits_are_put_right(kind: Calibration) -> None:
    distorted = (TRUE * 2.5 + 1.0).astype(np.float32)
    curve = fit_curve(kind, distorted, LABELS)
    assert ece(LABELS, Curve().probabilities(distorted)) > 0.05
    assert ece(LABELS, curve.probabilities(distorted)) < 0.01


def test_temperature_finds_the_scale() -> None:
    curve = fit_curve("temperature", TRUE * 4, LABELS)
    assert curve.scale == pytest.approx(0.25, rel=0.05)
    assert curve.shift == 0.0


@pytest.mark.parametrize("kind", ["platt", "temperature", "isotonic", "none"])
def test_no_curve_changes_the_order(kind: Calibration) -> None:
    curve = fit_curve(kind, TRUE, LABELS)
    found = curve.logits(np.sort(TRUE))
    assert (np.diff(found) >= 0).all()


def test_without_both_classes_nothing_is_fitted() -> None:
    assert fit_curve("platt", TRUE, np.zeros(len(TRUE), np.bool_)) == Curve()


def test_extreme_logits_stay_finite() -> None:
    found = Curve(scale=3.0).probabilities(np.array([-1e4, 0.0, 1e4], np.float32))
    assert found.tolist() == [0.0, 0.5, 1.0]
