"""The commands that talk to Kafka, with a real one."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec
import pytest

from models.events import Engagement, Prediction, Tweet
from streamer.client.connection import raw_producer
from streamer.settings import KafkaSettings, Settings
from tests.streamer.cli.conftest import Command
from tests.streamer.client.test_dead_letters import bury

TWEETS = [
    Tweet(tweet_id=str(i), author_id="7", created_at=1_700_000_000_000 + 1000 * i, text=f"tweet {i}")
    for i in range(20)
]


@pytest.fixture
def settings(kafka: object, topic_prefix: str) -> Settings:
    bootstrap = kafka.bootstrap  # type: ignore[attr-defined]
    return Settings(
        kafka=KafkaSettings(
            bootstrap=bootstrap, topic_prefix=topic_prefix, group_prefix=topic_prefix, partitions=3
        )
    )


@pytest.fixture
def tweets(tmp_path: Path) -> Path:
    path = tmp_path / "tweets.jsonl"
    path.write_bytes(msgspec.json.Encoder().encode_lines(TWEETS) + b'{"tweet_id": "x"}\n')
    return path


def test_topics_are_created_once_and_described(online: Command) -> None:
    first = online("topics", "create", "--json").object
    assert len(first["created"]) == 7
    assert online("topics", "create", "--json").object["created"] == []
    described = online("topics", "describe", "--json").objects
    assert {len(topic["partitions"]) for topic in described} == {3}
    assert "streamer publish" in online("topics", "describe").stdout


def test_publish_says_what_it_sent_and_what_not(online: Command, tweets: Path) -> None:
    online("topics", "create")
    ran = online("publish", tweets, "--json")
    assert ran.object["sent"] == {"tweets": 20}
    assert sum(ran.object["rejected"].values()) == 1
    [state] = [t for t in online("topics", "describe", "--json").objects if t["topic"] == "tweets"]
    assert state["records"] == 20
    [told] = [line for line in online("publish", tweets).stdout.splitlines() if "sent" in line]
    assert "20 tweets" in told


def test_publish_takes_a_part_of_the_time_and_a_number(online: Command, tweets: Path) -> None:
    online("topics", "create")
    middle = TWEETS[5].created_at
    assert online("publish", tweets, "--from", middle, "--json").object["sent"] == {"tweets": 15}
    assert online("publish", tweets, "--to", middle, "--json").object["sent"] == {"tweets": 5}
    assert online("publish", tweets, "--limit", 3, "--json").object["sent"] == {"tweets": 3}
    assert online("publish", tweets, "--to", "2023-11-14T22:13:25Z", "--json").object["sent"] == {"tweets": 5}


def test_publish_refuses_before_it_sends(online: Command, streamer: Command, tweets: Path) -> None:
    assert "streamer topics create" in online("publish", tweets).stderr
    assert streamer("publish", tweets, "--dry-run", "--json").object["sent"] == {"tweets": 20}
    assert "give one of them" in streamer("publish", tweets, "--rate", 1, "--speedup", 1).stderr
    at = TWEETS[5].created_at
    assert "--to must be after" in streamer("publish", tweets, "--from", at, "--to", at, "--dry-run").stderr
    tweets.write_text("nothing of use\n" * 3)
    assert streamer("publish", tweets, "--dry-run").code == 1


def test_subscribe_prints_what_is_wanted_and_ends_at_its_limit(online: Command, settings: Settings) -> None:
    online("topics", "create")
    with raw_producer(settings) as producer:
        for i in range(10):
            value = Prediction(
                id=str(i), tweet_id="1", user_id=f"u{i}", author_id="a", retweet=i / 10,
                model="m", created_at=1, scored_at=2,
            )  # fmt: skip
            key = f"u{i}".encode()
            producer.send(settings.kafka.topic("predictions"), msgspec.json.encode(value), key=key)
        producer.flush()
    read = ("subscribe", "--from-beginning", "--seconds", 30)
    found = online(*read, "--min-probability", 0.5, "--limit", 5, "--json").objects
    assert {row["user_id"] for row in found} == {"u5", "u6", "u7", "u8", "u9"}
    [one] = online(*read, "--user", "u3", "--limit", 1, "--json").objects
    assert one["retweet"] == 0.3
    lines = online(*read, "--limit", 2).stdout.splitlines()
    assert len([line for line in lines if "retweet 0." in line]) == 2


def test_dead_letters_are_listed_and_replayed(online: Command, settings: Settings) -> None:
    online("topics", "create")
    bury(settings, b"\xff[broken]", reason="not_utf8")
    bury(settings, b"{}", reason="wrong_shape")
    letters = online("dead-letters", "list", "--json").objects
    assert {letter["reason"] for letter in letters} == {"not_utf8", "wrong_shape"}
    [one] = online("dead-letters", "list", "--reason", "not_utf8", "--json").objects
    assert base64.b64decode(one["value"]) == b"\xff[broken]"
    assert "[broken]" in online("dead-letters", "list").stdout
    done = online("dead-letters", "replay", "--reason", "not_utf8", "--json").object
    assert done["replayed"] == {"not_utf8": 1}
    assert "replayed 0" in online("dead-letters", "replay", "--reason", "not_utf8").stdout
    odd = online("dead-letters", "replay", "--reason", "bad-json").stderr
    assert "no reason is called bad-json: they are tombstone, not_utf8, not_json" in odd
    assert "no topic is called nowhere" in online("dead-letters", "list", "--topic", "nowhere").stderr


def test_lag_names_stages_that_never_ran(online: Command, tmp_path: Path) -> None:
    assert "topics create" in online("lag").stdout
    online("topics", "create")
    path = tmp_path / "engagements.jsonl"
    events = [Engagement(user_id="u", tweet_id="1", action="like", at=i) for i in range(4)]
    path.write_bytes(msgspec.json.Encoder().encode_lines(events))
    online("publish", path)
    rows = online("lag", "users", "--json").objects
    assert {row["topic"] for row in rows} == {"users", "engagements"}
    assert sum(row["records"] for row in rows) == 4
    assert "users" in online("lag").stdout
    assert "no stage is called nothing" in online("lag", "nothing").stderr
