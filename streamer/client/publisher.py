"""Publishing events: each to its topic, under the key that the contracts give it, durably.

Knows nothing of files (`streamer.client.sources`), nor of pace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError

from streamer.client.connection import REQUEST_TIMEOUT_MS, ClientError, raw_producer
from streamer.client.topics import KEY_FIELDS
from streamer.settings import Settings


class Publisher:
    """Sends records and counts them in `sent`, by topic. Made by `publisher`."""

    def __init__(self, producer: KafkaProducer, settings: Settings) -> None:
        self.sent: Counter[str] = Counter()
        self._producer = producer
        self._kafka = settings.kafka
        self._encode = msgspec.json.Encoder().encode
        self._failed: list[BaseException] = []

    def send(self, topic: str, event: msgspec.Struct) -> None:
        """Queue an event for `topic` (logical name). Raises `ClientError` when an earlier one failed."""
        key = KEY_FIELDS[topic]
        self.send_raw(
            self._kafka.topic(topic), getattr(event, key).encode() if key else None, self._encode(event)
        )
        self.sent[topic] += 1

    def send_raw(
        self,
        full_topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        """Queue bytes for a topic by its name on the broker. Raises `ClientError` as `send` does."""
        if self._failed:
            self._raise()
        try:
            future = self._producer.send(full_topic, value=value, key=key, headers=list(headers))
        except MessageSizeTooLargeError as error:
            raise ClientError(
                f"a record for {full_topic} of {len(value or b''):,} bytes is too large to send"
            ) from error
        future.add_errback(self._failed.append)

    def flush(self) -> None:
        """Return once everything sent so far is durable. Raises `ClientError` when something is not."""
        self._producer.flush(timeout=REQUEST_TIMEOUT_MS / 1000)
        if self._failed:
            self._raise()

    def _raise(self) -> None:
        error = self._failed[0]
        raise ClientError(f"Kafka did not take a record: {error}") from (
            error if isinstance(error, KafkaError) else None
        )


@contextmanager
def publisher(settings: Settings) -> Iterator[Publisher]:
    """A publisher while the context lasts; flushed when it ends without an exception."""
    with raw_producer(settings) as producer:
        sender = Publisher(producer, settings)
        yield sender
        sender.flush()
