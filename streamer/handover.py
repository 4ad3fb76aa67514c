"""What a stage puts out for another stage of the same worker goes there directly, not through Kafka.

A topic between two stages costs each call a produce, a fetch and a share of two commits: a fifth of what a
tweet waits, and a tenth of a worker's processor time where calls are small. What is handed over is done when
the other stage has its outputs durable in Kafka; until then its input is not committed. What the other stage
gives up (it stops, or a rebalance takes the partition away) goes through Kafka after all.
Knows nothing of what records mean, nor of how stages are run.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from streamer.ledger import Delivery
from streamer.stage import Block, Group, Headers


class _Record(NamedTuple):
    """See `streamer.stage.Record`. It has no place in Kafka."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class HandedOver(Delivery):
    """A group of one stage on its way through another. `done` says whether it got there, once it `ended`."""

    __slots__ = ("ended", "group")

    def __init__(self, group: Group, partition: int) -> None:
        timestamp = int(time.time() * 1000) if group.timestamp is None else group.timestamp
        pairs = zip(group.keys, group.values, strict=True)
        records = [_Record(-1, timestamp, key, value, group.headers) for key, value in pairs]
        super().__init__(group.topic, partition, records)
        self.group = group
        self.ended = asyncio.Event()

    def __repr__(self) -> str:
        return f"<{self.topic}[{self.partition}] handed over>"


class Reader(Protocol):
    """A stage that takes what is handed over."""

    def reads(self, topic: str, partition: int) -> bool:
        """Whether this partition of the topic (logical name) is its work now. Called in any thread."""

    async def take(self, deliveries: Iterable[Delivery]) -> None:
        """Have these processed, and each `HandedOver` among them ended; waits for room."""


class Onward(NamedTuple):
    """A group, and who reads it."""

    reader: Reader
    group: Group
    partition: int

    async def begin(self) -> HandedOver:
        """Hand it over; waits until the other stage has room."""
        delivery = HandedOver(self.group, self.partition)
        if self.reader.reads(delivery.topic, delivery.partition):
            await self.reader.take([delivery])
        else:
            delivery.ended.set()
        return delivery


def split(
    groups: Sequence[Group | Block], readers: Sequence[Reader]
) -> tuple[list[Group | Block], list[Onward]]:
    """What goes to Kafka, and what is handed over: groups for a partition that one of these reads."""
    through: list[Group | Block] = []
    onward: list[Onward] = []
    for group in groups:
        reader = None
        if isinstance(group, Group) and group.partition is not None and group.keys:
            topic, partition = group.topic, group.partition
            reader = next((reader for reader in readers if reader.reads(topic, partition)), None)
            if reader is not None:
                onward.append(Onward(reader, group, partition))
        if reader is None:
            through.append(group)
    return through, onward
