"""The known hazards of Faust streams (upstream issues in brackets), each against a real Kafka."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer as ConfluentProducer

from streamer.settings import Settings
from tests.streamer.processes import Topics, Trickle, Worker, eventually, wrong

if TYPE_CHECKING:
    from streamer.local.kafka import LocalKafka

pytestmark = pytest.mark.fault


@pytest.fixture
def topics(kafka: LocalKafka, topic_prefix: str) -> Topics:
    return Topics(kafka.bootstrap, topic_prefix)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


def numbered(count: int, tag: str = "v") -> list[bytes]:
    return [f"{tag}{number}".encode() for number in range(count)]


def test_1_an_exception_ends_the_process_and_commits_nothing_of_its_batch(topics: Topics, log: Path) -> None:
    """Upstream acks the event that raised, and `take()` its whole buffer."""
    with Worker(log, topics.bootstrap, topics.prefix) as worker:
        worker.ready()
        topics.publish(numbered(20, "before"))
        topics.predictions(numbered(20, "before"))
        topics.publish([b"crash"])
        assert worker.wait() == 1
    assert "worker failed: RuntimeError: told to crash" in worker.text
    assert topics.uncommitted() >= 1
    after = numbered(20, "after")
    topics.publish(after)
    with Worker(log, topics.bootstrap, topics.prefix, "forgive") as worker:
        topics.predictions([b"crash", *after])
        eventually(lambda: topics.uncommitted() == 0, 10, "all committed")


def test_2_killed_workers_lose_nothing(topics: Topics, log: Path) -> None:
    """Offsets committed past unfinished work [#606] show as records that never arrive."""

    def start() -> Worker:
        return Worker(log, topics.bootstrap, topics.prefix)

    workers = [start().ready(), start()]
    try:
        with Trickle(topics) as trickle:
            for _ in range(3):
                done = topics.count()
                eventually(lambda done=done: topics.count() > done + 200, 40, "progress")  # type: ignore[misc]
                workers.pop(0).kill()
                workers.append(start())
        records = topics.predictions(trickle.values, within=60)
    finally:
        for worker in workers:
            worker.kill()
    assert all(record.key == record.value for record in records)


def test_2_joining_and_leaving_loses_and_repeats_nothing(topics: Topics, log: Path) -> None:
    """What waits for an agent when its partitions go is skipped, and upstream takes skipped for acked."""
    with (
        Worker(log, topics.bootstrap, topics.prefix) as first,
        Trickle(topics) as trickle,
        Worker(log, topics.bootstrap, topics.prefix) as second,
    ):
        eventually(lambda: first.metric("streamer_records_in_total") > 50, 30, "the first works")
        eventually(lambda: second.metric("streamer_records_in_total") > 50, 30, "the second works")
        assert first.stop()[0] == 0
        done = topics.count()
        eventually(lambda: topics.count() > done + 200, 30, "the second goes on")
        trickle.stop()
        topics.predictions(trickle.values)
        assert second.stop()[0] == 0
    assert topics.count() == len(trickle.values)
    assert topics.uncommitted() == 0


def test_3_and_4_settings_that_faust_must_not_choose() -> None:
    """Exactly-once is broken upstream [#323, #517]; others hang or make topics by themselves."""
    from streamer.app import create_app
    from tests.streamer.sample_worker import Copy

    (app,) = create_app(Settings(), [Copy()]).stages
    assert not app.in_transaction
    assert app.conf.processing_guarantee.name == "AT_LEAST_ONCE"
    assert not app.conf.stream_wait_empty
    assert not app.conf.topic_allow_declare
    assert app.conf.topic_disable_leader
    assert app.conf.broker_session_timeout == 10
    assert not app.tables
    assert all(agent.concurrency == 1 for agent in app.agents.values())


def test_4_no_topic_is_made(topics: Topics, log: Path) -> None:
    from kafka.admin import KafkaAdminClient

    with KafkaAdminClient(bootstrap_servers=topics.bootstrap) as admin:
        with Worker(log, topics.bootstrap, topics.prefix) as worker:
            worker.ready()
            topics.publish([b"one"])
            topics.predictions([b"one"])
            assert worker.stop()[0] == 0
        ours = {name for name in admin.list_topics() if name.startswith(topics.prefix)}
    assert ours == {topics.prefix + "tweets", topics.prefix + "predictions"}


def test_5_a_busy_stage_does_not_block_the_event_loop(topics: Topics, log: Path) -> None:
    with Worker(log, topics.bootstrap, topics.prefix) as worker:
        worker.ready()
        topics.publish([b"sleep:3"])
        eventually(lambda: worker.metric("streamer_lag_records") == 1, 10, "the batch is begun")
        for _ in range(5):
            assert worker.get("/healthz", within=0.5)[0] == 200
        topics.predictions([b"sleep:3"])


def test_6_a_worker_that_hangs_is_ended(topics: Topics, log: Path) -> None:
    """[#175, #640]"""
    with Worker(log, topics.bootstrap, topics.prefix, STREAMER_WATCHDOG__SECONDS="5") as worker:
        worker.ready()
        topics.publish([b"sleep:1000"])
        eventually(lambda: worker.get("/healthz")[0] == 503, 20, "not live")
        assert "copy" in wrong(worker.get("/healthz"))
        assert worker.wait() == 70
    assert "1 records wait and none was done" in worker.text
    assert topics.uncommitted() == 1


def test_7_nothing_of_faust_listens(topics: Topics, log: Path) -> None:
    with Worker(log, topics.bootstrap, topics.prefix) as worker:
        worker.ready()
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", 6066)) != 0
        for path in ("/", "/stats", "/router", "/tables"):
            assert worker.get(path)[0] == 404


def test_sigterm_finishes_what_is_under_way(topics: Topics, log: Path) -> None:
    with Worker(log, topics.bootstrap, topics.prefix) as worker:
        worker.ready()
        topics.publish([b"sleep:2"])
        eventually(lambda: worker.metric("streamer_lag_records") == 1, 10, "the batch is begun")
        status, seconds = worker.stop()
    assert (status, topics.count(), topics.uncommitted()) == (0, 1, 0)
    assert seconds < 10


def test_sigterm_does_not_wait_for_ever(topics: Topics, log: Path) -> None:
    with Worker(log, topics.bootstrap, topics.prefix) as worker:
        worker.ready()
        topics.publish([b"sleep:1000"])
        eventually(lambda: worker.metric("streamer_lag_records") == 1, 10, "the batch is begun")
        _, seconds = worker.stop()
    assert seconds < 10
    assert topics.uncommitted() == 1


def test_aborted_transactions_and_markers_are_no_lag(topics: Topics, log: Path) -> None:
    """Offsets have gaps: markers of transactions, and what an aborted one wrote."""
    producer = ConfluentProducer({"bootstrap.servers": topics.bootstrap, "transactional.id": topics.prefix})
    producer.init_transactions()
    with Worker(log, topics.bootstrap, topics.prefix) as worker:
        worker.ready()
        for number in range(6):
            producer.begin_transaction()
            for value in numbered(10, f"t{number}-"):
                producer.produce(topics.prefix + "tweets", key=value, value=value)
            producer.flush()
            if number % 2:
                producer.abort_transaction()
            else:
                producer.commit_transaction()
        kept = [value for number in (0, 2, 4) for value in numbered(10, f"t{number}-")]
        records = topics.predictions(kept)
        assert sorted(record.value for record in records) == sorted(kept)
        eventually(lambda: worker.metric("streamer_lag_records") == 0, 10, "no lag")
        assert worker.stop()[0] == 0


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_kafka_away_for_10_seconds(log: Path, how: str) -> None:
    """Nothing is lost, and nobody has to restart anything."""
    from streamer.local.kafka import LocalKafka

    values = numbered(2000)
    with LocalKafka() as kafka:
        topics = Topics(kafka.bootstrap, "")
        with Worker(log, kafka.bootstrap, "") as worker:
            worker.ready()
            producer = ConfluentProducer(
                {"bootstrap.servers": kafka.bootstrap, "acks": "all", "log_level": 0}
            )
            for number, value in enumerate(values):
                if number == len(values) // 2:
                    producer.poll(0)
                    getattr(kafka, how)()
                    time.sleep(10)
                    kafka.start()
                producer.produce("tweets", key=value, value=value)
            assert producer.flush(60) == 0
            topics.predictions(values, within=60)
            eventually(lambda: topics.uncommitted() == 0, 30, "all committed")
            assert worker.stop()[0] == 0


def test_kafka_away_for_too_long_ends_the_worker(log: Path) -> None:
    from streamer.local.kafka import LocalKafka

    with LocalKafka() as kafka:
        Topics(kafka.bootstrap, "")
        with Worker(log, kafka.bootstrap, "", STREAMER_KAFKA__OUTAGE_S="5") as worker:
            worker.ready()
            kafka.stop()
            assert worker.wait(30) == 70
    assert "Kafka has not answered for" in worker.text
