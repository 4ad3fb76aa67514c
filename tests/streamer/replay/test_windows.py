"""In which order events go out, and what is waited for; without Kafka."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from models.events import Engagement, Follow, Tweet, User
from models.log import EventLog, LogWriter
from models.progress import Phase, silent
from streamer.client.publisher import Publisher
from streamer.replay import windows
from streamer.replay.windows import Windows
from streamer.settings import Settings


class Recorder:
    """Notes what is published and waited for, in order."""

    def __init__(self) -> None:
        self.steps: list[str] = []
        self.tweets: list[Tweet] = []

    def send(self, topic: str, event: msgspec.Struct) -> None:
        if isinstance(event, Tweet):
            self.tweets.append(event)
            self.steps.append(f"tweet {event.tweet_id}")
        elif isinstance(event, Engagement):
            self.steps.append(f"{event.action} {event.tweet_id}")
        else:
            self.steps.append(topic)

    def flush(self) -> None:
        pass


def tweet(name: str, at: int) -> Tweet:
    return Tweet(tweet_id=name, author_id="a", created_at=at, text=name)


def engagement(name: str, at: int) -> Engagement:
    return Engagement(user_id="u", tweet_id=name, action="like", at=at)


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    with LogWriter(tmp_path / "log") as log:
        log.write(User(user_id="u"))
        log.write(Follow(follower_id="u", author_id="a", action="follow", at=0))
        for name, at in (("t10", 10), ("t12", 12), ("t25", 25), ("t60", 60)):
            log.write(tweet(name, at))
        for name, at in (("t10", 11), ("t12", 24), ("t25", 40), ("t60", 61)):
            log.write(engagement(name, at))
    return EventLog(tmp_path / "log")


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    recorder = Recorder()

    def wait(_admin: Any, _settings: Any, stages: tuple[str, ...], *_: Any) -> None:
        recorder.steps.append(f"wait {' '.join(stages)}")

    monkeypatch.setattr(windows, "wait_until_done", wait)
    return recorder


def make(log: EventLog, recorder: Recorder) -> Windows:
    return Windows(log, Settings(), None, cast("Publisher", recorder), lambda: None)


def phase() -> Phase:
    return Phase(silent, "test", None, "events")


def test_tweets_are_done_before_what_happens_in_their_window(log: EventLog, recorder: Recorder) -> None:
    make(log, recorder).play(0, 100, 5, phase())
    assert recorder.steps == [
        *("users", "follows", "wait follows users"),
        *("tweet t10", "tweet t12", "wait embed score"),
        *("like t10", "like t12", "wait follows users"),
        *("tweet t25", "wait embed score", "like t25", "wait follows users"),
        *("tweet t60", "wait embed score", "like t60", "wait follows users"),
    ]
    assert [t.audience for t in recorder.tweets] == [None] * 4


def test_the_past_is_embedded_but_scored_for_nobody(log: EventLog, recorder: Recorder) -> None:
    part = make(log, recorder)
    part.load(None, 30, 100, phase())
    assert [(t.tweet_id, t.audience) for t in recorder.tweets] == [("t10", []), ("t12", []), ("t25", [])]
    assert "wait embed" in recorder.steps
    assert "wait embed score" not in recorder.steps
    assert part.sent == {"users": 1, "follows": 1, "tweets": 3, "engagements": 2}


def test_a_shorter_past_keeps_all_profiles_and_follows(log: EventLog, recorder: Recorder) -> None:
    part = make(log, recorder)
    part.load(20, 50, 100, phase())
    assert part.sent == {"users": 1, "follows": 1, "tweets": 1, "engagements": 2}


def test_frozen_leaves_out_what_people_do(log: EventLog, recorder: Recorder) -> None:
    part = make(log, recorder)
    part.play(20, 100, 5, phase(), frozen=True)
    assert part.sent == {"tweets": 2}
