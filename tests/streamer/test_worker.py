from __future__ import annotations

import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import faust
import pytest
from confluent_kafka import Consumer as ConfluentConsumer
from confluent_kafka import Producer as ConfluentProducer

import streamer.app
import streamer.runner
from streamer.app import WorkerApp, create_app
from streamer.local.mock_broker import MockBroker
from streamer.settings import KafkaSettings, Settings, SettingsError
from tests.streamer.processes import Topics, Worker, eventually, wrong
from tests.streamer.sample_worker import Copy

if TYPE_CHECKING:
    from streamer.local.kafka import LocalKafka


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "worker.log"


def last_line(worker: Worker) -> str:
    return worker.text.splitlines()[-1]


def test_works_counts_and_stops(kafka: LocalKafka, topic_prefix: str, log: Path) -> None:
    topics = Topics(kafka.bootstrap, topic_prefix)
    values = [b"%d" % number for number in range(500)]
    with Worker(log, kafka.bootstrap, topic_prefix) as worker:
        worker.ready()
        topics.publish(values)
        topics.predictions(values)
        eventually(lambda: topics.uncommitted() == 0, 10, "all committed")
        assert worker.metric("streamer_records_in_total") == 500
        assert worker.metric("streamer_records_out_total") == 500
        assert worker.metric("streamer_assigned_partitions") == 4
        assert worker.metric("streamer_end_to_end_seconds_count") >= 1
        status, seconds = worker.stop()
    assert status == 0, worker.text
    assert seconds < 10


def test_faust_s_own_command_runs_it_too(kafka: LocalKafka, topic_prefix: str, log: Path) -> None:
    topics = Topics(kafka.bootstrap, topic_prefix)
    command = (sys.executable, "-m", "faust", "-A", "tests.streamer.sample_app", "worker", "-l", "info")
    with Worker(log, kafka.bootstrap, topic_prefix, command=command) as worker:
        worker.ready()
        topics.publish([b"one"])
        topics.predictions([b"one"])
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", 6066)) != 0  # the port of Faust's web views
        assert worker.stop()[0] == 0
    assert topics.uncommitted() == 0


def test_works_on_the_mock_broker(log: Path) -> None:
    with MockBroker() as broker:
        producer = ConfluentProducer({"bootstrap.servers": broker.bootstrap, "log_level": 0})
        for topic in ("tweets", "predictions"):
            producer.list_topics(topic, timeout=10)  # this is what makes it there
        consumer = ConfluentConsumer(
            {"bootstrap.servers": broker.bootstrap, "group.id": "any", "auto.offset.reset": "earliest"}
        )
        consumer.subscribe(["predictions"])
        isolation = {"STREAMER_KAFKA__ISOLATION_LEVEL": "read_uncommitted"}
        with Worker(log, broker.bootstrap, "", **isolation) as worker:
            worker.ready()
            wanted = {b"%d" % number for number in range(100)}
            for value in wanted:
                producer.produce("tweets", key=value, value=value)
            assert producer.flush(10) == 0

            def all_arrived() -> bool:
                message = consumer.poll(0.1)
                wanted.discard(message.value() if message else None)
                return not wanted

            eventually(all_arrived, 30, "all predictions")
            assert worker.stop()[0] == 0
        consumer.close()


def test_starts_that_cannot_succeed_say_why_in_their_last_line(
    kafka: LocalKafka, topic_prefix: str, log: Path
) -> None:
    def last_words(*args: str, bootstrap: str = kafka.bootstrap, **env: str) -> str:
        with Worker(log, bootstrap, topic_prefix, *args, **env) as worker:
            assert worker.wait() == 1
            assert worker.text.count("Traceback") == (2 if args else 0)
            return last_line(worker)

    assert last_words().endswith(f"has no topic {topic_prefix}tweets: run `streamer topics create`")
    away = last_words(bootstrap="127.0.0.1:1", STREAMER_KAFKA__OUTAGE_S="1")
    assert "worker failed: Kafka at 127.0.0.1:1 did not answer for 1 s" in away
    assert last_words(STREAMER_KAFKA__BOOTSTRA="x").startswith("settings: kafka.bootstra")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert f"cannot listen on 127.0.0.1:{port}" in last_words(STREAMER_HTTP__PORT=port)


