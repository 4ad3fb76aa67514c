"""The learning curve's points, table and plot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import learning_curve
from benchmarks.learning_curve import Point, learned, plot, results
from benchmarks.options import Options
from models.dataset import Dataset
from models.train import fit
from models.world import SIZES

BEST = Point(0, 0, 30.0, 0.9, 0.0)
POINTS = [Point(2, 500, 24.0, 0.88, 0.004), Point(1, 1000, 27.0, 0.895, 0.002)]


def test_points_are_told_in_terms_of_the_best_possible() -> None:
    found = {result.name: result for result in results(POINTS, BEST)}
    half, everything = found["RCE, 1/2 of the exposures"], found["RCE, all exposures"]
    assert (half.value, half.target, half.unit) == (80.0, None, "%")
    assert everything.value == 90.0
    assert everything.met is False
    assert found["AUC short, all exposures"].met is True
    assert found["ECE, all exposures"].met is True
    assert found["learned from 1/2 of the exposures"].value == 500


def test_the_plot_is_the_same_for_the_same_points(tmp_path: Path) -> None:
    for name in ("a.svg", "b.svg"):
        plot(POINTS, BEST, tmp_path / name)
    drawn = (tmp_path / "a.svg").read_text()
    assert drawn.startswith("<?xml")
    assert drawn == (tmp_path / "b.svg").read_text()


def test_a_point_learns_from_the_latest_exposures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    best, train, valid = learning_curve._world(SIZES["small"], tmp_path)
    assert 0.8 < best.auc < 1
    seen = []

    def spy(dataset: Dataset, *arguments: object) -> object:
        seen.append(dataset.exposures)
        assert np.array_equal(dataset.readers, dataset.users["reader"][dataset.exposures["user"]])
        return fit(dataset, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("benchmarks.learning_curve.fit", spy)
    everything = train.exposures
    point = learned(2, train, valid, tmp_path / "half", Options(say=said.append))
    assert point.exposures == len(everything) // 2 == len(seen[0])
    assert seen[0]["shown_at"][0] >= everything["shown_at"][len(everything) // 2 - 1]
    assert train.exposures is everything
    assert len(train.latest(len(everything) + 1).exposures) == len(everything)
    assert point.rce < best.rce
    assert 0.4 < point.auc < best.auc
    assert any("epoch 1" in line for line in said)
