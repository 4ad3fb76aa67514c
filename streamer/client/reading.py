"""Reading what a topic holds now, from offset to offset, then stopping.

Knows nothing of what the records mean.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from kafka import KafkaConsumer, TopicPartition

from streamer.client.connection import REQUEST_TIMEOUT_MS, ClientError

#: A record as kafka-python gives it: topic, partition, offset, timestamp, key, value, headers.
Record = Any
Ranges = Mapping[TopicPartition, tuple[int, int]]


def bounds(consumer: KafkaConsumer, topic: str, partitions: int) -> dict[TopicPartition, tuple[int, int]]:
    """First offset and end of every partition, as they are now."""
    keys = [TopicPartition(topic, number) for number in range(partitions)]
    starts, ends = consumer.beginning_offsets(keys), consumer.end_offsets(keys)
    return {key: (starts[key], ends[key]) for key in keys}


def read(consumer: KafkaConsumer, ranges: Ranges) -> Iterator[Record]:
    """Yield the records start <= offset < end of each partition, each partition's in order.

    Raises `ClientError` when nothing comes for 30 seconds.
    """
    open_ranges = {key: end for key, (start, end) in ranges.items() if start < end}
    consumer.assign(list(open_ranges))
    for key in open_ranges:
        consumer.seek(key, ranges[key][0])
    patience = REQUEST_TIMEOUT_MS / 1000
    deadline = time.monotonic() + patience
    while open_ranges:
        for key, records in consumer.poll(timeout_ms=500).items():
            deadline = time.monotonic() + patience
            yield from (record for record in records if record.offset < ranges[key][1])
        # Compaction and transaction markers leave gaps, so the last offset may never come as a record.
        if done := [key for key, end in open_ranges.items() if consumer.position(key) >= end]:
            for key in done:
                del open_ranges[key]
            consumer.pause(*done)
        if time.monotonic() > deadline:
            raise ClientError(f"no record of {next(iter(open_ranges)).topic} came for {patience:.0f} s")
