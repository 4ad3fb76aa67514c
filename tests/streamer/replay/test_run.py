"""What a replay refuses. That it gives what evaluation gives is `test_parity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from models.events import Engagement, Tweet
from models.log import EventLog, LogWriter
from models.progress import silent
from streamer.client import topics
from streamer.client.publisher import publisher
from streamer.replay.run import Plan, ReplayError, run
from streamer.settings import KafkaSettings, RedisSettings, Settings

if TYPE_CHECKING:
    from streamer.local.kafka import LocalKafka

PLAN = Plan(start_ms=0, end_ms=10, window_ms=1)


@pytest.fixture
def settings(kafka: LocalKafka, redis_url: str, topic_prefix: str) -> Settings:
    return Settings(
        kafka=KafkaSettings(bootstrap=kafka.bootstrap, topic_prefix=topic_prefix, group_prefix=topic_prefix),
        redis=RedisSettings(url=redis_url),
    )


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    with LogWriter(tmp_path / "log") as log:
        log.write(Tweet(tweet_id="1", author_id="a", created_at=1, text="x"))
    return EventLog(tmp_path / "log")


def test_topics_that_were_used_are_refused(settings: Settings, log: EventLog) -> None:
    topics.create(settings)
    with publisher(settings) as sender:
        sender.send("engagements", Engagement(user_id="u", tweet_id="1", action="like", at=1))
    with pytest.raises(ReplayError, match=r"engagements were used before.*--local"):
        run(log, None, PLAN, settings, silent)


def test_a_redis_that_holds_something_is_refused(settings: Settings, log: EventLog) -> None:
    with redis.Redis.from_url(settings.redis.url) as client:
        client.set("somebody's", "data")
    with pytest.raises(ReplayError, match=r"Redis holds 1 keys.*--local"):
        run(log, None, PLAN, settings, silent)
