from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import islice
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
from aiokafka.errors import KafkaError
from kafka import KafkaConsumer
from kafka.admin import KafkaAdminClient, NewTopic

from streamer.pair_writer import texts, write
from streamer.partitions import partition_of
from streamer.producer import KafkaUnavailable, Producer
from streamer.settings import KafkaSettings
from streamer.stage import Block, Group

if TYPE_CHECKING:
    from streamer.local.kafka import LocalKafka


@pytest.fixture
def settings(kafka: LocalKafka, topic_prefix: str) -> KafkaSettings:
    with KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as admin:
        small = {"max.message.bytes": "20000"}
        admin.create_topics(
            [
                NewTopic(topic_prefix + "out", 3, 1),
                NewTopic(topic_prefix + "odd", 5, 1),
                NewTopic(topic_prefix + "dead-letters", 2, 1),
                NewTopic(topic_prefix + "small", 3, 1, topic_configs=small),
            ],
            wait_for_metadata=True,
        )
    return KafkaSettings(
        bootstrap=kafka.bootstrap,
        topic_prefix=topic_prefix,
        outage_s=2,
        max_send_batch_bytes=50_000,
        partitions=3,
    )


@pytest.fixture
async def producer(settings: KafkaSettings) -> AsyncIterator[Producer]:
    producer = Producer(settings)
    await producer.start()
    yield producer
    await producer.stop()


def read(settings: KafkaSettings, count: int) -> list[Any]:
    with KafkaConsumer(
        settings.topic("out"),
        bootstrap_servers=settings.bootstrap,
        auto_offset_reset="earliest",
        consumer_timeout_ms=10_000,
    ) as consumer:
        return list(islice(consumer, count))


async def send(producer: Producer, *groups: Group | Block) -> int:
    """Packed in a thread, as a stage does; the number of batches."""
    packed = await asyncio.to_thread(producer.pack, groups)
    await producer.send(packed)
    return len(packed)


async def test_records_arrive_whole_and_where_the_java_client_puts_them(
    producer: Producer, settings: KafkaSettings
) -> None:
    keys = [b"user-%d" % number for number in range(5000)]
    values = [key * 10 for key in keys]
    # 500 kB in batches of 50 kB: several for each partition.
    assert await send(producer, Group("out", keys, values, timestamp=1234, headers=[("h", b"v")])) > 9
    records = await asyncio.to_thread(read, settings, len(keys))
    assert {record.key: record.value for record in records} == dict(zip(keys, values, strict=True))
    assert all(record.partition == partition_of(record.key, 3) for record in records)
    assert {record.timestamp for record in records} == {1234}
    assert list(records[0].headers) == [("h", b"v")]
    for partition in range(3):
        sent = [key for key in keys if partition_of(key, 3) == partition]
        assert [record.key for record in records if record.partition == partition] == sent


async def test_a_named_partition_tombstones_and_no_keys(producer: Producer, settings: KafkaSettings) -> None:
    await send(producer, Group("out", [b"k", None], [None, b"v"], partition=2), Group("out", [], []))
    records = await asyncio.to_thread(read, settings, 2)
    assert [(record.partition, record.key, record.value) for record in records] == [
        (2, b"k", None),
        (2, None, b"v"),
    ]


@pytest.mark.parametrize("compression", get_args(KafkaSettings.model_fields["compression"].annotation))
async def test_blocks_go_between_groups(settings: KafkaSettings, compression: str) -> None:
    """What a stage wrote itself is a batch like any other, to the broker too."""
    producer = Producer(settings.model_copy(update={"compression": compression}))
    await producer.start()
    try:
        keys, end = texts([b"a", b"b"]), texts([b"", b"x" * 1_000])
        index, chances = np.arange(2), np.array([[0.25], [0.5]], np.float32)
        ((partition, body, count),) = write(
            keys, keys, keys, end, index, index, chances, np.ones(2, np.int64), 50_000
        )
        packed = await send(
            producer,
            Group("out", [b"k"], [b"first"], partition=1),
            Block("out", partition, body, count, 1234),
            Group("out", [b"k"], [b"last"], partition=1),
        )
    finally:
        await producer.stop()
    assert packed == 3
    records = await asyncio.to_thread(read, settings, 4)
    assert [record.value.rstrip(b"x") for record in records] == [b"first", b"aa0.25", b"bb0.5", b"last"]
    assert [(record.key, record.timestamp) for record in records[1:3]] == [(b"a", 1234), (b"b", 1234)]


