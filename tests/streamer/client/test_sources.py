from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from models.events import Engagement, Follow, ScoreRequest, Tweet, User
from models.log import LogError, LogWriter
from models.world import WorldConfig, simulate, write
from streamer.client.sources import open_source

TWEET = Tweet(tweet_id="1", author_id="7", created_at=1000, text="hello")
ENGAGEMENT = Engagement(user_id="8", tweet_id="1", action="like", at=2000)
FOLLOW = Follow(follower_id="8", author_id="7", action="follow", at=0)
USER = User(user_id="8", followers=3)


def lines_of(path: Path, rows: Sequence[object]) -> Path:
    path.write_bytes(msgspec.json.Encoder().encode_lines(rows))
    return path


@pytest.mark.parametrize(
    ("event", "topic"),
    [
        (TWEET, "tweets"),
        (ENGAGEMENT, "engagements"),
        (FOLLOW, "follows"),
        (USER, "users"),
        (ScoreRequest(tweet_ids=["1"], user_ids=["8"]), "score-requests"),
    ],
)
def test_the_topic_is_told_from_the_fields(tmp_path: Path, event: msgspec.Struct, topic: str) -> None:
    with open_source(lines_of(tmp_path / "anything.jsonl", [event])) as source:
        assert [(name, found) for _, name, found in source.events(None, None)] == [(topic, event)]
        assert source.what == topic


def test_a_folder_is_merged_by_time(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "log") as log:
        for event in (TWEET, ENGAGEMENT, FOLLOW, USER):
            log.write(event)
    with open_source(tmp_path / "log") as source:
        names = [name for _, name, _ in source.events(None, None)]
        assert names == ["users", "follows", "tweets", "engagements"]
        assert [name for _, name, _ in source.events(1500, None)] == ["engagements"]
        assert source.rows == 4


def test_bad_rows_are_counted_and_the_rest_read(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(
        msgspec.json.encode(TWEET)
        + b'\n{"tweet_id": "2", "author_id": "7", "created_at": 1, "text": " "}\n\xff\xfe\nnot json\n'
    )
    with open_source(path) as source:
        assert [event for _, _, event in source.events(None, None)] == [TWEET]
        assert source.rejected.total() == 3
        assert "the text is empty" in source.rejected


def test_recsys_rows_become_events_in_time_order(tmp_path: Path) -> None:
    world = simulate(WorldConfig(users=30, authors=5, tweets=40, days=2))
    write(world, tmp_path / "world", recsys=True)
    path = tmp_path / "world" / "recsys_train.tsv"
    path.write_bytes(path.read_bytes() + b"not\x01enough fields\n")
    with open_source(path) as source:
        events = list(source.events(None, None))
        assert source.what.startswith("RecSys Challenge rows")
        assert source.rejected == {"2 fields instead of 24": 1}
    assert {name for _, name, _ in events} >= {"users", "tweets", "engagements"}
    times = [at for at, _, _ in events]
    assert times == sorted(times)
    assert all(isinstance(event, Tweet) == (name == "tweets") for _, name, event in events)


def test_posts_of_the_x_api_come_oldest_first(tmp_path: Path) -> None:
    post = {"author_id": "7", "text": "hello"}
    posts = [
        post | {"id": "3", "created_at": "2024-01-02T00:00:00.000Z"},
        post | {"id": "2", "created_at": "2024-01-01T00:00:00.000Z"},
    ]
    response = {
        "data": posts,
        "includes": {"users": [{"id": "7", "username": "seven", "name": "Seven"}]},
    }
    path = tmp_path / "page.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(response)))
    with open_source(path) as source:
        events = [event for _, _, event in source.events(None, None)]
    assert isinstance(events[0], User)
    assert [event.tweet_id for event in events if isinstance(event, Tweet)] == ["2", "3"]
    with open_source(lines_of(tmp_path / "posts.jsonl", posts), "tweets") as source:
        assert [name for _, name, _ in source.events(None, None)] == ["tweets", "tweets"]


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([{"user_id": "1", "tweet_id": "2", "shown_at": 3, "retweet": True}], "exposures, which are not"),
        ([{"colour": "red"}], "no topic takes rows with the fields colour"),
    ],
)
def test_what_is_no_event_is_refused(tmp_path: Path, rows: list[object], why: str) -> None:
    with pytest.raises(LogError, match=why), open_source(lines_of(tmp_path / "rows.jsonl", rows)):
        pass


def test_what_is_no_file_of_events_is_refused(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    for name, why in {
        "picture.png": "neither Parquet, JSON nor RecSys",
        "nowhere": "does not exist",
        ".": "holds no event log",
    }.items():
        with pytest.raises(LogError, match=why), open_source(tmp_path / name):
            pass
