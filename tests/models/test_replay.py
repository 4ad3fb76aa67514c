from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.dataset import UNKNOWN, Dataset
from models.events import Engagement, Follow, Tweet, User
from models.features import PAIR_FEATURES, TWEET_FEATURES
from models.log import EventLog, LogWriter
from models.progress import Step
from models.replay import Check, replay

T = 1_700_000_000_000


def tweet(name: str, author: str, at: int, **more: Any) -> Tweet:
    return Tweet(tweet_id=name, author_id=author, created_at=T + at, text=f"text {name}", **more)


def did(user: str, name: str, at: int, action: str = "retweet") -> Engagement:
    return Engagement(user_id=user, tweet_id=name, action=action, at=T + at)  # type: ignore[arg-type]


def shown(user: str, name: str, at: int, retweet: bool = False, **more: Any) -> dict[str, Any]:
    return {"user_id": user, "tweet_id": name, "shown_at": T + at, "retweet": retweet, **more}


def run(
    path: Path,
    events: list[Any],
    exposures: list[dict[str, Any]],
    check: Check = lambda _: None,
) -> Dataset:
    with LogWriter(path / "log") as writer:
        for event in events:
            writer.write(event)
        writer.write_batch("exposures", pa.RecordBatch.from_pylist(exposures))
    log = EventLog(path / "log")
    return replay(log, log.exposures[""], path / "dataset", check=check)


def pair(dataset: Dataset, row: int, name: str) -> float:
    return float(dataset.exposures["features"][row, PAIR_FEATURES.index(name)])


def of_tweet(dataset: Dataset, row: int, name: str) -> float:
    features = dataset.tweets["features"][dataset.exposures["tweet"][row]]
    return float(features[TWEET_FEATURES.index(name)])


def history(dataset: Dataset, row: int) -> list[str]:
    user = dataset.users[dataset.exposures["user"][row]]
    rows = user["rows"][: user["snapshot"]["count"]]
    return [str(dataset.texts(np.array([r]))[0]) if r >= 0 else "?" for r in rows]


def test_an_exposure_sees_what_came_before_it_and_nothing_else(tmp_path: Path) -> None:
    dataset = run(
        tmp_path,
        [
            tweet("a", "ann", 0),
            did("rob", "a", 10),
            tweet("b", "ann", 20),
            did("rob", "b", 20),
            did("rob", "b", 21, "like"),
        ],
        [shown("rob", "a", 0), shown("rob", "b", 20), shown("rob", "b", 21), shown("rob", "b", 22)],
    )
    assert [history(dataset, i) for i in range(4)] == [
        [],
        ["text a"],
        ["text b", "text a"],
        ["text b", "text b", "text a"],
    ]
    assert [round(np.expm1(pair(dataset, i, "pair_retweets"))) for i in range(4)] == [0, 1, 2, 2]
    assert [round(np.expm1(pair(dataset, i, "pair_likes"))) for i in range(4)] == [0, 0, 0, 1]


def test_what_authors_publish_and_receive_is_counted_before_the_tweet(tmp_path: Path) -> None:
    dataset = run(
        tmp_path,
        [
            tweet("a", "ann", 0),
            did("rob", "a", 5),
            did("sue", "a", 5),
            tweet("b", "ann", 10),
            did("rob", "b", 11),
        ],
        [shown("rob", "a", 30), shown("rob", "b", 30)],
    )
    assert [round(np.expm1(of_tweet(dataset, i, "author_tweets"))) for i in range(2)] == [0, 1]
    assert [round(np.expm1(of_tweet(dataset, i, "author_retweets"))) for i in range(2)] == [0, 2]


def test_edges_mentions_and_reciprocity(tmp_path: Path) -> None:
    dataset = run(
        tmp_path,
        [
            Follow(follower_id="rob", author_id="ann", action="follow", at=0),
            Follow(follower_id="ann", author_id="rob", action="follow", at=T + 5),
            tweet("r", "rob", 0),
            did("ann", "r", 2),
            tweet("a", "ann", 10, mentions=["rob"]),
        ],
        [shown("rob", "a", 10), shown("sue", "a", 10)],
    )
    names = ("follows", "followed_back", "mentioned")
    assert [[pair(dataset, i, name) for name in names] for i in range(2)] == [[1, 1, 1], [0, 0, 0]]
    assert pair(dataset, 0, "reciprocity") == pytest.approx(np.log1p(1))
    assert dataset.exposures["cold"].tolist() == [1, 1]  # the stream knows neither: no profile, no engagement


def test_profiles_reach_readers_and_tweets(tmp_path: Path) -> None:
    dataset = run(
        tmp_path,
        [
            User(user_id="ann", followers=99, verified=True),
            User(user_id="rob", interests=["music"]),
            tweet("a", "ann", 0),
        ],
        [shown("rob", "a", 0)],
    )
    assert of_tweet(dataset, 0, "author_followers") == pytest.approx(np.log1p(99))
    user = dataset.users[dataset.exposures["user"][0]]["snapshot"]
    assert user["stats"]["known"] == 1
    assert user["stats"]["words"][0] > 0
    assert dataset.exposures["cold"].tolist() == [0]


