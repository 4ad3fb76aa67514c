from __future__ import annotations

import time

import pytest
from kafka import TopicPartition
from kafka.errors import CoordinatorNotAvailableError
from kafka.structs import OffsetAndMetadata

from models.events import Follow
from streamer.client.connection import raw_consumer, raw_producer
from streamer.client.lag import PartitionLag, _committed, lag
from streamer.client.publisher import publisher
from streamer.client.topics import STAGE_INPUTS
from streamer.partitions import partition_of
from streamer.settings import Settings
from streamer.stages import STAGES


def by_partition(rows: list[PartitionLag]) -> dict[int, PartitionLag]:
    return {row.partition: row for row in rows}


def test_a_stage_that_never_ran_lags_by_all_there_is(created: Settings) -> None:
    with publisher(created) as sender:
        for _ in range(4):
            sender.send("follows", Follow(follower_id="1", author_id="a", action="follow", at=0))
    rows = by_partition(lag(created, ["follows"]))
    here = partition_of(b"a", 3)
    assert {partition: row.records for partition, row in rows.items()} == {
        partition: 4 if partition == here else 0 for partition in range(3)
    }
    assert rows[here].committed is None
    assert rows[here].group == created.kafka.group("follows")
    age = rows[here].seconds
    assert age is not None
    assert 0 <= age < 60


def test_lag_is_what_the_group_has_not_committed_and_how_old_it_is(created: Settings) -> None:
    topic, here = created.kafka.topic("follows"), TopicPartition(created.kafka.topic("follows"), 0)
    now = int(time.time() * 1000)
    with raw_producer(created) as producer:
        for minutes in (30, 20, 10):
            producer.send(topic, b"x", partition=0, timestamp_ms=now - minutes * 60_000)
        producer.flush()
    with raw_consumer(created, created.kafka.group("follows")) as consumer:
        consumer.commit({here: OffsetAndMetadata(1, "", -1)})
    row = by_partition(lag(created, ["follows"]))[0]
    assert (row.committed, row.end, row.records) == (1, 3, 2)
    assert row.seconds is not None
    assert 20 * 60 <= row.seconds < 21 * 60
    assert by_partition(lag(created, ["follows"], ages=False))[0].seconds is None


def test_all_stages_are_known_with_the_topics_they_read(created: Settings) -> None:
    assert set(STAGE_INPUTS) == set(STAGES)
    seen = {(row.stage, row.topic) for row in lag(created)}
    assert seen == {(stage, topic) for stage, names in STAGE_INPUTS.items() for topic in names}


def test_without_topics_there_is_no_lag(settings: Settings) -> None:
    assert lag(settings) == []


class Admin:
    """Answers for groups only when it has been asked often enough."""

    def __init__(self, failures: int) -> None:
        self._failures = failures

    def list_group_offsets(self, specs: dict[str, list[TopicPartition]]) -> dict[str, dict[object, object]]:
        self._failures -= 1
        if self._failures >= 0:
            raise CoordinatorNotAvailableError
        return {group: {} for group in specs}


def test_a_broker_that_never_kept_offsets_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _committed(Admin(failures=2), "group", []) == {}
    monkeypatch.setattr("streamer.client.lag._COORDINATOR_S", 0.0)
    with pytest.raises(CoordinatorNotAvailableError):
        _committed(Admin(failures=9), "group", [])
