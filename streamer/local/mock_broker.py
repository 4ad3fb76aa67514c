"""librdkafka's mock broker: a Kafka that needs nothing installed, for the demo and quick tests.

Not a Kafka to measure or to rely on: memory only, 5 MiB per partition and then the oldest records vanish
silently, topics appear on the first metadata request with 4 partitions (there is no CreateTopics), no
read_committed, and an empty fetch sleeps its whole max-wait. kafka-python needs `api_version=(2, 3)`.

It runs inside this process, in a C thread of librdkafka that never takes Python's global lock: a busy owner
does not slow it, it costs no second interpreter, and it cannot be left behind. Other processes reach it over
TCP like any broker.
"""

from __future__ import annotations

from typing import Self

from confluent_kafka import KafkaException, Producer

from streamer.local.process import LocalServerError

#: What kafka-python must be told, since it cannot find it out from this broker.
API_VERSION = (2, 3)


class MockBroker:
    """A mock broker on localhost while the context lasts. `bootstrap` is its address."""

    def __init__(self, brokers: int = 1) -> None:
        self._brokers = brokers
        self._owner: Producer | None = None
        self.bootstrap = ""

    def start(self) -> Self:
        """Start, and learn the address. Raises `LocalServerError` when no socket can be opened."""
        # The cluster lives as long as the client that asked for it.
        owner = Producer({"test.mock.num.brokers": self._brokers, "log_level": 3})
        try:
            brokers = owner.list_topics(timeout=10).brokers.values()
        except KafkaException as error:
            raise LocalServerError(f"the mock broker did not answer: {error}") from error
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
        self._owner = owner
        return self

    def close(self) -> None:
        """End it; every record is gone."""
        self._owner = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()
