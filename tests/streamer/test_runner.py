from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import pytest

from streamer import metrics
from streamer.producer import Packed
from streamer.runner import StageRunner
from streamer.settings import KafkaSettings
from streamer.stage import Batch, Group, Outputs
from streamer.transport import Delivery


class Raw(NamedTuple):
    offset: int
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


class FakeProducer:
    """Packs a group into one batch, and holds `send` back until `open` is set."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.open = asyncio.Event()
        self.open.set()

    def pack(self, groups: Sequence[Group]) -> list[Packed]:
        return [Packed(group.topic, 0, group, len(group.keys), 1) for group in groups]

    async def send(self, batches: Iterable[Packed]) -> None:
        await self.open.wait()
        self.sent += [packed.batch.values for packed in batches]


class Stage:
    name = "stage"
    topics = ("in",)

    def __init__(self, process: Callable[[Batch], Outputs]) -> None:
        self.process = process
        self.threads: set[str] = set()
        self.closed = False

    def open(self) -> None:
        self.threads.add(threading.current_thread().name)

    def close(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.closed = True


def copy(batch: Batch) -> Outputs:
    return Outputs([Group("out", [None] * len(batch.records), [b"%d" % r.offset for r in batch.records])])


def delivery(*offsets: int) -> Delivery:
    return Delivery("p.in", 3, [Raw(offset) for offset in offsets])


def runner_of(stage: Any, producer: FakeProducer) -> StageRunner:
    return StageRunner(stage, KafkaSettings(topic_prefix="p."), producer)  # type: ignore[arg-type]


async def test_a_delivery_is_done_only_when_its_outputs_are_durable() -> None:
    producer = FakeProducer()
    producer.open.clear()
    runner = runner_of(Stage(copy), producer)
    publishing = asyncio.create_task(runner.publish())
    first, second = delivery(1, 2), delivery(3)
    await runner.handle(first)
    await runner.handle(second)  # is processed while the first is being sent
    assert [first.done, second.done] == [False, False]
    producer.open.set()
    await runner.drain(5)
    assert [first.done, second.done] == [True, True]
    assert producer.sent == [[b"1", b"2"], [b"3"]]
    assert runner.records_done == 3
    publishing.cancel()


async def test_the_stage_sees_logical_topics_in_its_own_thread() -> None:
    seen: list[tuple[str, int, str]] = []

    def process(batch: Batch) -> Outputs:
        seen.append((batch.topic, batch.partition, threading.current_thread().name))
        return Outputs()

    stage = Stage(process)
    runner = runner_of(stage, FakeProducer())
    await runner.open()
    await runner.handle(delivery(1))
    await runner.close()
    assert seen[0][:2] == ("in", 3)
    assert stage.threads == {seen[0][2]} == {"stage_0"}
    assert stage.closed


async def test_what_a_stage_hands_back_is_given_again() -> None:
    def two_at_a_time(batch: Batch) -> Outputs:
        outputs = copy(Batch(batch.topic, batch.partition, batch.records[:2]))
        outputs.rest = batch.records[2:]
        return outputs

    producer = FakeProducer()
    runner = runner_of(Stage(two_at_a_time), producer)
    publishing = asyncio.create_task(runner.publish())
    whole = delivery(1, 2, 3, 4, 5)
    await runner.handle(whole)
    await runner.drain(5)
    assert whole.done
    assert producer.sent == [[b"1", b"2"], [b"3", b"4"], [b"5"]]
    assert runner.records_done == 5
    publishing.cancel()


async def test_what_a_stage_raises_comes_out_and_nothing_is_done() -> None:
    def fail(_: Batch) -> Outputs:
        raise RuntimeError("no")

    runner = runner_of(Stage(fail), FakeProducer())
    failed = delivery(1)
    with pytest.raises(RuntimeError, match="no"):
        await runner.handle(failed)
    assert not failed.done
    await runner.drain(0.1)  # nothing is under way any more


class Waiting(Stage):
    """Waits until it is interrupted, then raises."""

    def __init__(self) -> None:
        super().__init__(self._wait)
        self.begun, self.interrupted = threading.Event(), threading.Event()

    def _wait(self, _: Batch) -> Outputs:
        self.begun.set()
        assert self.interrupted.wait(10)
        raise InterruptedError("told to stop")

    def interrupt(self) -> None:
        self.interrupted.set()


async def test_a_stop_interrupts_a_stage_that_waits_and_is_no_failure() -> None:
    stage = Waiting()
    runner = runner_of(stage, FakeProducer())
    waiting = delivery(1)
    handling = asyncio.create_task(runner.handle(waiting))
    await asyncio.to_thread(stage.begun.wait)
    await runner.drain(5, stop=True)
    await handling
    assert not waiting.done
    after = delivery(2)
    await runner.handle(after)  # not even begun
    assert not after.done


async def test_a_rebalance_waits_for_a_batch_but_not_for_ever() -> None:
    stage = Waiting()
    runner = runner_of(stage, FakeProducer())
    handling = asyncio.create_task(runner.handle(delivery(1)))
    await asyncio.to_thread(stage.begun.wait)
    started = time.monotonic()
    await runner.drain(0.05)
    assert time.monotonic() - started < 5
    assert not stage.interrupted.is_set()
    stage.interrupt()
    with pytest.raises(InterruptedError):
        await handling


async def test_end_to_end_latency_is_observed_per_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    monkeypatch.setattr(metrics.end_to_end_seconds, "observe", seen.append)
    monkeypatch.setattr("streamer.runner.time.time", lambda: 10.0)
    runner = runner_of(Stage(lambda _: Outputs(origins=[9_500, 9_000])), FakeProducer())
    publishing = asyncio.create_task(runner.publish())
    await runner.handle(delivery(1))
    await runner.drain(5)
    assert seen == [0.5, 1.0]
    publishing.cancel()


async def test_health_is_the_stage_s_own_word() -> None:
    class Ill(Stage):
        word: str | None = "Redis is away"

        def healthy(self) -> str | None:
            if self.word == "raise":
                raise OSError("gone")
            if self.word == "hang":
                time.sleep(0.2)
            return self.word

    stage = Ill(copy)
    runner = runner_of(stage, FakeProducer())
    assert await runner.ailment() == "not open yet"
    await runner.open()
    assert await runner.ailment() == "Redis is away"
    stage.word = "raise"
    assert await runner.ailment() == "OSError: gone"
    stage.word = "hang"
    assert await runner.ailment(0.01) == "did not answer within 0.01 s"
    stage.word = None
    assert await runner.ailment() is None
    plain = runner_of(Stage(copy), FakeProducer())
    await plain.open()
    assert await plain.ailment() is None
