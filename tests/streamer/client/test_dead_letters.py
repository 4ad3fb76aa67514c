from __future__ import annotations

import os
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import KafkaTimeoutError
from kafka.future import Future

from streamer.client import dead_letters
from streamer.client.connection import ClientError, raw_consumer, raw_producer
from streamer.client.dead_letters import DeadLetter, Filter
from streamer.client.reading import Record, bounds, read
from streamer.partitions import partition_of
from streamer.settings import Settings

ALL = Filter()


def bury(
    settings: Settings,
    value: bytes | None,
    reason: str = "bad-json",
    key: bytes | None = b"key-1",
    **over: object,
) -> None:
    """Put one dead letter where the stages put it, with the headers they give it."""
    headers: dict[str, object] = {
        "reason": reason,
        "error": "what the decoder said",
        "topic": "tweets",
        "partition": 2,
        "offset": 11,
        "attempts": 1,
        **over,
    }
    with raw_producer(settings) as producer:
        producer.send(
            settings.kafka.topic("dead-letters"),
            value,
            key=key,
            headers=[(name, str(text).encode()) for name, text in headers.items()],
        )
        producer.flush()


def records(settings: Settings, topic: str) -> list[Record]:
    with raw_consumer(settings) as consumer:
        return list(read(consumer, bounds(consumer, settings.kafka.topic(topic), 3)))


def listed(settings: Settings, wanted: Filter = ALL, *, replayed_too: bool = False) -> list[DeadLetter]:
    return list(dead_letters.list_letters(settings, wanted, replayed_too=replayed_too))


def test_a_letter_is_listed_with_where_it_came_from(created: Settings) -> None:
    bury(created, b"\xff{broken", attempts=2)
    [letter] = listed(created)
    assert (letter.reason, letter.error) == ("bad-json", "what the decoder said")
    assert (letter.topic, letter.partition, letter.offset, letter.attempts) == ("tweets", 2, 11, 2)
    assert (letter.key, letter.value) == (b"key-1", b"\xff{broken")
    assert letter.preview() == "\\xff{broken"


def test_a_replay_sends_the_original_once_with_one_more_attempt(created: Settings) -> None:
    bury(created, b"\xff{broken")
    assert dead_letters.replay(created, ALL, max_attempts=5).replayed == {"bad-json": 1}
    assert not dead_letters.replay(created, ALL, max_attempts=5).replayed
    [record] = records(created, "tweets")
    assert (record.key, record.value) == (b"key-1", b"\xff{broken")
    assert list(record.headers) == [("attempts", b"2")]
    assert listed(created) == []
    assert [letter.replayed for letter in listed(created, replayed_too=True)] == [True]


def test_a_tombstone_goes_back_as_one(created: Settings) -> None:
    bury(created, None, reason="tombstone", topic="users")
    dead_letters.replay(created, ALL, max_attempts=5)
    assert [(record.key, record.value) for record in records(created, "users")] == [(b"key-1", None)]


def test_what_a_filter_left_out_can_be_replayed_later(created: Settings) -> None:
    for i, reason in enumerate(["a", "b", "a", "c", "b"]):
        bury(created, b"%d" % i, reason=reason)
    only_b = Filter(reasons=frozenset({"b"}))
    assert dead_letters.replay(created, only_b, max_attempts=5).replayed == {"b": 2}
    assert [letter.value for letter in listed(created)] == [b"0", b"2", b"3"]
    assert dead_letters.replay(created, ALL, max_attempts=5, limit=1).replayed == {"a": 1}
    assert dead_letters.replay(created, ALL, max_attempts=5).replayed == {"a": 1, "c": 1}
    assert sorted(record.value for record in records(created, "tweets")) == [b"%d" % i for i in range(5)]


def test_filters_by_original_topic(created: Settings) -> None:
    bury(created, b"1", topic="follows")
    bury(created, b"2", topic="tweets")
    assert [letter.value for letter in listed(created, Filter(topics=frozenset({"follows"})))] == [b"1"]


