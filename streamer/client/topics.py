"""The topics: which there are, what keys their records carry, how they are created and described.

Knows nothing of stages. Names here are the logical ones; `settings.kafka.topic` adds the prefix.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

import msgspec
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.admin import OffsetSpec as Spec
from kafka.errors import TopicAlreadyExistsError, UnknownBrokerIdError, UnsupportedVersionError

from models.events import Engagement, Follow, Prediction, ScoreRequest, Tweet, User
from streamer.client.connection import ClientError, admin_client, raw_producer
from streamer.partition_counts import MEND, uneven
from streamer.settings import Settings

DAY_MS: Final = 86_400_000


@dataclass(frozen=True)
class Topic:
    """A topic of the contracts: the struct of its values, the field its key is made of, broker settings."""

    name: str
    struct: type[msgspec.Struct] | None
    key: str | None
    config: dict[str, str] = field(default_factory=dict)


def _days(days: int) -> dict[str, str]:
    return {"retention.ms": str(days * DAY_MS)}


#: Every topic, in the order in which data flow.
TOPICS: Final = {
    topic.name: topic
    for topic in (
        Topic("users", User, "user_id", {"cleanup.policy": "compact"}),
        # Never dropped: with `users` and `engagements` it is what an empty Redis is filled from again.
        Topic("follows", Follow, "author_id", {"retention.ms": "-1"}),
        Topic("tweets", Tweet, "tweet_id", _days(7)),
        Topic("engagements", Engagement, "user_id", _days(90)),
        # A request carries its tweet's time, at the oldest that of one `tweets` is about to drop: 7 days and
        # those of a segment, 7 by default. With less, Kafka drops what a late `embed` asks for unread.
        Topic("score-requests", ScoreRequest, None, _days(14)),
        Topic("predictions", Prediction, "user_id", _days(2)),
        # A dead letter is the original record plus headers: it must fit where the original just did. What was
        # larger before the publisher compressed it is cut off (`streamer.dead_letters`).
        Topic("dead-letters", None, None, {**_days(30), "max.message.bytes": str(2 * 2**20)}),
    )
}
#: Topics that people and other programs publish to.
INPUTS: Final = ("users", "follows", "tweets", "engagements", "score-requests")
#: What each stage reads. (The stages say so themselves; importing them would import torch.)
STAGE_INPUTS: Final = {
    "embed": ("tweets",),
    "score": ("score-requests",),
    "users": ("users", "engagements"),
    "follows": ("follows",),
}
#: What the key of a record is made of on each topic.
KEY_FIELDS: Final = {topic.name: topic.key for topic in TOPICS.values()}


@dataclass(frozen=True)
class PartitionRange:
    """Records `start <= offset < end` are there."""

    partition: int
    start: int
    end: int


@dataclass(frozen=True)
class TopicState:
    """A topic as the broker has it; `partitions` is empty where it does not exist."""

    name: str
    full_name: str
    partitions: list[PartitionRange]

    @property
    def records(self) -> int:
        """How many records it holds (on a compacted topic: at most)."""
        return sum(p.end - p.start for p in self.partitions)


def existing(admin: KafkaAdminClient, settings: Settings, names: Iterable[str]) -> dict[str, int]:
    """Partition counts of those topics that exist, by logical name."""
    wanted = {settings.kafka.topic(name): name for name in names}
    return {
        wanted[topic["name"]]: len(topic["partitions"])
        for topic in admin.describe_topics(list(wanted))
        if topic["error_code"] == 0 and topic["partitions"]
    }


def require(settings: Settings, names: Iterable[str]) -> dict[str, int]:
    """Partition counts by logical name. Raises `ClientError` when one does not exist."""
    names = list(names)
    with admin_client(settings) as admin:
        found = existing(admin, settings, names)
    if missing := [settings.kafka.topic(name) for name in names if name not in found]:
        raise ClientError(
            f"Kafka at {settings.kafka.bootstrap} has no topic {', '.join(missing)}: "
            "create it with `streamer topics create`"
        )
    return found


def create(settings: Settings) -> dict[str, bool]:
    """Create the topics that are missing: True where one was made, False where it was there already.

    Existing topics stay as they are. Raises `ClientError`, also when one has another number of partitions
    than `kafka.partitions`, where that matters; then none is made.
    """
    kafka = settings.kafka
    with admin_client(settings) as admin:
        before = existing(admin, settings, TOPICS)
        _require_even(settings, before)
        missing = [name for name in TOPICS if name not in before]
        new = {
            kafka.topic(name): {
                "num_partitions": kafka.partitions,
                "replication_factor": kafka.replication_factor,
                "configs": TOPICS[name].config,
            }
            for name in missing
        }
        if new:
            try:
                with suppress(TopicAlreadyExistsError):  # somebody else was quicker
                    admin.create_topics(new)
            except (UnknownBrokerIdError, UnsupportedVersionError):
                # No controller, no CreateTopics: librdkafka's mock broker, which makes a topic, with
                # partitions of its own number, when a client that allows it first asks for it.
                with raw_producer(settings, allow_auto_create_topics=True) as producer:
                    for name in new:
                        producer.partitions_for(name)
            admin.wait_for_topics(list(new))
        _require_even(settings, existing(admin, settings, TOPICS))
    return {name: name in missing for name in TOPICS}


def _require_even(settings: Settings, counts: Mapping[str, int]) -> None:
    if problem := uneven(settings.kafka, counts):
        raise ClientError(f"{problem}; {MEND}")


def describe(settings: Settings) -> list[TopicState]:
    """Every topic with its partitions and offset ranges. Raises `ClientError` when Kafka is away."""
    with admin_client(settings) as admin:
        counts = existing(admin, settings, TOPICS)
        partitions = [
            TopicPartition(settings.kafka.topic(name), p) for name, n in counts.items() for p in range(n)
        ]
        if partitions:
            starts = admin.list_partition_offsets(dict.fromkeys(partitions, Spec.EARLIEST))
            ends = admin.list_partition_offsets(dict.fromkeys(partitions, Spec.LATEST))
    states = []
    for name in TOPICS:
        full = settings.kafka.topic(name)
        keys = [TopicPartition(full, p) for p in range(counts.get(name, 0))]
        ranges = [PartitionRange(tp.partition, starts[tp].offset, ends[tp].offset) for tp in keys]
        states.append(TopicState(name, full, ranges))
    return states
