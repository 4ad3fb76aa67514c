"""What one stage puts out for another of the same worker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from streamer import metrics
from streamer.freshness import Freshness
from streamer.handover import HandedOver, split
from streamer.ledger import Delivery
from streamer.runner import StageRunner
from streamer.settings import FreshnessSettings
from streamer.stage import Batch, Block, Group, Outputs
from tests.streamer.at_work import at_work
from tests.streamer.raw import Raw
from tests.streamer.test_runner import FakeProducer, Stage, runner_of


def group(*values: bytes, partition: int | None = 0, topic: str = "in") -> Group:
    return Group(topic, [b"k"] * len(values), values, partition, 1_234, [("h", b"1")])


def source(*offsets: int) -> Delivery:
    return Delivery("p.first", 3, [Raw(offset) for offset in offsets])


class First(Stage):
    """Asks the other for each record's offset, in one group per call."""

    name = "first"
    topics = ("first",)

    def __init__(self) -> None:
        super().__init__(self._ask)

    def _ask(self, batches: Sequence[Batch]) -> Outputs:
        values = [b"%d" % record.offset for batch in batches for record in batch.records]
        return Outputs([group(*values), group(b"elsewhere", partition=1), group(b"letter", topic="letters")])


class Second(Stage):
    """Copies values; what it was given is in `seen`."""

    def __init__(self) -> None:
        super().__init__(self._copy)
        self.seen: list[Batch] = []
        self.thrice = threading.Event()

    def _copy(self, batches: Sequence[Batch]) -> Outputs:
        self.seen += batches
        if len(self.seen) == 3:
            self.thrice.set()
        records = [record for batch in batches for record in batch.records]
        return Outputs([Group("out", [None] * len(records), [record.value for record in records])])


class Pair:
    """Two stages of one worker, of which the second reads partition 0 of what the first puts out."""

    def __init__(self) -> None:
        self.kafka, self.second_kafka, self.stage = FakeProducer(), FakeProducer(), Second()
        self.first = runner_of(First(), self.kafka)
        self.second = runner_of(self.stage, self.second_kafka)
        self.first.readers = [self.second]
        self.second.assigned = frozenset({("in", 0)})

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        async with at_work(self.first), at_work(self.second):
            yield


async def test_it_goes_there_and_what_others_read_goes_to_kafka() -> None:
    pair = Pair()
    asked = source(7, 8)
    before = metrics.records_handed_over.labels("first", "in")._value.get()
    async with pair.at_work():
        await pair.first.take([asked])
        await pair.first.drain(5)
    assert pair.second_kafka.sent == [[b"7", b"8"]]
    assert pair.kafka.sent == [(b"elsewhere",), (b"letter",)]
    (batch,) = pair.stage.seen
    assert (batch.topic, batch.partition, batch.handed) == ("in", 0, True)
    record = batch.records[0]
    assert (record.offset, record.timestamp, record.key, record.headers) == (-1, 1_234, b"k", [("h", b"1")])
    assert asked.done
    assert metrics.records_handed_over.labels("first", "in")._value.get() == before + 2


async def test_it_is_done_only_when_the_other_s_outputs_are_durable() -> None:
    pair = Pair()
    pair.second_kafka.open.clear()
    asked = source(7)
    async with pair.at_work():
        await pair.first.take([asked])
        await pair.kafka.sent_something.wait()
        await pair.first.drain(0.02)
        assert not asked.done
        pair.second_kafka.open.set()
        await pair.first.drain(5)
    assert asked.done


async def test_of_what_takes_several_calls_all_are_done_first() -> None:
    pair = Pair()
    pair.second_kafka.open.clear()

    def one_by_one(batches: Sequence[Batch]) -> Outputs:
        (batch,) = batches
        rest = batch.records[1:]
        return Outputs([group(b"%d" % batch.records[0].offset)], rest={0: rest} if rest else {})

    pair.first.stage.process = one_by_one  # type: ignore[method-assign]
    asked, behind = source(1, 2, 3), source(4)
    async with pair.at_work():
        await pair.first.take([asked])
        assert await asyncio.to_thread(pair.stage.thrice.wait, 10)
        await pair.first.take([behind])
        assert not asked.done
        pair.second_kafka.open.set()
        await pair.first.drain(5)
    assert [asked.done, behind.done] == [True, True]
    assert sorted(value for values in pair.second_kafka.sent for value in values) == [b"1", b"2", b"3", b"4"]


@pytest.mark.parametrize("how", ["rebalance", "stop", "before"])
async def test_what_the_other_gives_up_goes_through_kafka(how: str) -> None:
    pair = Pair()
    asked = source(7)
    if how == "before":
        pair.second.stop()
    async with at_work(pair.first):  # the second does not begin
        await pair.first.take([asked])
        await pair.kafka.sent_something.wait()
        if how != "before":
            await pair.first.drain(0.02)
            assert not asked.done
        if how == "rebalance":
            pair.second.assigned = frozenset()
            pair.second.abandon()
        if how == "stop":
            async with at_work(pair.second):
                await pair.second.drain(5, stop=True)
        await pair.first.drain(5)
    assert asked.done
    assert pair.kafka.sent == [(b"elsewhere",), (b"letter",), (b"7",)]
    assert pair.stage.seen == []


async def test_what_was_taken_from_the_first_meanwhile_is_not_sent_again() -> None:
    pair = Pair()
    asked = source(7)
    async with at_work(pair.first):
        await pair.first.take([asked])
        await pair.kafka.sent_something.wait()
        await pair.first.drain(0.02)
        pair.first.abandon()
        pair.second.abandon()
        await pair.first.take([source(9)])
        async with at_work(pair.second):
            await pair.first.drain(5)
    assert not asked.done
    assert (b"7",) not in pair.kafka.sent
    assert pair.second_kafka.sent == [[b"9"]]


async def test_nothing_is_begun_for_who_does_not_read_it_any_more() -> None:
    pair = Pair()
    (onward,) = split([group(b"7")], [pair.second])[1]
    pair.second.assigned = frozenset()
    handed = await onward.begin()
    assert handed.ended.is_set()
    assert not handed.done


def test_only_whole_groups_for_a_known_partition_are_handed_over() -> None:
    pair = Pair()
    block = Block("in", 0, memoryview(bytearray(100)), 1, 0)
    rest: list[Group | Block] = [
        block,
        group(b"1", partition=None),
        group(),
        group(b"1", partition=1),
        group(b"1", topic="out"),
    ]
    through, onward = split([*rest, group(b"2")], [pair.second])
    assert through == rest
    assert [one.group.values for one in onward] == [(b"2",)]
    assert split(rest, []) == (rest, [])


async def test_of_what_is_handed_over_none_waits_in_kafka() -> None:
    """So it is not dropped for what waits, nor does it say that nothing does. Its age counts."""
    freshness = Freshness("stage", FreshnessSettings(max_age_s=60, drop_above=10, drop_below=5))
    behind = Delivery("in", 0, [Raw(1, -1)], end=100)
    assert freshness.worth(behind, behind.records) == []
    fresh = HandedOver(Group("in", [b"k"], [b"v"], 0), 0)
    assert list(freshness.worth(fresh, fresh.records)) == fresh.records
    assert freshness.worth(behind, behind.records) == []
    old = HandedOver(group(b"v"), 0)
    assert freshness.worth(old, old.records) == []


def test_a_runner_reads_what_it_was_assigned() -> None:
    runner: StageRunner = Pair().second
    assert runner.reads("in", 0)
    assert not runner.reads("in", 1)
    assert not runner.reads("p.in", 0)
