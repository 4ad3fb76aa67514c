"""Tweets published at a steady rate, and when each of their predictions could be read.

Tweets come at random times (exponential gaps), as from people who know nothing of each other. A consumer on
the same machine reads all predictions; a prediction is visible when that consumer has it.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

import msgspec
import numpy as np
from confluent_kafka import Consumer, KafkaError, TopicPartition
from numpy.typing import NDArray

from benchmarks.rig import Stream
from streamer.settings import Settings

_FETCH: Final = 20_000


class _Head(msgspec.Struct):
    tweet_id: str


_head = msgspec.json.Decoder(_Head).decode


@dataclass(frozen=True)
class Seen:
    """Of tweet `number`, published at `sent`: at each time of `at`, so many predictions (`counts`) came.

    Seconds of one monotonic clock.
    """

    number: int
    sent: float
    at: list[float]
    counts: list[int]

    @property
    def last(self) -> float:
        """When the last prediction came."""
        return max(self.at, default=self.sent)


class Watch:
    """Reads `predictions` from the end as it is on entering, in a thread, as long as the context lasts."""

    def __init__(self, settings: Settings) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": settings.kafka.bootstrap,
                "group.id": "bench-watch",
                "fetch.wait.max.ms": 50,
            }
        )
        self._topic = settings.kafka.topic("predictions")
        self._partitions = settings.kafka.partitions
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._seen: dict[str, tuple[list[float], list[int]]] = {}
        self.predictions = 0

    def __enter__(self) -> Self:
        parts = [TopicPartition(self._topic, number) for number in range(self._partitions)]
        for part in parts:
            part.offset = self._consumer.get_watermark_offsets(part)[1]
        self._consumer.assign(parts)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._consumer.close()

    def of(self, tweet_id: str) -> tuple[list[float], list[int]]:
        """When predictions of the tweet came, and how many each time."""
        return self._seen.get(tweet_id, ([], []))

    def _read(self) -> None:
        while not self._stop.is_set():
            messages = self._consumer.consume(_FETCH, timeout=0.002)
            now = time.perf_counter()
            counts: dict[str, int] = {}
            for message in messages:
                if message.error():
                    if message.error().code() != KafkaError._PARTITION_EOF:
                        raise RuntimeError(str(message.error()))
                    continue
                id_ = _head(message.value()).tweet_id
                counts[id_] = counts.get(id_, 0) + 1
            for id_, many in counts.items():
                at, how_many = self._seen.setdefault(id_, ([], []))
                at.append(now)
                how_many.append(many)
            self.predictions += sum(counts.values())


def paced(
    stream: Stream,
    numbers: Sequence[int],
    rate: float,
    *,
    between: Mapping[float, int] | None = None,
    seed: int = 1,
) -> list[Seen]:
    """Publish these tweets at `rate` a second on average, and others (`between`: seconds after the start ->
    number) at their times; return when all predictions of all of them were seen.

    Raises `LocalServerError` when they do not come.
    """
    gaps = np.random.default_rng(seed).exponential(1 / rate, len(numbers))
    due = sorted([*zip(np.cumsum(gaps).tolist(), numbers, strict=True), *(between or {}).items()])
    due_numbers = [number for _, number in due]
    tweets = dict(zip(due_numbers, stream.rig.workload.tweets(due_numbers), strict=True))
    wanted = stream.rig.workload.readers(tweets)
    expected = stream.visible() + wanted
    sent: dict[int, float] = {}
    with Watch(stream.settings) as watch, _uncollected():
        started = time.perf_counter()
        for at, number in due:
            while (left := started + at - time.perf_counter()) > 0:
                time.sleep(min(left, 0.01))
            sent[number] = time.perf_counter()
            stream.send(tweets[number])
        stream.flush()
        stream.wait(expected)
        stream.until(lambda: watch.predictions >= wanted, f"{wanted:,} predictions read", 60)
    return [Seen(number, at, *watch.of(tweets[number].tweet_id)) for number, at in sent.items()]


@contextmanager
def _uncollected() -> Iterator[None]:
    """No collection of cycles here meanwhile: it walks all that is imported, some 250 ms every 15 s, and what
    is published and read in that time would seem late.
    """
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def latencies(seen: Iterable[Seen]) -> NDArray[np.float64]:
    """Publish to visible of every prediction, in ms."""
    parts = [np.repeat(np.array(one.at) - one.sent, one.counts) for one in seen if one.at]
    out: NDArray[np.float64] = np.concatenate(parts) * 1000
    return out
