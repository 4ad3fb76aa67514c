"""What other people's rows plainly mean is read; what is unclear is counted."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.events import MAX_TEXT, Engagement, Follow, Tweet, User
from models.log import EventLog, Exposure, open_exposures
from models.log_rows import WordlessTweet, meant, to_structs

TWEET: dict[str, Any] = {"tweet_id": "1", "author_id": "2", "created_at": 5, "text": "hello"}


@pytest.mark.parametrize(
    ("row", "field", "expected"),
    [
        ({"kind": "Retweet"}, "kind", "retweet"),
        ({"kind": "TopLevel"}, "kind", "original"),
        ({"kind": None}, "kind", "original"),
        ({"hashtags": [None, "", "a", " "]}, "hashtags", ["a"]),
        ({"hashtags": None}, "hashtags", []),
        ({"mentions": [12, None]}, "mentions", ["12"]),
        ({"mentions": [None]}, "mentions", []),
        ({"tweet_id": 1234567890123456789}, "tweet_id", "1234567890123456789"),
        ({"created_at": "1970-01-01T00:00:05Z"}, "created_at", 5_000),
        ({"created_at": "1970-01-01 00:00:05"}, "created_at", 5_000),
        ({"created_at": "1970-01-01T01:00:05.250+01:00"}, "created_at", 5_250),
        ({"created_at": "1700000000000"}, "created_at", 1_700_000_000_000),
        ({"text": "word " * MAX_TEXT}, "text", ("word " * MAX_TEXT)[:MAX_TEXT]),
        ({"text_tokens": []}, "text", "hello"),
        ({"text": "", "text_tokens": [1, 2]}, "text_tokens", [1, 2]),
        ({"text": " ", "text_tokens": [1, 2]}, "text", None),
        ({"author": {"followers": None, "interests": [None, "x"]}}, "author", {"interests": ["x"]}),
    ],
)
def test_a_tweet_is_what_it_plainly_means(row: dict[str, Any], field: str, expected: Any) -> None:
    rejected: Counter[str] = Counter()
    for struct in (Tweet, WordlessTweet):
        [found] = to_structs([TWEET | row], struct, rejected)
        assert not rejected
        assert msgspec.to_builtins(getattr(found, field)) == expected


def test_actions_labels_and_ids_in_other_words() -> None:
    did = {"user_id": 1, "tweet_id": "2", "action": "Retweet", "at": 5}
    assert meant(did, Engagement) == Engagement(user_id="1", tweet_id="2", action="retweet", at=5)
    follow = {"follower_id": 1, "author_id": 2, "action": "FOLLOW", "at": 0}
    assert meant(follow, Follow).action == "follow"
    shown = {"user_id": 1, "tweet_id": 2, "shown_at": 5, "retweet": 1, "like": 0, "quote": None}
    assert meant(shown, Exposure) == Exposure(
        user_id="1", tweet_id="2", shown_at=5, retweet=True, like=False, quote=None
    )


@pytest.mark.parametrize(
    "row",
    [
        {"kind": "shout"},
        {"text": "both", "text_tokens": [1]},
        {"created_at": "yesterday"},
        {"tweet_id": ""},
        {"tweet_id": 1.5e18},
        {"text": 5},
        {"followers": -1, "author": {"followers": -1}},
        [1],
    ],
)
def test_what_is_unclear_is_counted(row: Any) -> None:
    rejected: Counter[str] = Counter()
    row = TWEET | row if isinstance(row, dict) else row
    assert to_structs([row], WordlessTweet, rejected) == [None]
    assert rejected.total() == 1


def test_only_who_asks_for_them_gets_tweets_without_text(tmp_path: Path) -> None:
    texts = ["x", "", " \n", None]
    rows = [TWEET | {"tweet_id": str(i), "created_at": i, "text": text} for i, text in enumerate(texts)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "tweets.parquet")
    log = EventLog(tmp_path)
    assert [event.text for _, event in log.events() if isinstance(event, Tweet)] == ["x"]
    assert log.rejected["tweets"].total() == 3
    found = [event for _, event in log.events(wordless=True) if isinstance(event, Tweet)]
    assert [tweet.text for tweet in found] == ["x", "", " \n", ""]
    assert not log.rejected


def test_lines_are_read_as_leniently_as_columns(tmp_path: Path) -> None:
    """Whole numbers for ids and labels, nulls for defaults, times in words, a byte order mark."""
    tweets = [
        {"tweet_id": i, "author_id": 7, "created_at": f"1970-01-01T00:00:0{9 - i}Z", "mentions": None}
        | {"text": "hi", "language": None}
        for i in range(3)
    ]
    (tmp_path / "tweets.jsonl").write_text("\n".join(map(json.dumps, tweets)), encoding="utf-8-sig")
    shown = [{"user_id": 3, "tweet_id": 1, "shown_at": 9_000, "retweet": label} for label in (0, 1)]
    (tmp_path / "exposures.jsonl").write_text("\n".join(map(json.dumps, shown)), encoding="utf-8-sig")
    user = {"user_id": 3, "updated_at": "1970-01-01T00:00:08", "followers": 4}
    (tmp_path / "users.jsonl").write_text(json.dumps(user))
    log = EventLog(tmp_path)
    assert [at for at, _ in log.events()] == [7_000, 8_000, 8_000, 9_000]
    events = [event for _, event in log.events()]
    assert events[0] == Tweet(tweet_id="2", author_id="7", created_at=7_000, text="hi")
    assert events[1] == User(user_id="3", followers=4)
    assert not log.rejected
    [batch] = log.exposures[""].batches()
    assert batch["user_id"].to_pylist() == ["3", "3"]
    assert batch["retweet"].to_pylist() == [False, True]


@pytest.mark.parametrize("depth", [5_000, 200_000])
def test_lines_that_are_nested_beyond_reason_are_counted(tmp_path: Path, depth: int) -> None:
    row = b'{"tweet_id":"%d","author_id":"a","created_at":1000,"text":"x","more":%s}'
    deep = b"[" * depth + b"]" * depth
    (tmp_path / "tweets.jsonl").write_bytes(b"\n".join([row % (1, deep), row % (2, b"[]"), deep]))
    log = EventLog(tmp_path)
    [(_, event)] = log.events()
    assert event == Tweet(tweet_id="2", author_id="a", created_at=1_000, text="x")
    assert sum(log.rejected["tweets"].values()) == 2


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
@pytest.mark.parametrize("head", ["retweet", "quote"])
@pytest.mark.parametrize("number", [int, float])
def test_numbers_that_are_no_labels_are_counted_in_either_form(
    tmp_path: Path, suffix: str, head: str, number: type[int] | type[float]
) -> None:
    rows = [
        {"user_id": "u", "tweet_id": str(i), "shown_at": 9 - i, "retweet": number(1), head: number(label)}
        for i, label in enumerate([0, 1, 2, -1])
    ]
    path = tmp_path / f"exposures.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("\n".join(map(json.dumps, rows)))
    table = open_exposures(path)
    [batch] = table.batches()
    assert batch[head].to_pylist() == [True, False]
    assert batch["tweet_id"].to_pylist() == ["1", "0"]
    [(reason, count)] = table.rejected.items()
    assert (count, f"{head}`" in reason) == (2, True)