async def test_groups_keep_their_order(producer: Producer, settings: KafkaSettings) -> None:
    await send(producer, *(Group("out", [b"k"], [b"%d" % number], partition=0) for number in range(50)))
    records = await asyncio.to_thread(read, settings, 50)
    assert [record.value for record in records] == [b"%d" % number for number in range(50)]


async def test_a_topic_that_is_missing_is_named_and_not_made(
    producer: Producer, settings: KafkaSettings
) -> None:
    with pytest.raises(KafkaUnavailable, match=r"has no topic \S+nothing: run `streamer topics create`"):
        await send(producer, Group("nothing", [b"k"], [b"v"]))
    with KafkaAdminClient(bootstrap_servers=settings.bootstrap) as admin:
        assert settings.topic("nothing") not in admin.list_topics()


class TestAnotherNumberOfPartitions:
    """Than `kafka.partitions`, 3: audience shards and partitions would be different things."""

    WRONG = r"`kafka.partitions` = 3 .*\(\S+odd 5\): audiences are sharded.*; set `kafka.partitions`"

    async def test_is_told_at_the_start(self, producer: Producer) -> None:
        with pytest.raises(KafkaUnavailable, match=self.WRONG):
            await producer.require(["out", "odd"])

    @pytest.mark.parametrize(
        "output",
        [
            Group("odd", [b"k"], [b"v"], partition=1),
            Group("odd", [b"k"], [b"v"]),
            Block("odd", 1, memoryview(bytearray(100)), 1, 0),
        ],
    )
    async def test_is_told_before_anything_is_sent(self, producer: Producer, output: Group | Block) -> None:
        with pytest.raises(KafkaUnavailable, match=self.WRONG):
            await send(producer, output)

    async def test_matters_nothing_to_dead_letters(self, producer: Producer) -> None:
        assert await send(producer, Group("dead-letters", [b"k"], [b"v"])) == 1


async def test_a_record_too_large_for_the_topic_is_told(producer: Producer) -> None:
    with pytest.raises(
        KafkaUnavailable, match=r"small refuses a batch of \d+ bytes: raise its `max.message.bytes`"
    ):
        # Noise: what counts is the size once compressed.
        await send(producer, Group("small", [b"k"], [np.random.default_rng(0).bytes(30_000)]))


async def test_columns_of_different_length_are_a_mistake(producer: Producer) -> None:
    with pytest.raises(ValueError, match="zip"):
        await send(producer, Group("out", [b"a", b"b"], [b"v"], partition=0))


async def test_a_kafka_that_is_away_is_told() -> None:
    producer = Producer(KafkaSettings(bootstrap="127.0.0.1:1", outage_s=0.1))
    with pytest.raises(KafkaUnavailable, match=r"127.0.0.1:1 did not answer for 0 s: is it running"):
        await producer.start()


class TestTheFirstOutputInAnOutage:
    @pytest.fixture
    def failures(self, producer: Producer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        """How many times Kafka does not answer yet."""
        left = [2]
        monkeypatch.setattr("streamer.producer._RETRY_S", 0.01)
        assert producer._producer is not None
        client = producer._producer.client
        answers = client.fetch_all_metadata

        async def fetch_all_metadata() -> Any:
            if left[0]:
                left[0] -= 1
                raise KafkaError("Unable to get cluster metadata over all known brokers")
            return await answers()

        monkeypatch.setattr(client, "fetch_all_metadata", fetch_all_metadata)
        return left

    async def test_it_waits(self, settings: KafkaSettings, producer: Producer, failures: list[int]) -> None:
        await send(producer, Group("out", [b"k"], [b"v"]))
        assert failures == [0]
        assert [record.value for record in read(settings, 1)] == [b"v"]

    async def test_but_not_for_ever(self, producer: Producer, failures: list[int]) -> None:
        failures[0] = 10**6
        with pytest.raises(KafkaUnavailable, match="did not answer for 2 s"):
            await send(producer, Group("out", [b"k"], [b"v"]))
