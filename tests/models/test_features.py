"""Pair features against their formulas, one pair at a time."""

from __future__ import annotations

from math import log1p
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.features import PAIR_FEATURES, Floats, pair_features
from models.state.affinity import AFFINITY
from models.state.decay import ACTIONS, DAY, FAST, SLOW
from models.state.stores import FOLLOWED_BACK, FOLLOWS
from models.state.vector import HABITS

NOW = 1_700_000_000
Columns = tuple[NDArray[Any], ...]

COUNTS = st.lists(st.floats(0, 1e6, width=32), min_size=len(ACTIONS), max_size=len(ACTIONS))
TIMES = st.one_of(st.just(0), st.integers(NOW - 400 * DAY, NOW + DAY))


def columns(n: int, seed: int = 0) -> Columns:
    """What `pair_features` takes beside the time."""
    rng = np.random.default_rng(seed)
    affinity, habits = np.zeros(n, AFFINITY), np.zeros(n, HABITS)
    for records in (affinity, habits):
        records["counts"] = rng.exponential(size=(n, len(ACTIONS)))
        records["newest"] = NOW - rng.integers(0, 90 * DAY, n)
        records["last_positive"] = np.where(rng.random(n) < 0.5, records["newest"], 0)
        records["total"] = rng.integers(0, 999, n)
    habits["burst"] = rng.exponential(size=n)
    bits, named, retweeted = rng.integers(0, 4, n).astype(np.uint8), rng.random(n) < 0.2, rng.random(n) < 0.2
    return bits, affinity, habits, named, retweeted, rng.integers(0, 3, n).astype(np.float32)


def features(now: NDArray[np.int64] | int, given: Columns) -> Floats:
    return pair_features(now, *given)


@settings(deadline=None)  # the first one compiles
@given(
    COUNTS, TIMES, TIMES, st.integers(0, 65_535),
    COUNTS, st.floats(0, 1e6, width=32), TIMES, TIMES, st.integers(0, 2**32 - 1),
    st.integers(0, 255), st.booleans(), st.booleans(), st.integers(0, 32),
)  # fmt: skip
def test_formulas(
    counts: list[float], newest: int, positive: int, total: int,
    user_counts: list[float], burst: float, user_newest: int, user_positive: int, user_total: int,
    bits: int, mentioned: bool, retweeted: bool, reciprocity: int,
) -> None:  # fmt: skip
    affinity, habits = np.zeros(1, AFFINITY), np.zeros(1, HABITS)
    affinity[0] = (counts, newest, positive, total, (0, 0), 0)
    habits[0] = (user_counts, burst, user_newest, user_positive, user_total)

    def left(half_life: float, since: int) -> float:
        return float(2.0 ** (-max(NOW - since, 0) / half_life))

    def fresh(half_life: float, last: int) -> float:
        return left(half_life, last) if last else 0.0

    pair = {a: c * left(SLOW, newest) for a, c in zip(ACTIONS, counts, strict=True)}
    user = {a: c * left(SLOW, user_newest) for a, c in zip(ACTIONS, user_counts, strict=True)}
    pair_retweets, user_retweets = pair["retweet"] + pair["quote"], user["retweet"] + user["quote"]
    expected = {
        "follows": bool(bits & FOLLOWS),
        "followed_back": bool(bits & FOLLOWED_BACK),
        "mentioned": mentioned,
        "retweeted": retweeted,
        "reciprocity": log1p(reciprocity),
        "pair_retweets": log1p(pair_retweets),
        "pair_replies": log1p(pair["reply"]),
        "pair_likes": log1p(pair["like"]),
        "pair_hides": log1p(pair["hide"]),
        "pair_impressions": log1p(pair["impression"]),
        "pair_total": log1p(total),
        "pair_last_day": fresh(DAY, positive),
        "pair_last_week": fresh(7 * DAY, positive),
        "pair_last_season": fresh(60 * DAY, positive),
        "pair_share": (pair_retweets + pair["like"]) / (1 + user_retweets + user["like"]),
        "user_retweets": log1p(user_retweets),
        "user_replies": log1p(user["reply"]),
        "user_likes": log1p(user["like"]),
        "user_impressions": log1p(user["impression"]),
        "user_burst": log1p(burst * left(FAST, user_newest)),
        "user_total": log1p(user_total),
        "user_last_hour": fresh(DAY / 24, user_positive),
        "user_last_day": fresh(DAY, user_positive),
        "user_last_fortnight": fresh(14 * DAY, user_positive),
    }
    given = (
        np.array([bits], np.uint8), affinity, habits, np.array([mentioned]), np.array([retweeted]),
        np.array([reciprocity], np.float32),
    )  # fmt: skip
    found = dict(zip(PAIR_FEATURES, features(NOW, given)[0].tolist(), strict=True))
    assert found == pytest.approx({name: float(x) for name, x in expected.items()}, rel=2e-5, abs=1e-6)


def test_a_pair_does_not_depend_on_its_neighbours() -> None:
    given = columns(7)
    now = NOW + 1_000 * np.arange(7)
    together = features(now, given)
    for i in range(7):
        alone = features(now[i : i + 1], tuple(column[i : i + 1] for column in given))
        np.testing.assert_array_equal(alone[0], together[i])
    assert features(now[:0], tuple(column[:0] for column in given)).shape == (0, len(PAIR_FEATURES))


def test_columns_may_be_parts_of_others_and_read_only() -> None:
    """As those of a log are; and whoever gave them finds them as they were."""
    given = columns(8)
    parts = tuple(column[::2] for column in given)
    expected = features(NOW, tuple(part.copy() for part in parts))
    for part in parts:
        part.flags.writeable = False
    np.testing.assert_array_equal(features(NOW, parts), expected)
    for column, fresh in zip(given, columns(8), strict=True):
        np.testing.assert_array_equal(column, fresh)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_not_finite_stays_so(wrong: float) -> None:
    """Or a broken record would be scored as if it were whole."""
    given = columns(3)
    given[1]["counts"][1, 0] = wrong
    given[2]["burst"][2] = wrong
    assert np.isfinite(features(NOW, given)).all(1).tolist() == [True, False, False]
