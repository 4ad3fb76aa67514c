from __future__ import annotations

import gc
import socket
import threading
import warnings
from typing import get_args

import pytest

from streamer.client import connection
from streamer.client.connection import ClientError, admin_client, raw_consumer, raw_producer
from streamer.client.reading import bounds, read
from streamer.settings import KafkaSettings, Settings


@pytest.mark.parametrize("client", [admin_client, raw_producer, raw_consumer])
def test_a_broker_that_never_answers_leaves_neither_thread_nor_socket(
    client: type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT_MS", 200)
    before = set(threading.enumerate())
    with socket.create_server(("127.0.0.1", 0)) as silent, warnings.catch_warnings():
        warnings.simplefilter("error")
        settings = Settings.load(kafka={"bootstrap": f"127.0.0.1:{silent.getsockname()[1]}"})
        with pytest.raises(ClientError, match="does not answer"), client(settings):
            pass
        gc.collect()
    assert set(threading.enumerate()) <= before


def test_an_address_that_is_none_is_said() -> None:
    settings = Settings.load(kafka={"bootstrap": "localhost:kafka"})
    with pytest.raises(ClientError, match="'localhost:kafka' is no host:port"), admin_client(settings):
        pass


@pytest.mark.parametrize("compression", get_args(KafkaSettings.model_fields["compression"].annotation))
def test_what_is_published_compressed_can_be_read(created: Settings, compression: str) -> None:
    kafka = created.kafka.model_copy(update={"compression": compression})
    topic = kafka.topic("tweets")
    with raw_producer(created.model_copy(update={"kafka": kafka})) as producer:
        for number in range(100):
            producer.send(topic, b"x" * 100, b"%d" % number)
        producer.flush()
    with raw_consumer(created) as consumer:
        found = {
            record.key: record.value for record in read(consumer, bounds(consumer, topic, kafka.partitions))
        }
    assert found == {b"%d" % number: b"x" * 100 for number in range(100)}
