"""A stage that hands a part of its batch back gets it again, and only the last part makes the batch done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from streamer.runner import StageRunner
from streamer.settings import KafkaSettings
from streamer.stage import Batch, Group, Outputs
from streamer.transport import Delivery


class Pairs:
    """Handles two records a call."""

    name = "pairs"
    topics = ("numbers",)

    def __init__(self) -> None:
        self.given: list[int] = []
        self.on_call: Callable[[], object] = lambda: None

    def open(self) -> None: ...

    def close(self) -> None: ...

    def process(self, batch: Batch) -> Outputs:
        self.given.append(len(batch.records))
        self.on_call()
        values = [record.value for record in batch.records[:2]]
        return Outputs([Group("out", [None] * len(values), values)], rest=batch.records[2:])


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


@pytest.fixture
def delivery() -> Delivery:
    class Number:
        def __init__(self, offset: int) -> None:
            self.offset, self.timestamp, self.key, self.value, self.headers = offset, 0, None, b"x", ()

    return Delivery("numbers", 0, [Number(i) for i in range(5)])


async def run(stage: Pairs, runner: StageRunner, delivery: Delivery) -> None:
    publishing = asyncio.create_task(runner.publish())
    await runner.handle(delivery)
    await runner.drain(5)
    publishing.cancel()
    await runner.close()


async def test_all_parts_leave_and_the_last_one_makes_it_done(delivery: Delivery) -> None:
    stage, producer = Pairs(), Kept(delivery)
    runner = StageRunner(stage, KafkaSettings(), producer)  # type: ignore[arg-type]
    await run(stage, runner, delivery)
    assert stage.given == [5, 3, 1]
    assert [packed[3] for packed in producer.sent] == [2, 2, 1]
    assert producer.done == [False, False, False]
    assert delivery.done
    assert runner.records_done == 5


async def test_a_stop_in_between_leaves_it_to_be_done_again(delivery: Delivery) -> None:
    stage, producer = Pairs(), Kept(delivery)
    runner = StageRunner(stage, KafkaSettings(), producer)  # type: ignore[arg-type]
    loop = asyncio.get_running_loop()
    stage.on_call = lambda: asyncio.run_coroutine_threadsafe(runner.drain(5, stop=True), loop)
    await run(stage, runner, delivery)
    assert stage.given == [5]
    assert not delivery.done


async def test_what_is_handed_back_takes_turns_with_what_comes(delivery: Delivery) -> None:
    """A delivery that takes many calls holds up those after it by one call each."""
    order: list[str] = []

    class Long(Pairs):
        def process(self, batch: Batch) -> Outputs:
            order.append(batch.topic)
            again = batch.topic == "long" and order.count("long") < 4
            return Outputs(rest=batch.records if again else ())

    deliveries = [Delivery(topic, 0, delivery.records) for topic in ("long", "a", "b")]
    runner = StageRunner(Long(), KafkaSettings(), Kept(delivery))  # type: ignore[arg-type]
    publishing = asyncio.create_task(runner.publish())
    for one in deliveries:
        await runner.handle(one)
    await runner.drain(5)
    assert order == ["long", "long", "a", "long", "b", "long"]
    assert all(one.done for one in deliveries)
    publishing.cancel()
    await runner.close()


async def test_only_so_many_are_begun(delivery: Delivery, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the next waits, and so does the consumer behind it."""
    monkeypatch.setattr("streamer.runner._UNFINISHED", 2)
    open_: set[int] = set()
    most: list[int] = []

    class Slow(Pairs):
        def process(self, batch: Batch) -> Outputs:
            calls[batch.partition] += 1
            again = calls[batch.partition] < 5
            (open_.add if again else open_.discard)(batch.partition)
            most.append(len(open_))
            return Outputs(rest=batch.records if again else ())

    calls = dict.fromkeys(range(9), 0)
    runner = StageRunner(Slow(), KafkaSettings(), Kept(delivery))  # type: ignore[arg-type]
    publishing = asyncio.create_task(runner.publish())
    for partition in calls:
        await runner.handle(Delivery("numbers", partition, delivery.records))
    await runner.drain(5)
    assert set(calls.values()) == {5}
    assert max(most) == 3  # two that go on, and one that waits to
    publishing.cancel()
    await runner.close()


async def test_what_a_rest_raises_ends_publishing(delivery: Delivery) -> None:
    class Breaks(Pairs):
        def process(self, batch: Batch) -> Outputs:
            if len(batch.records) < 5:
                raise RuntimeError("no")
            return Outputs(rest=batch.records[1:])

    runner = StageRunner(Breaks(), KafkaSettings(), Kept(delivery))  # type: ignore[arg-type]
    publishing = asyncio.create_task(runner.publish())
    await runner.handle(delivery)
    with pytest.raises(RuntimeError, match="no"):
        await publishing
    assert not delivery.done
    await runner.close()
