from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from streamer.client import topics
from streamer.client.dead_letters import Filter, list_letters
from streamer.dead_letters import DeadLetters, attempts
from streamer.decoding import Reason
from streamer.producer import Producer
from streamer.settings import Settings
from streamer.stage import Batch, Group
from tests.streamer.stages.rig import FakeRecord

if TYPE_CHECKING:
    from streamer.local.kafka import LocalKafka

#: The most that a letter carries whole.
WHOLE = 2 * 2**20 - 2**14


def letter(key: bytes | None, value: bytes | None) -> Group:
    letters = DeadLetters("embed")
    batch = Batch("tweets", 3, [FakeRecord(value, key, 7)])
    letters.add(batch, batch.records[0], Reason.TOO_LARGE, "e" * 1_000)
    (group,) = letters.groups
    assert isinstance(group, Group)
    return group


def test_what_fits_leaves_as_it_came() -> None:
    value = os.urandom(WHOLE - 1)
    group = letter(b"k", value)
    assert (group.keys, group.values) == ([b"k"], [value])
    assert "truncated" not in dict(group.headers)


@pytest.mark.parametrize(
    ("key", "value"), [(b"k", b"v" * WHOLE), (b"k" * WHOLE, b"v"), (b"k" * (WHOLE + 1), None)]
)
def test_what_the_topic_would_refuse_is_cut_off_and_says_so(key: bytes, value: bytes | None) -> None:
    group = letter(key, value)
    assert group.keys == [key[: 2**16]]
    assert group.values == [value and value[: 2**16]]
    headers = dict(group.headers)
    assert headers["truncated"] == b"%d" % (len(key) + len(value or b""))
    # Where the original lies.
    assert (headers["topic"], headers["partition"], headers["offset"]) == (b"tweets", b"3", b"7")


@pytest.mark.parametrize("size", [WHOLE - 1, 3_000_000])
async def test_the_topic_takes_letters_of_any_original(
    kafka: LocalKafka, topic_prefix: str, size: int
) -> None:
    settings = Settings.load(
        kafka={"bootstrap": kafka.bootstrap, "topic_prefix": topic_prefix, "group_prefix": topic_prefix}
    )
    await asyncio.to_thread(topics.create, settings)
    producer = Producer(settings.kafka)
    await producer.start()
    try:
        await producer.send(await asyncio.to_thread(producer.pack, [letter(b"k", os.urandom(size))]))
    finally:
        await producer.stop()
    [found] = await asyncio.to_thread(lambda: list(list_letters(settings, Filter())))
    assert found.truncated == (None if size < WHOLE else size + 1)
    assert found.replayable == (size < WHOLE)


def test_attempts_that_nobody_counted_are_one() -> None:
    assert attempts([("attempts", b"3")]) == 3
    assert attempts([("attempts", b"x"), ("other", b"3")]) == 1
    assert attempts([("attempts", None)]) == 1  # type: ignore[list-item]  # Kafka has headers without a value
