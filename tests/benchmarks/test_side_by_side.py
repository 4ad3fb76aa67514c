from __future__ import annotations

import pytest
from msgspec.structs import replace

from benchmarks.side_by_side import require_same
from models.events import Prediction

ONE = Prediction(
    id="1:u:m", tweet_id="1", user_id="u", author_id="a", retweet=0.25, model="m", created_at=1, scored_at=2
)
KEY = ("1", "u")


def test_predictions_may_differ_in_time_and_rounding() -> None:
    require_same("peer", {KEY: ONE}, {KEY: replace(ONE, scored_at=3, retweet=0.250001)})


@pytest.mark.parametrize(
    "other",
    [replace(ONE, retweet=0.26), replace(ONE, cold=True), replace(ONE, like=0.1), replace(ONE, id="2")],
)
def test_nothing_else_may_differ(other: Prediction) -> None:
    with pytest.raises(ValueError, match=r"peer: \w+ of .+ is .+, ours is"):
        require_same("peer", {KEY: ONE}, {KEY: other})


def test_there_must_be_something_to_compare() -> None:
    with pytest.raises(ValueError, match="can be compared"):
        require_same("peer", {}, {KEY: ONE})
