"""Reads predictions in a thread of its own, so that they never pile up while events are published.

Knows nothing of what becomes of them.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

import msgspec
from kafka import KafkaConsumer, TopicPartition

from models.events import Prediction
from streamer.client.connection import ClientError, raw_consumer
from streamer.client.subscriber import decode_columns, decode_pair, is_columnar, stand_at
from streamer.client.topics import require
from streamer.settings import Settings

#: Called in the collector's thread with tweet, users, their retweet probabilities, and the time of arrival.
Arrival = Callable[[str, Sequence[str], Sequence[float], float], None]
#: Longest wait for the last predictions, and for the thread.
_CLOSE_S = 30.0


class Collector:
    """A context: predictions published from its beginning on are handed over until `finish`.

    `count` is how many came. Raises `ClientError` on entering, in `check` and in `finish` when Kafka fails.
    """

    def __init__(self, settings: Settings, arrival: Arrival) -> None:
        self.count = 0
        #: Records that are no predictions.
        self.unreadable = 0
        self._settings = settings
        self._arrival = arrival
        self._ready = threading.Event()
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="predictions", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        if not self._ready.wait(_CLOSE_S):
            raise ClientError(f"no consumer of predictions after {_CLOSE_S:.0f} s")
        self.check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(_CLOSE_S)

    def check(self) -> None:
        """Raise what ended the thread, if something did."""
        if self._error is not None:
            raise self._error

    def finish(self) -> None:
        """Return once all that is published by now was handed over."""
        self._stop.set()
        self._thread.join(_CLOSE_S)
        self.check()
        if self._thread.is_alive():
            raise ClientError(f"predictions are still arriving after {_CLOSE_S:.0f} s")

    def _run(self) -> None:
        try:
            topic = self._settings.kafka.topic("predictions")
            count = require(self._settings, ["predictions"])["predictions"]
            partitions = [TopicPartition(topic, number) for number in range(count)]
            with raw_consumer(self._settings) as consumer:
                stand_at(consumer, partitions, beginning=False)
                self._ready.set()
                while not self._stop.is_set():
                    self._poll(consumer)
                # What was published by now is still to come; `finish` waits only so long.
                ends = consumer.end_offsets(partitions)
                deadline = time.monotonic() + _CLOSE_S
                while time.monotonic() < deadline and any(
                    consumer.position(key) < end for key, end in ends.items()
                ):
                    self._poll(consumer)
        except BaseException as error:
            self._error = error  # for the thread that asks
        finally:
            self._ready.set()

    def _poll(self, consumer: KafkaConsumer) -> None:
        for records in consumer.poll(timeout_ms=100).values():
            now = time.time()
            for record in records:
                try:
                    self._hand_over(record.value or b"", now)
                except (msgspec.DecodeError, UnicodeDecodeError):
                    self.unreadable += 1

    def _hand_over(self, value: bytes, now: float) -> None:
        if is_columnar(value):
            columns = decode_columns(value)
            self.count += len(columns.users)
            self._arrival(columns.tweet_id, columns.users, columns.retweet, now)
        else:
            pair: Prediction = decode_pair(value)
            self.count += 1
            self._arrival(pair.tweet_id, [pair.user_id], [pair.retweet], now)
