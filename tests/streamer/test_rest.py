"""A stage that hands a part of a batch back gets it again, and only the last part makes the batch done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from streamer.ledger import Delivery
from streamer.runner import StageRunner
from streamer.settings import KafkaSettings
from streamer.stage import Batch, Group, Outputs
from tests.streamer.at_work import at_work


class Pairs:
    """Handles two records a call."""

    name = "pairs"
    topics = ("numbers",)

    def __init__(self) -> None:
        self.given: list[list[int]] = []
        self.on_call: Callable[[], object] = lambda: None

    def open(self) -> None: ...

    def close(self) -> None: ...

    def process(self, batches: Sequence[Batch]) -> Outputs:
        self.given.append([len(batch.records) for batch in batches])
        self.on_call()
        values = [record.value for record in batches[0].records[:2]]
        rest = {0: batches[0].records[2:]}
        rest |= {place: batch.records for place, batch in enumerate(batches) if place}
        return Outputs([Group("out", [None] * len(values), values)], rest=rest)


class Kept:
    """A producer that keeps what it sends, and notes whether the batch was done by then."""

    def __init__(self, delivery: Delivery) -> None:
        self.sent: list[Any] = []
        self.done: list[bool] = []
        self.delivery = delivery

    def pack(self, groups: list[Group]) -> list[Any]:
        return [("out", 0, None, len(group.values), 1) for group in groups]

    async def send(self, packed: list[Any]) -> None:
        await asyncio.sleep(0)
        self.sent += packed
        self.done.append(self.delivery.done)


class Number:
    def __init__(self, offset: int) -> None:
        self.offset, self.timestamp, self.key, self.value, self.headers = offset, 0, None, b"x", ()


def numbers(count: int, topic: str = "numbers", partition: int = 0) -> Delivery:
    return Delivery(topic, partition, [Number(i) for i in range(count)])


@pytest.fixture
def delivery() -> Delivery:
    return numbers(5)


def runner_of(stage: Pairs, delivery: Delivery) -> tuple[StageRunner, Kept]:
    producer = Kept(delivery)
    return StageRunner(stage, KafkaSettings(), producer), producer  # type: ignore[arg-type]


async def run(runner: StageRunner, *deliveries: Delivery) -> None:
    async with at_work(runner):
        await runner.take(deliveries)
        await runner.drain(5)
    await runner.close()


async def test_all_parts_leave_and_the_last_one_makes_it_done(delivery: Delivery) -> None:
    stage = Pairs()
    runner, producer = runner_of(stage, delivery)
    await run(runner, delivery)
    assert stage.given == [[5], [3], [1]]
    assert [packed[3] for packed in producer.sent] == [2, 2, 1]
    assert producer.done == [False, False, False]
    assert delivery.done
    assert runner.progress == 3


async def test_a_stop_in_between_leaves_it_to_be_done_again(delivery: Delivery) -> None:
    stage = Pairs()
    runner, _ = runner_of(stage, delivery)
    loop = asyncio.get_running_loop()
    stage.on_call = lambda: asyncio.run_coroutine_threadsafe(runner.drain(5, stop=True), loop)
    await run(runner, delivery)
    assert stage.given == [[5]]
    assert not delivery.done


async def test_rests_take_turns(delivery: Delivery) -> None:
    """Who was not served comes before what arrives meanwhile, and that before who was."""
    stage, others = Pairs(), [numbers(3), numbers(4)]
    runner, _ = runner_of(stage, delivery)
    await run(runner, delivery, *others)
    assert stage.given == [[5, 3, 4], [3, 4, 3], [4, 3, 1], [3, 1, 2], [1, 2, 1], [2, 1], [1]]
    assert all(one.done for one in [delivery, *others])


async def test_what_comes_meanwhile_goes_before_a_rest(delivery: Delivery) -> None:
    order: list[list[str]] = []

    class Long(Pairs):
        def process(self, batches: Sequence[Batch]) -> Outputs:
            order.append([batch.topic for batch in batches])
            self.on_call()
            return Outputs(
                rest={place: b.records[1:] for place, b in enumerate(batches) if b.topic == "long"}
            )

    stage, late = Long(), [numbers(1, "a"), numbers(1, "b")]
    runner, _ = runner_of(stage, delivery)
    loop = asyncio.get_running_loop()

    def one_more() -> None:
        if late:
            asyncio.run_coroutine_threadsafe(runner.take([late.pop(0)]), loop).result()

    stage.on_call = one_more
    await run(runner, numbers(4, "long"))
    assert order == [["long"], ["a", "long"], ["b", "long"], ["long"]]


async def test_a_rest_waits_for_no_pace(delivery: Delivery, monkeypatch: pytest.MonkeyPatch) -> None:
    """A paced stage gathers what comes; here enough waits."""

    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    class Paced(Pairs):
        pace_s = 60.0

    stage = Paced()
    runner, _ = runner_of(stage, delivery)
    monkeypatch.setattr("streamer.runner.asyncio.sleep", sleep)
    await run(runner, delivery)
    assert stage.given == [[5], [3], [1]]
    assert max(slept) == 0  # the producer's


async def test_only_so_many_are_begun(delivery: Delivery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the next waits, and so does the consumer behind it."""
    monkeypatch.setattr("streamer.runner._UNFINISHED", 2)
    open_: set[int] = set()
    most: list[int] = []

    class Slow(Pairs):
        def process(self, batches: Sequence[Batch]) -> Outputs:
            rest = {}
            for place, batch in enumerate(batches):
                calls[batch.partition] += 1
                again = calls[batch.partition] < 5
                (open_.add if again else open_.discard)(batch.partition)
                most.append(len(open_))
                rest[place] = batch.records if again else ()
            return Outputs(rest=rest)

    calls = dict.fromkeys(range(9), 0)
    runner, _ = runner_of(Slow(), delivery)
    await run(runner, *(numbers(5, partition=partition) for partition in calls))
    assert set(calls.values()) == {5}
    assert max(most) == 2


async def test_what_a_rest_raises_ends_processing(delivery: Delivery) -> None:
    class Breaks(Pairs):
        def process(self, batches: Sequence[Batch]) -> Outputs:
            if len(batches[0].records) < 5:
                raise RuntimeError("no")
            return Outputs(rest={0: batches[0].records[1:]})

    runner, _ = runner_of(Breaks(), delivery)
    async with at_work(runner) as (processing, *_):
        await runner.take([delivery])
        with pytest.raises(RuntimeError, match="no"):
            await processing
    assert not delivery.done
    await runner.close()
