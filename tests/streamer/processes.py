"""Workers as real processes, and the topics around them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient, NewTopic

from streamer.local.process import free_port

ROOT = Path(__file__).parents[2]
PARTITIONS = 4
SAMPLE = (sys.executable, "-m", "tests.streamer.sample_worker")


def eventually(condition: Callable[[], bool], within: float, what: str) -> None:
    """Poll until the condition holds."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within:.0f} s: {what}"
        time.sleep(0.05)


class Worker:
    """A worker process. Its log is in `log`; leaving the context kills what is left."""

    def __init__(
        self, log: Path, bootstrap: str, prefix: str, *args: str, command: Iterable[str] = SAMPLE, **env: str
    ) -> None:
        self.log = log
        self.port = free_port()
        environment = {
            "STREAMER_KAFKA__BOOTSTRAP": bootstrap,
            "STREAMER_KAFKA__TOPIC_PREFIX": prefix,
            "STREAMER_KAFKA__GROUP_PREFIX": prefix,
            "STREAMER_KAFKA__SESSION_TIMEOUT_S": "6",
            "STREAMER_HTTP__PORT": str(self.port),
            "PYTHONPATH": str(ROOT),
        }
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [*command, *args], env=os.environ | environment | env, cwd=ROOT, stdout=out, stderr=out
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.kill()

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def get(self, path: str, within: float = 1.0) -> tuple[int, str]:
        """Status and body; 0 when nobody listens."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=within) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def metric(self, name: str) -> float:
        """Sum of a metric over its labels."""
        lines = [
            line for line in self.get("/metrics")[1].splitlines() if line.startswith((name + "{", name + " "))
        ]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def ready(self, within: float = 30.0) -> Self:
        def check() -> bool:
            assert self.process.poll() is None, f"worker ended:\n{self.text}"
            return self.get("/readyz")[0] == 200

        eventually(check, within, f"ready; {self.get('/readyz')}\n{self.text}")
        return self

    def wait(self, within: float = 30.0) -> int:
        return self.process.wait(within)

    def stop(self) -> tuple[int, float]:
        """SIGTERM: exit status and seconds."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.wait(15), time.monotonic() - started

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


class Topics:
    """`tweets` and `predictions` of one test."""

    def __init__(self, bootstrap: str, prefix: str) -> None:
        self.bootstrap, self.prefix = bootstrap, prefix
        with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
            admin.create_topics(
                [NewTopic(prefix + name, PARTITIONS, 1) for name in ("tweets", "predictions")]
            )

    def publish(self, values: Iterable[bytes]) -> None:
        """Durably, each with its value as its key."""
        with KafkaProducer(bootstrap_servers=self.bootstrap, acks="all", linger_ms=5) as producer:
            sent = [producer.send(self.prefix + "tweets", key=value, value=value) for value in values]
            for future in sent:
                future.get(30)

    def predictions(self, expected: Iterable[bytes], within: float = 30.0) -> list[Any]:
        """Every record of `predictions` until each expected value has arrived."""
        wanted, records = set(expected), []
        deadline = time.monotonic() + within
        with KafkaConsumer(
            self.prefix + "predictions", bootstrap_servers=self.bootstrap, auto_offset_reset="earliest"
        ) as consumer:
            while wanted:
                assert time.monotonic() < deadline, f"{len(wanted)} never arrived, e.g. {sorted(wanted)[:3]}"
                for batch in consumer.poll(200).values():
                    records += batch
                    wanted -= {record.value for record in batch}
        return records

    def count(self) -> int:
        """Records in `predictions`."""
        with KafkaConsumer(bootstrap_servers=self.bootstrap) as consumer:
            parts = [TopicPartition(self.prefix + "predictions", number) for number in range(PARTITIONS)]
            return sum(consumer.end_offsets(parts).values())

    def uncommitted(self, group: str = "copy") -> int:
        """Records of `tweets` past the group's committed offsets."""
        with KafkaConsumer(bootstrap_servers=self.bootstrap, group_id=self.prefix + group) as consumer:
            parts = [TopicPartition(self.prefix + "tweets", number) for number in range(PARTITIONS)]
            ends = consumer.end_offsets(parts)
            return sum(ends[part] - (consumer.committed(part) or 0) for part in parts)


class Trickle:
    """Publishes numbered values, 20 at a time, while the context lasts; `values` are those published."""

    def __init__(self, topics: Topics, pause: float = 0.05) -> None:
        self.values: list[bytes] = []
        self._topics, self._pause = topics, pause
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        topic = self._topics.prefix + "tweets"
        with KafkaProducer(bootstrap_servers=self._topics.bootstrap, acks="all") as producer:
            while not self._stop.wait(self._pause):
                values = [b"%d" % number for number in range(len(self.values), len(self.values) + 20)]
                for value in values:
                    producer.send(topic, key=value, value=value)
                producer.flush()
                self.values += values

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def __exit__(self, *_: object) -> None:
        self.stop()


def wrong(answer: tuple[int, str]) -> dict[str, str]:
    """What a check found wrong."""
    return dict(json.loads(answer[1])["wrong"])
