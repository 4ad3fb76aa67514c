"""Local servers: they answer, keep their data over SIGKILL, and do not outlive whoever started them."""

from __future__ import annotations

import importlib.util
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis
from kafka import KafkaConsumer, KafkaProducer
from kafka.admin import KafkaAdminClient, NewTopic
from redis.backoff import NoBackoff
from redis.retry import Retry

from streamer.local.kafka import LocalKafka
from streamer.local.mock_broker import API_VERSION, MockBroker
from streamer.local.process import LocalServerError, free_port
from streamer.local.redis import LocalRedis, redis_binary

VALUES = [b"%d" % i for i in range(100)]


def produce(bootstrap: str, topic: str, values: list[bytes], **config: object) -> None:
    producer = KafkaProducer(bootstrap_servers=bootstrap, **config)
    sent = [producer.send(topic, value) for value in values]
    producer.flush()
    assert all(future.succeeded() for future in sent)
    producer.close()


def consume(bootstrap: str, topic: str, count: int, **config: object) -> set[bytes]:
    consumer = KafkaConsumer(
        topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest", consumer_timeout_ms=20_000, **config
    )
    values: set[bytes] = set()
    for message in consumer:
        values.add(message.value)
        if len(values) == count:
            break
    consumer.close()
    return values


def create(bootstrap: str, topic: str) -> None:
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        admin.create_topics([NewTopic(topic, 2, 1)])


class TestKafka:
    def test_records_and_groups(self, kafka: LocalKafka, topic_prefix: str) -> None:
        topic = topic_prefix + "x"
        create(kafka.bootstrap, topic)
        produce(kafka.bootstrap, topic, VALUES)
        assert consume(kafka.bootstrap, topic, 100, group_id=topic_prefix + "g") == set(VALUES)

    def test_no_topic_appears_unasked(self, kafka: LocalKafka, topic_prefix: str) -> None:
        with KafkaAdminClient(bootstrap_servers=kafka.bootstrap) as admin:
            admin.describe_topics([topic_prefix + "never"])
            assert topic_prefix + "never" not in admin.list_topics()

    @pytest.mark.kafka
    @pytest.mark.fault
    def test_acknowledged_records_survive_sigkill_on_the_same_port(self, kafka: LocalKafka) -> None:
        del kafka  # only for its skip where there is no Java
        with LocalKafka() as own:
            address = own.bootstrap
            create(address, "x")
            produce(address, "x", VALUES, acks="all")
            own.kill()
            assert not own.running
            own.start()
            assert own.bootstrap == address
            assert consume(address, "x", 100) == set(VALUES)


@pytest.mark.redis
class TestRedis:
    @pytest.mark.parametrize(("appendonly", "kept"), [(False, None), (True, b"1")])
    def test_sigkill_and_restart(self, tmp_path: Path, appendonly: bool, kept: bytes | None) -> None:
        with LocalRedis(tmp_path, appendonly=appendonly) as server:
            with redis.Redis.from_url(server.url) as client:
                client.set("a", 1)
            server.kill()
            server.start()
            with redis.Redis.from_url(server.url) as client:
                assert client.get("a") == kept

    def test_password(self) -> None:
        with LocalRedis(password="s3cret") as server:
            with (
                redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)) as client,
                pytest.raises(redis.AuthenticationError),
            ):
                client.ping()
            with redis.Redis.from_url(server.url) as client:
                assert client.ping()

    def test_close_leaves_nothing(self) -> None:
        server = LocalRedis().start()
        process, folder = server.pid, server.data_dir
        server.close()
        assert not folder.exists()
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
        with pytest.raises(LocalServerError, match="not running"):
            _ = server.pid

    def test_dies_with_its_owner(self) -> None:
        program = (
            "import sys, time; from streamer.local.redis import LocalRedis\n"
            "server = LocalRedis().start(); print(server.port, server.data_dir, flush=True); sys.stdin.read()"
        )
        owner = subprocess.Popen(
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert owner.stdin is not None
        assert owner.stdout is not None
        port, folder = owner.stdout.readline().decode().split()
        with socket.create_connection(("127.0.0.1", int(port))) as connection:
            owner.send_signal(signal.SIGKILL)
            owner.wait()
            assert select.select([connection], [], [], 10.0)[0], "Redis outlived its owner"
            assert connection.recv(1) == b""
        deadline = time.monotonic() + 10.0
        while Path(folder).exists():
            assert time.monotonic() < deadline, "the data outlived their owner"
        owner.stdin.close()
        owner.stdout.close()

    def test_says_why_it_cannot_start(self, tmp_path: Path) -> None:
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", free_port()))
            taken.listen()
            with pytest.raises(LocalServerError, match="is taken"):
                LocalRedis(tmp_path, port=taken.getsockname()[1]).start()

    def test_says_what_to_install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shutil, "which", lambda _: None)
        monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
        with pytest.raises(LocalServerError, match="install"):
            redis_binary()


def test_mock_broker_serves_other_processes() -> None:
    program = (
        "import sys; from kafka import KafkaConsumer\n"
        f"consumer = KafkaConsumer('x', bootstrap_servers=sys.argv[1], api_version={API_VERSION},"
        " auto_offset_reset='earliest', consumer_timeout_ms=20_000)\n"
        "print(next(consumer).value.decode()); consumer.close()"
    )
    with MockBroker() as broker:
        produce(broker.bootstrap, "x", [b"hello"], api_version=API_VERSION)
        reader = subprocess.run(
            [sys.executable, "-c", program, broker.bootstrap], capture_output=True, text=True, check=True
        )
    assert reader.stdout == "hello\n"
    host, port = broker.bootstrap.split(":")
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)))
