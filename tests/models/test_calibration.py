from __future__ import annotations

import numpy as np
import pytest

from models.calibrate import at_level, fit_curve
from models.calibration import Curve, Curves, sigmoid
from models.metrics import ece
from models.recipe import Calibration

RNG = np.random.default_rng(0)
TRUE = RNG.normal(-2, 1.5, 400_000)
LABELS = RNG.random(400_000) < sigmoid(TRUE)


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


@pytest.mark.parametrize("kind", ["platt", "isotonic"])
def test_few_exposures_change_little_and_many_all(kind: Calibration) -> None:
    def moved(count: int) -> float:
        none = np.zeros(count, np.bool_)
        curve = fit_curve(kind, TRUE[:count], none)
        return float(curve.probabilities(TRUE).mean() / sigmoid(TRUE).mean())

    assert fit_curve(kind, TRUE[:0], LABELS[:0]) == Curve()
    assert moved(200) > 0.85
    assert 0.3 < moved(10_000) < 0.7
    assert moved(400_000) < 0.05


def test_sampled_exposures_count_for_what_they_stand_for() -> None:
    kept = LABELS | (RNG.random(len(LABELS)) < 0.1)
    weights = np.where(LABELS, 1.0, 10.0)
    curve = fit_curve("platt", TRUE[kept], LABELS[kept], weights[kept])
    assert curve.scale == pytest.approx(1.0, abs=0.05)
    assert curve.shift == pytest.approx(0.0, abs=0.1)


def test_extreme_logits_stay_finite() -> None:
    found = Curve(scale=3.0).probabilities(np.array([-1e4, 0.0, 1e4], np.float32))
    assert found.tolist() == [0.0, 0.5, 1.0]


@pytest.mark.parametrize("level", [1e-5, 0.1, 0.9])
@pytest.mark.parametrize("kind", ["platt", "isotonic", "none"])
def test_a_curve_is_moved_to_a_level(kind: Calibration, level: float) -> None:
    curve = fit_curve(kind, TRUE, LABELS)
    moved = at_level(curve, TRUE + 2, level)
    assert moved.probabilities(TRUE + 2).mean() == pytest.approx(level, rel=1e-4)
    shifts = moved.logits(TRUE) - curve.logits(TRUE)
    assert np.ptp(shifts) < 1e-9


def test_curves_of_several_heads_are_those_of_each() -> None:
    kinds: list[Calibration] = ["platt", "isotonic", "temperature", "none"]
    curves = [fit_curve(kind, TRUE, LABELS) for kind in kinds]
    curves += [Curve(x=[0.5], y=[-2.0]), Curve(scale=30.0)]
    values = np.concatenate([TRUE[:5_000], curves[1].x, np.linspace(-99, 99, 100), [np.inf, -np.inf, np.nan]])
    logits = np.repeat(values[:, None], len(curves), axis=1).astype(np.float32)
    found = Curves(curves).probabilities(logits)
    for i, curve in enumerate(curves):
        expected = curve.probabilities(logits[:-1, i])
        np.testing.assert_allclose(found[:-1, i], expected, rtol=1e-6, atol=1e-9)
    assert np.isnan(found[-1]).all()
    assert Curves(curves).probabilities(logits[:0]).shape == (0, len(curves))
