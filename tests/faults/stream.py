"""A stream under test: people, their tweets, the topics and the predictions that came of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest
from kafka import TopicPartition

from models.events import Engagement, Follow, Prediction, Tweet
from streamer.client import topics
from streamer.client.connection import admin_client, raw_consumer
from streamer.client.lag import wait_until_done
from streamer.client.publisher import publisher
from streamer.client.subscriber import decode_pair, stand_at
from streamer.local.worker import LocalWorker
from streamer.settings import KafkaSettings, RedisSettings, Settings
from tests.streamer.processes import eventually

AUTHORS = 20
READERS = 120
START_MS = 1_704_067_200_000
Pair = tuple[str, str]
#: Probabilities have five digits. Scored in another batch, a float32 differs by 6e-7 of itself, and the last
#: digit of one in a thousand is rounded the other way.
LAST_DIGIT = 1.01e-4


def settings_for(bootstrap: str, redis_url: str, bundle: Path, prefix: str = "") -> Settings:
    """Small batches and quick commits, so that there is much to interrupt; dead workers are noticed soon."""
    kafka = KafkaSettings(
        bootstrap=bootstrap,
        topic_prefix=prefix,
        group_prefix=prefix,
        max_batch_records=8,
        commit_interval_s=0.2,
        session_timeout_s=4.0,
    )
    return Settings(kafka=kafka, redis=RedisSettings(url=redis_url), bundle=bundle, device="cpu")


def follows() -> list[Follow]:
    """Every reader follows five authors."""
    return [
        Follow(follower_id=f"r{reader}", author_id=f"a{(reader + step) % AUTHORS}", action="follow", at=0)
        for reader in range(READERS)
        for step in range(5)
    ]


def tweets(first: int, count: int) -> list[Tweet]:
    """Tweets `first`, `first` + 1, ... by the authors in turn."""
    return [
        Tweet(
            tweet_id=f"{number}",
            author_id=f"a{number % AUTHORS}",
            created_at=START_MS + number * 60_000,
            text=f"tweet number {number} on streams, votes and the lazy dog",
        )
        for number in range(first, first + count)
    ]


def engagements(first: int, count: int) -> list[Engagement]:
    """Readers in turn retweet the tweets from `first` on."""
    return [
        Engagement(
            user_id=f"r{number % READERS}",
            tweet_id=f"{number}",
            action="retweet",
            at=START_MS + number * 60_000 + 1_000,
        )
        for number in range(first, first + count)
    ]


def readers_of(tweet: Tweet) -> list[str]:
    """Who follows the author."""
    return [follow.follower_id for follow in follows() if follow.author_id == tweet.author_id]


class Stream:
    """Publishes, and reads `predictions` from the beginning. A context, to be left while Kafka is away:
    kafka-python leaks a socket for each connection that is refused.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        #: All records of a pair, in the order in which they were read.
        self.found: dict[Pair, list[Prediction]] = {}
        self.expected: set[Pair] = set()
        self.published: list[Tweet] = []
        self._positions: dict[TopicPartition, int] = {}
        self._clients = ExitStack()

    def __enter__(self) -> Self:
        topics.create(self.settings)
        enter = self._clients.enter_context
        self._sender = enter(publisher(self.settings))
        self._admin = enter(admin_client(self.settings))
        # 8 records at a time would be for the workers only.
        self._consumer = enter(raw_consumer(self.settings, max_poll_records=5_000))
        topic, count = self.settings.kafka.topic("predictions"), self.settings.kafka.partitions
        stand_at(self._consumer, [TopicPartition(topic, number) for number in range(count)], beginning=True)
        for partition, position in self._positions.items():
            self._consumer.seek(partition, position)
        return self

    def __exit__(self, *_: object) -> None:
        self._positions = {key: self._consumer.position(key) for key in self._consumer.assignment()}
        self._clients.close()

    def follow(self, alive: Callable[[], None]) -> None:
        """Publish who follows whom, and have it done."""
        for follow in follows():
            self._sender.send("follows", follow)
        self.done("follows", alive=alive)

    def publish(self, count: int, *, flush: bool = True) -> None:
        """Publish the next `count` tweets. Without `flush` they may be on their way for long."""
        for tweet in tweets(len(self.published), count):
            self._sender.send("tweets", tweet)
            self.published.append(tweet)
            self.expected |= {(tweet.tweet_id, reader) for reader in readers_of(tweet)}
        if flush:
            self._sender.flush()

    def engage(self, first: int, count: int) -> None:
        """Have `count` tweets from `first` on retweeted by somebody."""
        for engagement in engagements(first, count):
            self._sender.send("engagements", engagement)

    def flush(self) -> None:
        """Return when all that was published is durable."""
        self._sender.flush()

    def read(self) -> None:
        """Take in the predictions that are there."""
        for records in self._consumer.poll(timeout_ms=50).values():
            for record in records:
                prediction = decode_pair(record.value)
                self.found.setdefault((prediction.tweet_id, prediction.user_id), []).append(prediction)

    def await_pairs(self, count: int, within: float = 30.0) -> None:
        """Read until so many different pairs were seen."""

        def seen() -> bool:
            self.read()
            return len(self.found) >= count

        eventually(seen, within, f"{count} pairs, of {len(self.expected)}")

    def await_all(self, within: float = 60.0) -> None:
        """Read until every expected pair was seen."""

        def complete() -> bool:
            self.read()
            return self.expected <= self.found.keys()

        eventually(complete, within, f"all of {len(self.expected)} pairs")

    def done(self, *stages: str, alive: Callable[[], None] = lambda: None) -> None:
        """Return when these stages have committed everything."""
        self._sender.flush()
        wait_until_done(self._admin, self.settings, stages, 60.0, alive)

    def records(self, topic: str) -> int:
        """How many records a topic holds."""
        return next(state.records for state in topics.describe(self.settings) if state.name == topic)

    @property
    def repeated(self) -> int:
        """Predictions that arrived more than once, each counted as often as it did so needlessly."""
        self.read()
        return sum(len(records) - 1 for records in self.found.values())

    @property
    def unequal(self) -> int:
        """How many of those differ in the last digit."""
        return sum(
            values(record) != values(records[0]) for records in self.found.values() for record in records[1:]
        )

    def check_values(self) -> None:
        """What arrived is what was expected, and whatever came twice is the same."""
        assert self.found.keys() == self.expected
        for records in self.found.values():
            assert len({record.id for record in records}) == 1
            for record in records[1:]:
                assert values(record) == pytest.approx(values(records[0]), rel=LAST_DIGIT)
        assert len({records[0].id for records in self.found.values()}) == len(self.found)


def values(prediction: Prediction) -> Mapping[str, float | None]:
    """The probabilities of a prediction."""
    return {head: getattr(prediction, head) for head in ("retweet", "like", "reply", "quote")}


def all_alive(workers: Iterable[LocalWorker]) -> Callable[[], None]:
    """Something to call while waiting: raises once a worker has ended."""

    def check() -> None:
        for worker in workers:
            worker.check()

    return check
