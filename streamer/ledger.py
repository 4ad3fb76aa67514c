"""What was read from Kafka and is under way, and what may be committed of it.

Knows nothing of consumers, nor of what the records mean.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

from faust.types import TP

from streamer.stage import Record


class Delivery:
    """One partition's records of one poll: `finish` it once nothing of them can be lost any more."""

    __slots__ = (
        "done", "first", "generation", "lost", "next_offset", "partition", "records", "topic", "waiting",
    )  # fmt: skip

    def __init__(
        self, topic: str, partition: int, records: Sequence[Record], generation: int = -1, end: int = 0
    ) -> None:
        self.topic = topic
        self.partition = partition
        self.records: Sequence[Record] = records
        #: Of the consumer group, when they were read: it grows with each rebalance.
        self.generation = generation
        #: Offsets have gaps (compaction, transaction markers), so they are read from the records.
        self.first = records[0].offset
        self.next_offset = records[-1].offset + 1
        #: Records of the partition behind these, by the end that came with the last fetch.
        self.waiting = max(0, end - self.next_offset)
        self.done = False
        #: Whether somebody else may have its records by now, or they will be read again.
        self.lost = False

    def finish(self) -> None:
        """Mark as done. Lets go of the records: what is behind an unfinished delivery may be much."""
        self.done = True
        self.records = ()

    def __repr__(self) -> str:
        return f"<{self.topic}[{self.partition}] {self.first}..{self.next_offset - 1}>"


class Ledger:
    """Deliveries not yet committed, per partition, in the order they were read.

    Says what may be committed: never past a delivery that is not done, in whatever order they finish.
    """

    def __init__(self) -> None:
        self._open: dict[TP, deque[Delivery]] = {}

    def add(self, tp: TP, delivery: Delivery) -> None:
        """Note a delivery as read. Must be called in offset order."""
        self._open.setdefault(tp, deque()).append(delivery)

    def committable(self, tp: TP) -> int | None:
        """Settle the deliveries done at the head; the offset after them, or None when there are none."""
        open_ = self._open.get(tp)
        offset = None
        while open_ and open_[0].done:
            offset = open_.popleft().next_offset
        return offset

    def oldest(self, tp: TP) -> Delivery | None:
        """The first delivery that is not done."""
        return next((delivery for delivery in self._open.get(tp, ()) if not delivery.done), None)

    def underway(self) -> int:
        """Records read and not done."""
        return sum(
            len(delivery.records)
            for deliveries in self._open.values()
            for delivery in deliveries
            if not delivery.done
        )

    def partitions(self) -> list[TP]:
        """Partitions with deliveries."""
        return list(self._open)

    def clear(self) -> None:
        """Forget all: the partitions will be read again from their committed offsets, or by somebody else."""
        self._open.clear()


def age_s(delivery: Delivery | None) -> float:
    """Seconds since the delivery's first record was published; 0 without one, or when the clocks disagree."""
    if delivery is None or delivery.records[0].timestamp < 0:
        return 0.0
    return max(0.0, time.time() - delivery.records[0].timestamp / 1000)
