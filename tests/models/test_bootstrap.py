from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.bootstrap import FIGURES, intervals, resampled
from models.metrics import scores


@given(
    st.lists(
        st.tuples(st.booleans(), st.sampled_from([0.1, 0.2, 0.5, 0.7]), st.integers(1, 4)),
        min_size=15,
        max_size=60,
    ).filter(lambda rows: 0 < sum(row[0] for row in rows) < len(rows))
)
def test_a_draw_of_everything_gives_the_figures_themselves(rows: list[tuple[bool, float, int]]) -> None:
    labels, p, times = (np.array(column) for column in zip(*rows, strict=True))
    weights = times.astype(np.float64)
    found = resampled(labels, p, weights, np.zeros(len(rows), np.int64), resamples=1)[0]
    expected = scores(labels, p, weights)
    for name, value in zip(FIGURES, found, strict=True):
        assert value == pytest.approx(getattr(expected, name), abs=1e-9)


def world(seed: int, tweets: int = 200, readers: int = 20) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels that depend on their tweet alone; a guess that knows nothing of it."""
    rng = np.random.default_rng(seed)
    clusters = np.repeat(np.arange(tweets), readers)
    viral = rng.random(tweets) < 0.3
    labels = rng.random(len(clusters)) < np.where(viral, 0.5, 0.02)[clusters]
    return labels, np.clip(rng.normal(0.2, 0.05, len(clusters)), 0.01, 0.9), clusters


def test_the_same_seed_gives_the_same_draws() -> None:
    labels, p, clusters = world(0)
    first, second = (resampled(labels, p, None, clusters, seed=1, resamples=5) for _ in range(2))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, resampled(labels, p, None, clusters, seed=2, resamples=5))


def test_whole_tweets_make_wider_intervals_than_exposures() -> None:
    labels, p, clusters = world(0)
    by_tweet = intervals(resampled(labels, p, None, clusters, resamples=200))["rce"]
    by_row = intervals(resampled(labels, p, None, np.arange(len(labels)), resamples=200))["rce"]
    assert by_tweet[1] - by_tweet[0] > 1.5 * (by_row[1] - by_row[0])


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    held = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        p = rng.uniform(0.05, 0.6, 600)
        labels = rng.random(600) < p
        low, high = intervals(resampled(labels, p, None, np.arange(600), resamples=100))["auc"]
        held += low <= 0.7089 <= high  # the AUC of these probabilities, from 4M draws
    assert held >= 51


def test_one_class_leaves_out_what_cannot_be_said() -> None:
    found = intervals(resampled(np.zeros(40, np.bool_), np.full(40, 0.1), None, np.arange(40), resamples=20))
    assert not found