def test_those_that_failed_too_often_or_have_no_way_back_stay(created: Settings) -> None:
    bury(created, b"1", attempts=3)
    bury(created, b"2", topic="elsewhere")
    bury(created, b"3", truncated=3_000_000)
    outcome = dead_letters.replay(created, ALL, max_attempts=3)
    assert not outcome.replayed
    assert (outcome.exhausted, outcome.impossible) == ({"bad-json": 1}, {"bad-json": 2})
    assert {letter.value: letter.truncated for letter in listed(created)} == {
        b"1": None,
        b"2": None,
        b"3": 3_000_000,
    }
    assert dead_letters.replay(created, ALL, max_attempts=4).replayed == {"bad-json": 1}


def _fail(monkeypatch: pytest.MonkeyPatch, values: set[bytes]) -> None:
    """Kafka does not answer when it is sent these."""
    send = KafkaProducer.send

    def fail(self: KafkaProducer, topic: str, value: bytes, *args: Any, **more: Any) -> Future:
        if value in values:
            return Future().failure(KafkaTimeoutError("away"))
        return send(self, topic, value, *args, **more)

    monkeypatch.setattr(KafkaProducer, "send", fail)


def test_nothing_counts_as_replayed_before_it_is_durable(
    created: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury(created, b"1")
    committed: list[object] = []
    monkeypatch.setattr(KafkaConsumer, "commit", lambda _self, offsets: committed.append(offsets))

    _fail(monkeypatch, {b"1"})
    with pytest.raises(ClientError, match="away"):
        dead_letters.replay(created, ALL, max_attempts=5)
    assert committed == []


def test_letters_that_their_topic_refuses_hold_up_no_others(created: Settings) -> None:
    large = os.urandom(1_500_000)  # more than `tweets` takes, less than `dead-letters`
    for value in (b"1", large, b"2"):
        bury(created, value)
    bury(created, b"no key, for a compacted topic", key=None, topic="users")
    users = [b"3", b"4", b"5", b"6", b"7"]  # of every partition: some share a batch with the one refused
    for value in users:
        bury(created, value, topic="users", key=value)
    assert {partition_of(user, 3) for user in users} == {0, 1, 2}
    outcome = dead_letters.replay(created, ALL, max_attempts=5)
    assert (outcome.replayed, outcome.impossible) == ({"bad-json": 7}, {"bad-json": 2})
    assert sorted(record.value or b"" for record in records(created, "tweets")) == [b"1", b"2"]
    assert sorted(record.value or b"" for record in records(created, "users")) == users
    left = {letter.value for letter in listed(created)}
    assert left == {large, b"no key, for a compacted topic"}
    # What was delivered is remembered.
    again = dead_letters.replay(created, ALL, max_attempts=5)
    assert (again.replayed, again.impossible) == ({}, {"bad-json": 2})


def test_what_was_delivered_is_remembered_when_the_rest_fails(
    created: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    bury(created, b"1")
    bury(created, b"2")
    _fail(monkeypatch, {b"2"})
    with pytest.raises(ClientError, match="away"):
        dead_letters.replay(created, ALL, max_attempts=5)
    assert [letter.value for letter in listed(created)] == [b"2"]


def test_a_limit_counts_what_is_sent(created: Settings) -> None:
    for value in (b"1", os.urandom(1_500_000), b"2", b"3"):
        bury(created, value)
    outcome = dead_letters.replay(created, ALL, max_attempts=5, limit=2)
    assert (outcome.replayed.total(), outcome.impossible.total()) == (2, 1)


def test_more_gaps_than_can_be_remembered_is_an_error_before_anything_is_sent(
    created: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamer.client.dead_letters.MAX_METADATA", 3)
    for i in range(5):
        bury(created, b"%d" % i, reason="ab"[i % 2])
    with pytest.raises(ClientError, match="too many gaps"):
        dead_letters.replay(created, Filter(reasons=frozenset({"b"})), max_attempts=5)
    assert records(created, "tweets") == []
