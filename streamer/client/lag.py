"""How far each stage is behind: the committed offsets of its consumer group against the ends of its topics.

Knows nothing of workers: it asks Kafka only, so it also sees stages that no worker runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from kafka import TopicPartition
from kafka.admin import KafkaAdminClient, OffsetSpec
from kafka.errors import RetriableError
from kafka.structs import OffsetAndMetadata

from streamer.client.connection import ClientError, admin_client, raw_consumer
from streamer.client.topics import STAGE_INPUTS, existing
from streamer.settings import Settings

#: Longest wait for the records whose ages are wanted.
_AGE_TIMEOUT_S = 5.0
#: Longest wait for the broker that keeps a group's offsets.
_COORDINATOR_S = 15.0
#: Pause between two looks at a stage that is waited for. One look costs about 10 ms.
_LOOK_S = 0.02


@dataclass(frozen=True)
class PartitionLag:
    """Records `committed <= offset < end` are not done. `seconds` is the age of the oldest of them."""

    stage: str
    group: str
    topic: str
    partition: int
    committed: int | None
    end: int
    records: int
    seconds: float | None


def lag(
    settings: Settings, stages: Collection[str] = tuple(STAGE_INPUTS), *, ages: bool = True
) -> list[PartitionLag]:
    """One entry per stage and partition of its topics. Raises `ClientError`.

    A partition that the stage never committed lags by all it holds. `ages=False` skips reading the records
    that `seconds` needs, and leaves it None.
    """
    with admin_client(settings) as admin:
        rows = [row for stage in stages for row in _stage(admin, settings, stage)]
    if not ages:
        return rows
    # One partition is read by one stage only, so its name is enough to find a row again.
    oldest = _timestamps(
        settings, {_key(settings, row): row.end - row.records for row in rows if row.records}
    )
    now = time.time() * 1000
    return [
        replace(row, seconds=max(0.0, (now - oldest[_key(settings, row)]) / 1000))
        if _key(settings, row) in oldest
        else replace(row, seconds=None if row.records else 0.0)
        for row in rows
    ]


def wait_until_done(
    admin: KafkaAdminClient,
    settings: Settings,
    stages: Sequence[str],
    patience_s: float,
    alive: Callable[[], None] = lambda: None,
) -> None:
    """Return once each stage, one after the other, has committed all that its topics hold.

    Name them in the order in which data flow: a stage's outputs are there before it commits. `alive` is
    called now and then, and raises when waiting has become pointless.
    Raises `ClientError` when no stage got any further for `patience_s` seconds.
    """
    for stage in stages:
        least, deadline = None, time.monotonic() + patience_s
        while left := sum(row.records for row in _stage(admin, settings, stage)):
            if least is None or left < least:
                least, deadline = left, time.monotonic() + patience_s
            if time.monotonic() > deadline:
                raise ClientError(
                    f"stage {stage} stands still: {left:,} records wait, none was done for {patience_s:.0f} s"
                )
            alive()
            time.sleep(_LOOK_S)


def _key(settings: Settings, row: PartitionLag) -> TopicPartition:
    return TopicPartition(settings.kafka.topic(row.topic), row.partition)


def _stage(admin: KafkaAdminClient, settings: Settings, stage: str) -> list[PartitionLag]:
    group = settings.kafka.group(stage)
    counts = existing(admin, settings, STAGE_INPUTS[stage])
    keys = [TopicPartition(settings.kafka.topic(name), p) for name, n in counts.items() for p in range(n)]
    if not keys:
        return []
    starts = admin.list_partition_offsets(dict.fromkeys(keys, OffsetSpec.EARLIEST))
    ends = admin.list_partition_offsets(dict.fromkeys(keys, OffsetSpec.LATEST))
    offsets = _committed(admin, group, keys)
    rows = []
    for key in keys:
        entry = offsets.get(key)
        committed = entry.offset if entry is not None and entry.offset >= 0 else None
        # Retention may have dropped records before the stage came to them.
        position = max(starts[key].offset, committed or 0)
        end = ends[key].offset
        topic = key.topic.removeprefix(settings.kafka.topic_prefix)
        records = max(0, end - position)
        rows.append(PartitionLag(stage, group, topic, key.partition, committed, end, records, None))
    return rows


def _committed(
    admin: KafkaAdminClient, group: str, keys: list[TopicPartition]
) -> Mapping[TopicPartition, OffsetAndMetadata]:
    """The group's offsets. A broker that has just started, or was never asked for any, is asked again."""
    deadline = time.monotonic() + _COORDINATOR_S
    while True:
        try:
            found: dict[TopicPartition, OffsetAndMetadata] = admin.list_group_offsets({group: keys})[group]
        except RetriableError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return found


def _timestamps(settings: Settings, positions: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """When the record at or after each position was published, in ms, where an answer came."""
    found: dict[TopicPartition, int] = {}
    if not positions:
        return found
    # One byte: a broker sends the first batch whole however large it is, and no more.
    with raw_consumer(settings, max_partition_fetch_bytes=1) as consumer:
        consumer.assign(list(positions))
        for key, position in positions.items():
            consumer.seek(key, position)
        deadline = time.monotonic() + _AGE_TIMEOUT_S
        while len(found) < len(positions) and time.monotonic() < deadline:
            for key, records in consumer.poll(timeout_ms=200).items():
                found.setdefault(key, records[0].timestamp)
                consumer.pause(key)
    return found
