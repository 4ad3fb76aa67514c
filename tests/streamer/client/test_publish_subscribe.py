from __future__ import annotations

import time

import msgspec
import numpy as np
import pytest

from models.events import Engagement, Follow, Prediction, PredictionColumns, ScoreRequest, Tweet, User
from streamer.client.connection import ClientError, raw_consumer, raw_producer
from streamer.client.publisher import publisher
from streamer.client.reading import bounds, read
from streamer.client.subscriber import Wanted, decode, subscription
from streamer.partitions import partition_of
from streamer.settings import Settings

KEYED: list[tuple[str, msgspec.Struct, bytes | None]] = [
    ("tweets", Tweet(tweet_id="t1", author_id="a1", created_at=1, text="x"), b"t1"),
    ("engagements", Engagement(user_id="u1", tweet_id="t1", action="like", at=1), b"u1"),
    ("follows", Follow(follower_id="u1", author_id="a1", action="follow", at=1), b"a1"),
    ("users", User(user_id="u1"), b"u1"),
    ("score-requests", ScoreRequest(tweet_ids=["t1"], shard=0), None),
]


def prediction(user: str, tweet: str = "t1", retweet: float = 0.5) -> Prediction:
    return Prediction(
        id=f"{tweet}/{user}",
        tweet_id=tweet,
        user_id=user,
        author_id="a1",
        retweet=retweet,
        like=0.25,
        model="m",
        created_at=1,
        scored_at=2,
    )


def columns(users: list[str]) -> PredictionColumns:
    n = len(users)
    return PredictionColumns(
        id="c",
        tweet_id="t2",
        author_id="a1",
        users=users,
        retweet=[i / n for i in range(n)],
        cold=[i == 1 for i in range(n)],
        model="m",
        created_at=1,
        scored_at=2,
    )


def test_events_are_keyed_and_placed_as_the_contracts_say(created: Settings) -> None:
    with publisher(created) as sender:
        for topic, event, _ in KEYED:
            sender.send(topic, event)
    assert sender.sent == {topic: 1 for topic, _, _ in KEYED}
    for topic, event, key in KEYED:
        full = created.kafka.topic(topic)
        with raw_consumer(created) as consumer:
            [record] = read(consumer, bounds(consumer, full, 3))
        assert (record.key, record.value) == (key, msgspec.json.encode(event))
        if key is not None:
            assert record.partition == partition_of(key, 3)


def test_nothing_is_sent_to_a_topic_that_is_not_there(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.client.connection.REQUEST_TIMEOUT_MS", 1_000)
    with pytest.raises(ClientError), publisher(settings) as sender:
        sender.send("tweets", KEYED[0][1])


def test_a_record_too_large_for_the_broker_is_an_error_not_a_loss(created: Settings) -> None:
    noise = np.random.default_rng(0).bytes(3_000_000)  # what counts is the size once compressed
    with pytest.raises(ClientError, match=r"did not take a record|too large"), publisher(created) as sender:
        sender.send_raw(created.kafka.topic("tweets"), b"k", noise)


def test_a_subscription_reads_both_formats_and_only_what_is_wanted(created: Settings) -> None:
    users = [f"user-{i}" for i in range(30)]
    mine = [user for user in users if partition_of(user.encode(), 3) == 1]
    records = [(prediction(user, retweet=i / 30), user) for i, user in enumerate(users)]
    topic = created.kafka.topic("predictions")
    with raw_producer(created) as producer:
        for value, user in records:
            producer.send(topic, msgspec.json.encode(value), key=user.encode())
        producer.send(topic, msgspec.json.encode(columns(mine)), partition=1)
        producer.send(topic, b"no prediction", partition=1)
        producer.flush()
    everything = collect(created, Wanted(), 30 + len(mine))
    assert {(p.tweet_id, p.user_id) for p in everything} == {("t1", u) for u in users} | {
        ("t2", u) for u in mine
    }
    assert [p.tweet_id for p in collect(created, Wanted(user=mine[1]), 2)] == ["t1", "t2"]
    assert {p.user_id for p in collect(created, Wanted(tweet="t2"), len(mine))} == set(mine)
    likely = sum(p.retweet >= 0.5 for p in everything)
    assert all(p.retweet >= 0.5 for p in collect(created, Wanted(min_probability=0.5), likely))


def collect(settings: Settings, wanted: Wanted, count: int) -> list[Prediction]:
    """The wanted predictions, once all `count` and the broken record of partition 1 have come."""
    found: list[Prediction] = []
    with subscription(settings, wanted, from_beginning=True) as source:
        deadline = time.monotonic() + 20
        while len(found) < count or not source.unreadable:
            found += source.poll(0.1)
            assert time.monotonic() < deadline, f"{len(found)} of {count} came"
        assert source.unreadable == 1
    assert len(found) == count
    return found


def test_a_columnar_record_is_the_same_as_its_pairs() -> None:
    cold = [p.cold for p in decode(msgspec.json.encode(columns(["a", "b", "c"])))]
    assert cold == [False, True, False]
    assert [p.user_id for p in decode(msgspec.json.encode(columns(["a", "b"])))] == ["a", "b"]
    assert list(decode(msgspec.json.encode(prediction("a")))) == [prediction("a")]
