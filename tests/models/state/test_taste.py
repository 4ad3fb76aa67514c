"""Tastes: sums that depend on what happened, not on the order in which it became known."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.state.taste import HALF_LIFE, decode, means, remember, taste_dtype

AT = 1_600_000_000
VECTORS = np.eye(3, dtype=np.float32)
EVENTS = [(0, "retweet", AT), (1, "impression", AT + HALF_LIFE), (2, "like", AT + 2 * HALF_LIFE)]


def taste(*events: tuple[int, str, int]) -> NDArray[np.void]:
    out = np.zeros(1, taste_dtype(3))
    for i, action, at in events:
        remember(out, VECTORS[i], action, at)
    return out


def test_what_was_done_and_what_was_shown_are_apart_and_fade() -> None:
    found = taste(*EVENTS)
    assert found["sums"][0].tolist() == [[0.25, 0, 1], [0, 0.5, 0]]
    assert found["counts"][0].tolist() == [1.25, 0.5]
    assert found["newest"][0] == AT + 2 * HALF_LIFE


def test_the_order_does_not_matter() -> None:
    wanted = taste(*EVENTS)
    for events in permutations(EVENTS):
        found = taste(*events)
        np.testing.assert_allclose(found["sums"], wanted["sums"], rtol=1e-6)
        np.testing.assert_allclose(found["counts"], wanted["counts"], rtol=1e-6)


def test_packed_and_back_with_zeros_for_nobody() -> None:
    mine = taste(*EVENTS)
    found = decode([None, mine.tobytes()], 3)
    assert not any(found[:1].tobytes())
    assert found[1:].tobytes() == mine.tobytes()
    assert len(decode([], 3)) == 0
    with pytest.raises(ValueError, match="another shape"):
        decode([mine.tobytes()], 4)


def test_means_of_nothing_are_nothing() -> None:
    tastes = np.concatenate([taste(), taste(*EVENTS)])
    mean, count = means(tastes, 0)
    assert mean[0].tolist() == [0, 0, 0]
    np.testing.assert_allclose(mean[1], [0.2, 0, 0.8], rtol=1e-6)
    assert count.tolist() == [0, 1.25]
    np.testing.assert_allclose(means(tastes, 1)[0][1], [0, 1, 0], rtol=1e-6)