def test_a_stage_that_cannot_open_ends_the_worker(kafka: LocalKafka, topic_prefix: str, log: Path) -> None:
    Topics(kafka.bootstrap, topic_prefix)
    with Worker(log, kafka.bootstrap, topic_prefix, "refuse-to-open") as worker:
        assert worker.wait() == 1
    assert last_line(worker).endswith("worker failed: ValueError: the model is broken")


def test_a_worker_without_partitions_is_ready_and_waits(
    kafka: LocalKafka, topic_prefix: str, log: Path
) -> None:
    Topics(kafka.bootstrap, topic_prefix)
    workers = [Worker(log, kafka.bootstrap, topic_prefix) for _ in range(5)]  # one more than partitions
    try:
        for worker in workers:
            eventually(lambda w=worker: w.get("/readyz")[0] == 200, 40, f"ready\n{worker.text}")  # type: ignore[misc]
        eventually(
            lambda: sorted(w.metric("streamer_assigned_partitions") for w in workers) == [0, 1, 1, 1, 1],
            30,
            "the partitions are dealt",
        )
        assert all(not wrong(worker.get("/readyz")) for worker in workers)
    finally:
        for worker in workers:
            worker.kill()


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    registry = SimpleNamespace(
        STAGES=("embed", "score"),
        build_all=lambda names, _: [SimpleNamespace(name=name, topics=("tweets",)) for name in names],
    )
    monkeypatch.setitem(sys.modules, "streamer.stages", registry)
    return registry


@pytest.mark.usefixtures("registry")
async def test_all_stages_run_unless_some_are_named() -> None:
    assert [app.name for app in create_app(Settings()).stages] == ["embed", "score"]
    (score,) = create_app(Settings(stages=("score",))).stages
    assert score.conf.id == "retweet-streamer.score"
    with pytest.raises(SettingsError, match="no stage scroe; there are embed, score"):
        create_app(Settings(stages=("scroe",)))


@pytest.mark.usefixtures("registry")
async def test_the_module_s_app_is_made_from_the_environment_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMER_STAGES", "embed")
    monkeypatch.delitem(vars(streamer.app), "app", raising=False)
    app = streamer.app.app
    assert isinstance(app, WorkerApp)
    assert isinstance(app, faust.App)
    assert [stage.name for stage in app.stages] == ["embed"]
    assert streamer.app.app is app
    with pytest.raises(AttributeError):
        _ = streamer.app.nothing
    monkeypatch.delitem(vars(streamer.app), "app")


async def test_stages_have_groups_of_their_own_and_read_with_the_prefix() -> None:
    settings = Settings(kafka=KafkaSettings(topic_prefix="t.", group_prefix="g."))
    (app,) = create_app(settings, [Copy()]).stages
    assert app.conf.id == "g.copy"
    (agent,) = app.agents.values()
    assert list(agent.get_topic_names()) == ["t.tweets"]


def test_a_slow_stage_stops_the_reading(kafka: LocalKafka, topic_prefix: str, log: Path) -> None:
    """What waits stays in Kafka: a bounded number of deliveries is in memory, whatever the backlog."""
    topics = Topics(kafka.bootstrap, topic_prefix)
    values = [b"sleep:6", *(b"%d" % number for number in range(20_000))]
    small = {"STREAMER_KAFKA__MAX_BATCH_RECORDS": "100", "STREAMER_KAFKA__MAX_PARTITION_FETCH_BYTES": "20000"}
    topics.publish(values)
    with Worker(log, kafka.bootstrap, topic_prefix, **small) as worker:
        worker.ready()
        # Every partition has more to read than fits, and all wait for the one that sleeps.
        underway = "streamer_underway_records"
        eventually(lambda: worker.metric(underway) > 100, 20, "several deliveries")
        # Begun; waiting; on their way to be begun and to wait.
        most = streamer.runner._UNFINISHED + streamer.app._WAITING_POLLS + 2

        def done() -> bool:
            assert worker.metric(underway) <= most * 100
            return worker.metric("streamer_records_in_total") == len(values)

        eventually(done, 60, "all done")
        topics.predictions(values)
        eventually(lambda: topics.uncommitted() == 0, 10, "all committed")
