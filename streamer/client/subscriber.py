"""Reading predictions, of either format, from the partitions that can hold what was asked for.

Knows nothing of how they are shown. Joins no consumer group: watching never takes work from anyone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
from kafka import KafkaConsumer, TopicPartition

from models.events import Prediction, PredictionColumns
from streamer.client.connection import raw_consumer
from streamer.client.topics import require
from streamer.partitions import partition_of
from streamer.settings import Settings


class _Either(msgspec.Struct):
    """What tells the two formats apart."""

    users: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_either = msgspec.json.Decoder(_Either).decode
#: Decode a record of format `pair`, and a columnar one. Both raise `msgspec.DecodeError`.
decode_pair = msgspec.json.Decoder(Prediction).decode
decode_columns = msgspec.json.Decoder(PredictionColumns).decode
#: Characters of the model's fingerprint in a prediction's id.
_MODEL_CHARS = 8


def is_columnar(value: bytes) -> bool:
    """Whether a record of `predictions` holds columns. Raises `msgspec.DecodeError`."""
    return _either(value).users is not msgspec.UNSET


def decode(value: bytes) -> Iterator[Prediction]:
    """The predictions in one record, whichever its format. Raises `msgspec.DecodeError`."""
    if not is_columnar(value):
        yield decode_pair(value)
        return
    columns = decode_columns(value)
    for i, user in enumerate(columns.users):
        yield Prediction(
            # What the format `pair` would have called it.
            id=f"{columns.tweet_id}:{_escaped(user)}:{columns.model[:_MODEL_CHARS]}",
            tweet_id=columns.tweet_id,
            user_id=user,
            author_id=columns.author_id,
            retweet=columns.retweet[i],
            like=columns.like[i] if columns.like else None,
            reply=columns.reply[i] if columns.reply else None,
            quote=columns.quote[i] if columns.quote else None,
            model=columns.model,
            cold=columns.cold[i],
            created_at=columns.created_at,
            scored_at=columns.scored_at,
        )


def _escaped(user_id: str) -> str:
    return user_id.replace("%", "%25").replace(":", "%3A")


@dataclass(frozen=True)
class Wanted:
    """Which predictions are asked for; None asks for all."""

    user: str | None = None
    tweet: str | None = None
    min_probability: float = 0.0

    def __call__(self, prediction: Prediction) -> bool:
        """Whether this one is."""
        return (
            prediction.retweet >= self.min_probability
            and (self.user is None or prediction.user_id == self.user)
            and (self.tweet is None or prediction.tweet_id == self.tweet)
        )


class Subscription:
    """Predictions as they arrive. Made by `subscription`."""

    def __init__(self, consumer: KafkaConsumer, wanted: Wanted) -> None:
        #: Records that are no predictions.
        self.unreadable = 0
        self._consumer = consumer
        self._wanted = wanted

    def poll(self, seconds: float = 0.5) -> list[Prediction]:
        """The wanted predictions that came; none after so many seconds without a record."""
        found: list[Prediction] = []
        for records in self._consumer.poll(timeout_ms=int(seconds * 1000)).values():
            for record in records:
                try:
                    found += filter(self._wanted, decode(record.value or b""))
                except (msgspec.DecodeError, UnicodeDecodeError):
                    self.unreadable += 1
        return found


@contextmanager
def subscription(
    settings: Settings, wanted: Wanted, *, from_beginning: bool = False
) -> Iterator[Subscription]:
    """Read `predictions` from its end as it is now, or from its beginning.

    A user's predictions are all in one partition, so asking for a user reads only that one.
    Raises `ClientError` when Kafka or the topic is away.
    """
    count = require(settings, ["predictions"])["predictions"]
    topic = settings.kafka.topic("predictions")
    numbers = range(count) if wanted.user is None else [partition_of(wanted.user.encode(), count)]
    with raw_consumer(settings) as consumer:
        stand_at(consumer, [TopicPartition(topic, number) for number in numbers], from_beginning)
        yield Subscription(consumer, wanted)


def stand_at(consumer: KafkaConsumer, partitions: list[TopicPartition], beginning: bool) -> None:
    """Take these partitions and stand at their beginning, or at their end as it is now."""
    consumer.assign(partitions)
    offsets = (consumer.beginning_offsets if beginning else consumer.end_offsets)(partitions)
    for partition, offset in offsets.items():
        consumer.seek(partition, offset)
