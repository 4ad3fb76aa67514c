"""One idempotent producer per process, fed with whole record batches.

`Topic.send` of Faust costs about 0.3 ms a record. Here a stage's outputs are packed into Kafka record batches
by the stage's own thread (2.8 million appends a second); the event loop only handles finished batches.
Knows nothing of stages and commits: when `send` returns, everything it was given is durable (acks=all).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import aiokafka
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    UnknownTopicOrPartitionError,
)

from streamer.errors import StreamerError
from streamer.partition_counts import MEND, uneven
from streamer.partitions import partitions_of
from streamer.record_batches import RecordBatch, bodies
from streamer.settings import KafkaSettings
from streamer.stage import Block, Group

logger = logging.getLogger(__name__)

#: Longest pause between attempts to reach a Kafka that is down while we start.
_RETRY_S = 1.0


class KafkaUnavailable(StreamerError):  # noqa: N818 - it names a state, and reads so in the log line
    """Kafka cannot be reached, or its topics are not as they must be, or it refuses a record.

    One line with what to do.
    """


def _unhurried(client: Any) -> None:
    """Pause after a failed metadata request.

    aiokafka's sender asks again at once while a leader is unknown: with the only broker down that is 6,000
    connection attempts a second, on the event loop that all stages share.
    """
    update = client._metadata_update

    async def update_or_pause(*args: Any) -> bool:
        if await update(*args):
            return True
        await asyncio.sleep(_RETRY_S / 2)
        return False

    client._metadata_update = update_or_pause


class Packed(NamedTuple):
    """A finished record batch for one partition."""

    topic: str  # without prefix
    partition: int
    batch: RecordBatch
    records: int
    bytes: int  # before compression


class Producer:
    """Packs in any thread, sends on the event loop it was started on."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._counts: dict[str, int] = {}
        self._producer: aiokafka.AIOKafkaProducer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def start(self) -> None:
        """Connect, waiting up to `kafka.outage_s` for a Kafka that is down.

        Raises `KafkaUnavailable`.
        """
        self._loop = asyncio.get_running_loop()
        deadline = time.monotonic() + self._kafka.outage_s
        while True:
            producer = self._new_producer()
            try:
                await producer.start()
            except KafkaConnectionError as error:
                await producer.stop()
                if time.monotonic() > deadline:
                    raise self._silent() from error
                logger.warning("Kafka at %s does not answer, trying again", self._kafka.bootstrap)
                await asyncio.sleep(_RETRY_S)
            else:
                self._producer = producer
                return

    def _new_producer(self) -> aiokafka.AIOKafkaProducer:
        producer = aiokafka.AIOKafkaProducer(
            **self._kafka.aiokafka_config(),
            enable_idempotence=True,
            acks="all",
            # Also how long a batch may wait for a broker that is away.
            request_timeout_ms=int(self._kafka.outage_s * 1000),
        )
        _unhurried(producer.client)
        return producer

    async def stop(self) -> None:
        """Send what is left and disconnect."""
        if self._producer is not None:
            await self._producer.stop()

    async def require(self, topics: Iterable[str]) -> None:
        """Make sure the topics exist, with `kafka.partitions` partitions where that matters; creates none.

        Waits for a Kafka that is away, as `start` does. Raises `KafkaUnavailable`, naming those not so.
        """
        assert self._producer is not None
        client = self._producer.client
        wanted = set(topics) - self._counts.keys()
        if not wanted:
            return
        cluster = await self._metadata()
        counts = {
            topic: len(cluster.partitions_for_topic(self._kafka.topic(topic)) or ()) for topic in wanted
        }
        missing = sorted(self._kafka.topic(topic) for topic, count in counts.items() if not count)
        if missing:
            raise KafkaUnavailable(
                f"Kafka at {self._kafka.bootstrap} has no topic {', '.join(missing)}:"
                " run `streamer topics create`"
            )
        if problem := uneven(self._kafka, counts):
            raise KafkaUnavailable(f"{problem}; {MEND}")
        for topic in wanted:
            await client.add_topic(self._kafka.topic(topic))
        self._counts |= counts

    async def _metadata(self) -> Any:
        """Of all topics: asking for one by name would make the broker create it, with one partition.

        A stage's first output may fall into an outage.
        """
        assert self._producer is not None
        deadline = time.monotonic() + self._kafka.outage_s
        while True:
            try:
                return await self._producer.client.fetch_all_metadata()
            except KafkaError as error:
                if time.monotonic() > deadline:
                    raise self._silent() from error
                await asyncio.sleep(_RETRY_S)

    def _silent(self) -> KafkaUnavailable:
        return KafkaUnavailable(
            f"Kafka at {self._kafka.bootstrap} did not answer for {self._kafka.outage_s:.0f} s:"
            " is it running, and is `kafka.bootstrap` right?"
        )

    def partitions(self, topic: str) -> int:
        """How many partitions the topic has. Not for the event loop's thread: the first call asks Kafka."""
        if topic not in self._counts:
            assert self._loop is not None
            asyncio.run_coroutine_threadsafe(self.require([topic]), self._loop).result()
        return self._counts[topic]

    def pack(self, groups: Sequence[Group | Block]) -> list[Packed]:
        """Turn groups and blocks into record batches, in order per partition. For a stage's thread.

        Raises `KafkaUnavailable` when a topic does not exist or has a wrong number of partitions.
        """
        return [packed for group in groups for packed in self._pack(group)]

    def _pack(self, group: Group | Block) -> Iterator[Packed]:
        if isinstance(group, Block):
            self.partitions(group.topic)
            yield self._finished(group)
            return
        if not group.keys:
            return
        partitions = self.partitions(group.topic)
        if group.partition is not None:
            yield from self._append(group, group.partition, group.keys, group.values)
            return
        # A record without a key goes where an empty key would.
        placed = partitions_of([key or b"" for key in group.keys], partitions).tolist()
        for partition in sorted(set(placed)):
            rows = [row for row, other in enumerate(placed) if other == partition]
            keys = [group.keys[row] for row in rows]
            yield from self._append(group, partition, keys, [group.values[row] for row in rows])

    def _append(
        self, group: Group, partition: int, keys: Sequence[bytes | None], values: Sequence[bytes | None]
    ) -> Iterator[Packed]:
        timestamp = int(time.time() * 1000) if group.timestamp is None else group.timestamp
        headers = list(group.headers)
        records = zip(keys, values, strict=True)
        for buffer, count in bodies(records, timestamp, headers, self._kafka.max_send_batch_bytes):
            yield self._finished(Block(group.topic, partition, buffer, count, timestamp))

    def _finished(self, block: Block) -> Packed:
        batch = RecordBatch(block, self._kafka.compression)
        return Packed(block.topic, block.partition, batch, block.count, len(block.buffer))

    async def send(self, batches: Iterable[Packed]) -> None:
        """Send, and return when all is durable.

        Raises `KafkaUnavailable` when Kafka stays away longer than `kafka.outage_s` or refuses a record.
        """
        by_partition: dict[tuple[str, int], list[Packed]] = {}
        for packed in batches:
            by_partition.setdefault((packed.topic, packed.partition), []).append(packed)
        if not by_partition:
            return
        # Submitting waits for the partition's queue, so partitions are served side by side.
        await asyncio.gather(*map(self._send, by_partition.values()))

    async def _send(self, batches: list[Packed]) -> None:
        assert self._producer is not None
        topic, partition = self._kafka.topic(batches[0].topic), batches[0].partition
        try:
            delivered = [
                await self._producer.send_batch(packed.batch, topic, partition=partition)
                for packed in batches
            ]
            await asyncio.gather(*delivered)
        except MessageSizeTooLargeError as error:
            largest = max(packed.batch.size() for packed in batches)
            raise KafkaUnavailable(
                f"topic {topic} refuses a batch of {largest} bytes: raise its `max.message.bytes`"
            ) from error
        except UnknownTopicOrPartitionError as error:
            raise KafkaUnavailable(f"topic {topic} is gone: run `streamer topics create`") from error
        except KafkaError as error:
            raise KafkaUnavailable(f"cannot write to {topic}[{partition}]: {error}") from error
