from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from models.log import open_exposures
from streamer.replay.exposures import Everything, Exposures

pairs = st.tuples(st.sampled_from("abcd"), st.sampled_from(["1", "2", "3"]))


def exposures(rows: list[tuple[str, str]]) -> Exposures:
    users, tweets = zip(*rows, strict=True)
    return Exposures(pa.array(users), pa.array(tweets), np.zeros(len(rows), np.bool_))


@given(st.lists(pairs, min_size=1, max_size=12), st.lists(st.tuples(pairs, st.floats(0, 1, width=32))))
def test_each_row_has_its_latest_prediction_or_none(
    rows: list[tuple[str, str]], predictions: list[tuple[tuple[str, str], float]]
) -> None:
    joined = exposures(rows)
    for (user, tweet), p in predictions:
        joined.add(tweet, [user, "nobody"], [p, 0.5])
    latest = dict(predictions)
    for row, p in zip(rows, joined.probabilities.tolist(), strict=True):
        assert p == latest[row] if row in latest else np.isnan(p)


def test_a_tweet_that_nobody_was_shown_is_left_out() -> None:
    joined = exposures([("a", "1")])
    joined.add("other", ["a"], [0.5])
    assert np.isnan(joined.probabilities).all()


def test_exposures_are_read_by_time(tmp_path: Path) -> None:
    path = tmp_path / "exposures.jsonl"
    rows = [
        {"user_id": user, "tweet_id": "1", "shown_at": at, "retweet": user == "b"}
        for user, at in (("a", 10), ("b", 20), ("c", 30))
    ]
    path.write_bytes(msgspec.json.Encoder().encode_lines(rows))
    joined = Exposures.read(open_exposures(path), 15, 30)
    joined.add("1", ["a", "b", "c"], [0.1, 0.25, 0.3])
    assert joined.labels.tolist() == [True]
    assert joined.probabilities.tolist() == [0.25]
    assert len(Exposures.read(open_exposures(path), 40, 50).labels) == 0


def test_everything_predicted_is_judged_by_who_retweeted() -> None:
    everything = Everything()
    everything.add("1", ["a", "b"], [0.25, 0.5])
    everything.add("2", ["a"], [0.75])
    everything.add("1", ["b"], [0.5])  # delivered twice
    labels, p = everything.joined([("b", "1"), ("c", "1"), ("a", "unknown")])
    assert sorted(zip(p.tolist(), labels.tolist(), strict=True)) == [
        (0.25, False),
        (0.5, True),
        (0.75, False),
    ]