def test_a_retweet_is_its_original(tmp_path: Path) -> None:
    dataset = run(
        tmp_path,
        [tweet("a", "ann", 0), tweet("c", "sue", 5, kind="retweet", original_id="a")],
        [shown("rob", "a", 6), shown("rob", "c", 6)],
    )
    assert len(dataset.tweets) == 1
    assert dataset.exposures["tweet"].tolist() == [0, 0]
    assert [pair(dataset, i, "retweeted") for i in range(2)] == [0, 1]


def test_exposures_that_cannot_be_used_are_counted(tmp_path: Path) -> None:
    dataset = run(
        tmp_path,
        [tweet("a", "ann", 10)],
        [
            shown("rob", "a", 10),
            shown("rob", "a", 10),
            shown("rob", "nobody's", 10),
            shown("rob", "a", 9),
            shown("sue", "a", 10),
        ],
    )
    assert len(dataset.exposures) == 2
    assert sorted(dataset.info["skipped"].values()) == [1, 2]


def test_labels_and_keep_rates(tmp_path: Path) -> None:
    dataset = run(
        tmp_path,
        [tweet("a", "ann", 0)],
        [
            shown("rob", "a", 1, True, like=False, keep_rate=0.5),
            shown("sue", "a", 2, False, like=None, keep_rate=0.5),
        ],
    )
    assert dataset.exposures["labels"].tolist() == [[1, 0, UNKNOWN, UNKNOWN], [0, UNKNOWN, UNKNOWN, UNKNOWN]]
    assert dataset.exposures["keep_rate"].tolist() == [0.5, 0.5]
    assert dataset.heads() == ["retweet"]


def test_an_engagement_with_a_tweet_that_comes_later_has_no_author(tmp_path: Path) -> None:
    dataset = run(
        tmp_path,
        [did("rob", "a", 0), tweet("a", "ann", 5)],
        [shown("rob", "a", 6)],
    )
    assert pair(dataset, 0, "pair_retweets") == 0
    assert history(dataset, 0) == ["text a"]


def test_token_ids_are_kept_as_they_come(tmp_path: Path) -> None:
    event = Tweet(tweet_id="a", author_id="ann", created_at=T, text_tokens=[101, 7, 102])
    dataset = run(tmp_path, [event], [shown("rob", "a", 0)])
    assert dataset.texts(np.array([0])) == [[101, 7, 102]]


def test_progress_ends_at_the_total(tmp_path: Path) -> None:
    steps: list[Step] = []
    with LogWriter(tmp_path / "log") as writer:
        writer.write(tweet("a", "ann", 0))
        writer.write_batch("exposures", pa.RecordBatch.from_pylist([shown("rob", "a", 0)]))
    log = EventLog(tmp_path / "log")
    replay(log, log.exposures[""], tmp_path / "dataset", steps.append)
    assert steps[0].done == 0
    assert steps[-1].finished
    assert steps[-1].seconds_left == 0.0


def test_a_tweet_that_cannot_be_read_never_happened(tmp_path: Path) -> None:
    events = [tweet("a", "ann", 0), tweet("b", "ann", 1), tweet("c", "ann", 2), did("rob", "b", 10)]
    rows = [shown("rob", "a", 20), shown("rob", "b", 21), shown("rob", "c", 22), shown("rob", "d", 23)]

    def check(one: Tweet) -> str | None:
        return None if one.tweet_id == "a" else f"{one.tweet_id} is odd"

    dataset = run(tmp_path, events, rows, check)
    assert len(dataset.exposures) == 1
    assert history(dataset, 0) == ["?"]  # an engagement with a tweet that nobody knows
    assert len(dataset.tweets) == 1
    assert dataset.info["skipped"] == {
        "the tweet can't be read (the first: b is odd)": 2,
        "the tweet is not in the log, or is younger than the exposure": 1,
    }


def test_exposures_of_a_tweet_without_text_are_kept(tmp_path: Path) -> None:
    texts = {"a": "text a", "p": ""}
    rows = [{"tweet_id": i, "author_id": "ann", "created_at": T, "text": text} for i, text in texts.items()]
    with LogWriter(tmp_path / "log") as writer:
        writer.write_batch("tweets", pa.RecordBatch.from_pylist(rows))
        writer.write_batch("exposures", pa.RecordBatch.from_pylist([shown("rob", "p", 6, True)]))
    log = EventLog(tmp_path / "log")
    dataset = replay(log, log.exposures[""], tmp_path / "dataset")
    assert dataset.exposures["tweet"].tolist() == [1]
    assert dataset.texts(np.array([0, 1])) == ["text a", ""]
    assert dataset.info["rejected"] == {}
