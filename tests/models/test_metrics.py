from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import metrics

LABELS = np.array([True, False, False, False, True, False, False, False])


def test_the_base_rate_scores_nothing_and_the_truth_everything() -> None:
    base = np.full(8, 0.25)
    assert metrics.rce(LABELS, base) == pytest.approx(0.0, abs=1e-9)
    assert metrics.nrce(LABELS, base) == pytest.approx(1.0)
    assert metrics.rce(LABELS, LABELS.astype(np.float64)) == pytest.approx(100.0, abs=1e-3)
    assert metrics.ece(LABELS, base, bins=1) == pytest.approx(0.0)


def test_rce_by_hand() -> None:
    labels = np.array([True, False])
    p = np.array([0.8, 0.4])
    loss = -(math.log(0.8) + math.log(0.6)) / 2
    assert metrics.rce(labels, p) == pytest.approx(100 * (1 - loss / math.log(2)))


def test_one_class_leaves_open_what_cannot_be_said() -> None:
    found = metrics.scores(np.zeros(4, np.bool_), np.full(4, 0.1))
    assert found.positives == 0
    assert math.isnan(found.auc)
    assert found.plain()["auc"] is None
    assert found.ece == pytest.approx(0.1)


@given(
    st.lists(
        st.tuples(st.booleans(), st.floats(0.01, 0.99), st.integers(1, 4)), min_size=2, max_size=30
    ).filter(lambda rows: 0 < sum(row[0] for row in rows) < len(rows))
)
def test_a_weight_is_so_many_copies(rows: list[tuple[bool, float, int]]) -> None:
    labels, p, weights = (np.array(column) for column in zip(*rows, strict=True))
    copies = np.repeat(np.arange(len(rows)), weights)
    weighted = metrics.scores(labels, p, weights.astype(np.float64))
    plain = metrics.scores(labels[copies], p[copies])
    for name in ("auc", "average_precision", "rce"):
        assert getattr(weighted, name) == pytest.approx(getattr(plain, name), abs=1e-6)


def test_ece_is_the_distance_from_what_happens() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.05, 0.5, 200_000)
    labels = rng.random(200_000) < p
    assert metrics.ece(labels, p) < 0.005
    assert metrics.ece(labels, p + 0.1) == pytest.approx(0.1, abs=0.005)
