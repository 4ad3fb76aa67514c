"""Redis and Kafka away for 10 seconds in the middle of a stream: all goes on by itself, nothing is lost."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from streamer.local.kafka import LocalKafka
from streamer.local.redis import LocalRedis
from streamer.local.worker import LocalWorker
from tests.faults.stream import Stream, settings_for
from tests.models.tiny import tiny_bundle
from tests.streamer.processes import eventually

pytestmark = pytest.mark.fault

AWAY_S = 10.0
SLICE = 100
STAGES = ("follows", "users", "embed", "score")


class Rig:
    """One worker of all stages on servers of its own."""

    def __init__(self, flow: Stream, kafka: LocalKafka, redis: LocalRedis, worker: LocalWorker) -> None:
        self.flow, self.kafka, self.redis, self.worker = flow, kafka, redis, worker

    def begin(self) -> None:
        """Publish, and return while most of it is not done."""
        before = len(self.flow.found)
        self.publish()
        self.flow.await_pairs(before + 100)
        assert not self.flow.expected <= self.flow.found.keys(), "all was done already"

    def publish(self) -> None:
        """Tweets, and engagements with them."""
        first = len(self.flow.published)
        self.flow.publish(SLICE)
        self.flow.engage(first, SLICE)

    @contextmanager
    def outage(self, server: LocalKafka | LocalRedis) -> Iterator[None]:
        """Kill the server, and have it back a while after what is done meanwhile."""
        server.kill()
        yield
        time.sleep(AWAY_S)  # not to wait for something: this is the outage
        server.start()

    def recover(self) -> None:
        """All arrives, without a restart and without a dead letter."""
        self.flow.await_all()
        self.flow.done(*STAGES, alive=self.worker.check)
        eventually(self.worker.answers, 10, "ready again")
        assert self.flow.records("dead-letters") == 0
        self.flow.check_values()


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    folder: Path = tmp_path_factory.mktemp("outages")
    tiny_bundle(folder / "bundle")
    with LocalKafka() as kafka, LocalRedis(appendonly=True) as redis, ExitStack() as stack:
        settings = settings_for(kafka.bootstrap, redis.url, folder / "bundle")
        flow = Stream(settings)
        with flow:
            worker = stack.enter_context(LocalWorker(settings, folder / "worker"))
            flow.follow(worker.check)
        yield Rig(flow, kafka, redis, worker)


def test_redis_away_for_10_seconds(rig: Rig) -> None:
    pid, logged = rig.worker.pid, len(rig.worker.log.read_text())
    with rig.flow:
        rig.begin()
        with rig.outage(rig.redis):
            rig.publish()  # which both `embed` and `users` then wait with, whatever was done before
        rig.recover()
    assert rig.worker.pid == pid
    log = rig.worker.log.read_text()[logged:].splitlines()
    # Each stage has a connection of its own; all that work notice.
    away = [line for line in log if " WARNING " in line and " is away (" in line]
    back = [line for line in log if " INFO " in line and re.search(r" is back after \d+\.\d s$", line)]
    assert 2 <= len(away) == len(back) <= len(STAGES)
    assert not [line for line in log if line not in away and " INFO " not in line]


def test_kafka_away_for_10_seconds(rig: Rig) -> None:
    pid, logged = rig.worker.pid, len(rig.worker.log.read_text())
    with rig.flow:
        rig.begin()
    with rig.outage(rig.kafka):
        pass
    with rig.flow:
        rig.flow.publish(SLICE)
        rig.recover()
    assert rig.worker.pid == pid
    log = rig.worker.log.read_text()[logged:].splitlines()
    ours = [line for line in log if " streamer." in line and ": reads " not in line]
    assert len(ours) == 2
    assert " WARNING " in ours[0]
    assert f"Kafka at {rig.kafka.bootstrap} does not answer; waiting up to 60 s" in ours[0]
    assert " INFO " in ours[1]
    assert re.search(r"answers again after \d+\.\d s$", ours[1])
    # aiokafka has its say as well, but does not drown ours.
    assert len(log) < 40, "\n".join(log)
