from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from models.events import Engagement, Follow, ScoreRequest, Tweet, User
from models.log import LogError, LogWriter
from streamer.client.sources import open_source

TWEET = Tweet(tweet_id="1", author_id="7", created_at=1000, text="hello")
ENGAGEMENT = Engagement(user_id="8", tweet_id="1", action="like", at=2000)
FOLLOW = Follow(follower_id="8", author_id="7", action="follow", at=0)
USER = User(user_id="8", followers=3)


def lines(path: Path, rows: Sequence[object]) -> Path:
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
    source = open_source(lines(tmp_path / "anything.jsonl", [event]))
    assert [(name, found) for _, name, found in source.events(None, None)] == [(topic, event)]
    assert source.what == topic


def test_a_folder_is_merged_by_time(tmp_path: Path) -> None:
    with LogWriter(tmp_path / "log") as log:
        for event in (TWEET, ENGAGEMENT, FOLLOW, USER):
            log.write(event)
    source = open_source(tmp_path / "log")
    assert [name for _, name, _ in source.events(None, None)] == ["users", "follows", "tweets", "engagements"]
    assert [name for _, name, _ in source.events(1500, None)] == ["engagements"]
    assert source.rows == 4


def test_bad_rows_are_counted_and_the_rest_read(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(
        msgspec.json.encode(TWEET)
        + b'\n{"tweet_id": "2", "author_id": "7", "created_at": 1, "text": " "}\n\xff\xfe\nnot json\n'
    )
    source = open_source(path)
    assert [event for _, _, event in source.events(None, None)] == [TWEET]
    assert source.rejected.total() == 3
    assert "the text is empty" in source.rejected


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([{"user_id": "1", "tweet_id": "2", "shown_at": 3, "retweet": True}], "exposures, which are not"),
        ([{"colour": "red"}], "no topic takes rows with the fields colour"),
    ],
)
def test_what_is_no_event_is_refused(tmp_path: Path, rows: list[object], why: str) -> None:
    with pytest.raises(LogError, match=why):
        open_source(lines(tmp_path / "rows.jsonl", rows))


def test_what_is_no_file_of_events_is_refused(tmp_path: Path) -> None:
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(LogError, match="neither Parquet, JSON nor RecSys"):
        open_source(tmp_path / "picture.png")
    with pytest.raises(LogError, match="does not exist"):
        open_source(tmp_path / "nowhere")
    with pytest.raises(LogError, match="holds no event log"):
        open_source(tmp_path)
