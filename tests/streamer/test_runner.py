from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from streamer import metrics
from streamer.ledger import Delivery
from streamer.producer import Packed
from streamer.runner import StageRunner
from streamer.settings import KafkaSettings
from streamer.stage import Batch, Group, Outputs, StageUnavailable
from tests.streamer.at_work import at_work
from tests.streamer.raw import Raw


class FakeProducer:
    """Packs a group into one batch, and holds `send` back until `open` is set."""

    def __init__(self) -> None:
        self.sent: list[Any] = []
        self.open = asyncio.Event()
        self.open.set()
        self.sent_something = asyncio.Event()

    def pack(self, groups: Sequence[Group]) -> list[Packed]:
        made: Any = groups  # in place of record batches
        return [Packed(group.topic, 0, group, len(group.keys), 1) for group in made]

    async def send(self, batches: Iterable[Packed]) -> None:
        await self.open.wait()
        made: list[Any] = [packed.batch for packed in batches]
        some = [group.values for group in made]
        self.sent += some
        if some:
            self.sent_something.set()


class Stage:
    name = "stage"
    topics = ("in",)

    def __init__(self, process: Callable[[Sequence[Batch]], Outputs]) -> None:
        self.process = process
        self.threads: set[str] = set()
        self.closed = False

    def open(self) -> None:
        self.threads.add(threading.current_thread().name)

    def close(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.closed = True


def copy(batches: Sequence[Batch]) -> Outputs:
    records = [record for batch in batches for record in batch.records]
    return Outputs([Group("out", [None] * len(records), [b"%d" % r.offset for r in records])])


def delivery(*offsets: int) -> Delivery:
    return Delivery("p.in", 3, [Raw(offset) for offset in offsets])


def runner_of(stage: Any, producer: FakeProducer) -> StageRunner:
    return StageRunner(stage, KafkaSettings(topic_prefix="p."), producer)  # type: ignore[arg-type]


async def test_a_delivery_is_done_only_when_its_outputs_are_durable() -> None:
    producer = FakeProducer()
    producer.open.clear()
    runner = runner_of(Stage(copy), producer)
    first, second = delivery(1, 2), delivery(3)
    async with at_work(runner):
        await runner.take([first])
        await runner.take([second])
        await runner.drain(0.01)
        assert [first.done, second.done] == [False, False]
        producer.open.set()
        await runner.drain(5)
    assert [first.done, second.done] == [True, True]
    assert [value for values in producer.sent for value in values] == [b"1", b"2", b"3"]
    assert runner.progress == 1


async def test_a_rest_may_stay_away_while_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    loop, away = asyncio.get_running_loop(), 1234.0
    held: asyncio.Queue[Callable[[], object]] = asyncio.Queue()
    ordinary = loop.call_later

    def call_later(delay: float, callback: Callable[..., object], *args: Any, **others: Any) -> Any:
        if delay == away:
            return held.put_nowait(lambda: callback(*args))
        return ordinary(delay, callback, *args, **others)

    monkeypatch.setattr(loop, "call_later", call_later)

    def process(batches: Sequence[Batch]) -> Outputs:
        if batches[0].records[0].offset == 1:
            return Outputs(rest={0: batches[0].records[1:]}, later={0: away})
        return copy(batches)

    producer = FakeProducer()
    runner = runner_of(Stage(process), producer)
    first = delivery(1, 2)
    async with at_work(runner):
        await runner.take([first])
        come_back = await held.get()
        await runner.take([delivery(3)])
        await producer.sent_something.wait()
        assert producer.sent == [[b"3"]]
        come_back()
        await runner.drain(5)
    assert first.done
    assert producer.sent == [[b"3"], [b"2"]]


async def test_what_waits_is_processed_together_and_the_next_while_it_is_sent() -> None:
    free, begun = threading.Event(), threading.Semaphore(0)
    calls: list[list[list[int]]] = []

    def process(batches: Sequence[Batch]) -> Outputs:
        calls.append([[record.offset for record in batch.records] for batch in batches])
        begun.release()
        assert free.wait(10)
        return copy(batches)

    producer = FakeProducer()
    producer.open.clear()
    runner = runner_of(Stage(process), producer)
    async with at_work(runner):
        await runner.take([delivery(1)])
        await asyncio.to_thread(begun.acquire)
        await runner.take([delivery(2, 3), delivery(4)])
        await runner.take([delivery(5)])
        free.set()
        await asyncio.to_thread(begun.acquire)  # although nothing of the first could be sent
        producer.open.set()
        await runner.drain(5)
    assert calls == [[[1]], [[2, 3], [4], [5]]]
    assert producer.sent == [[b"1"], [b"2", b"3", b"4", b"5"]]


async def test_a_paced_stage_shares_its_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes too soon after a call began waits for the rest of the time; after a pause nothing does."""
    clock, slept = [100.0], []

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds, 3))
        clock[0] += seconds
        await runner.take([delivery(3)])  # comes while the second waits

    class Slow(Stage):
        pace_s = 0.5

    calls: list[int] = []

    def process(batches: Sequence[Batch]) -> Outputs:
        calls.append(len(batches))
        clock[0] += 0.1
        return Outputs()

    runner = runner_of(Slow(process), FakeProducer())
    monkeypatch.setattr("streamer.runner.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("streamer.runner.asyncio.sleep", sleep)
    async with at_work(runner):
        await runner.take([delivery(1)])
        await runner.drain(5)
        await runner.take([delivery(2)])
        await runner.drain(5)
        clock[0] += 0.4
        await runner.take([delivery(4)])
        await runner.drain(5)
    assert (calls, slept) == ([1, 2, 1], [0.4])


async def test_calls_that_last_come_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of the time at most is theirs, within bounds, and what one of them took counts little."""
    clock, slept = [100.0], []

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds, 3))
        clock[0] += seconds

    class Slow(Stage):
        pace_s = 0.5

    lasts = iter([0.1, 4.0, *[0.4] * 98, *[5.0] * 50, 0.1])

    def process(batches: Sequence[Batch]) -> Outputs:
        clock[0] += next(lasts)
        return Outputs()

    runner = runner_of(Slow(process), FakeProducer())
    monkeypatch.setattr("streamer.runner.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("streamer.runner.asyncio.sleep", sleep)
    paces = [runner.pace_s]
    async with at_work(runner):
        for offset in range(151):
            await runner.take([delivery(offset)])
            await runner.drain(60)
            paces.append(round(runner.pace_s, 2))
            clock[0] += 0.05
    assert paces[:3] == [0.5, 0.5, 0.51]
    assert paces[100] == pytest.approx(2 * 0.4, abs=0.02)
    assert paces[150:] == [2.5, 2.5]
    # Each waits for the rest of the pace; not after five seconds of work.
    assert slept[:2] == [0.35, 0.08]
    assert slept[97] == pytest.approx(2 * 0.4 - 0.45, abs=0.02)


async def test_one_call_gets_no_more_than_a_poll_may_bring() -> None:
    calls: list[int] = []

    def process(batches: Sequence[Batch]) -> Outputs:
        calls.append(sum(len(batch.records) for batch in batches))
        return Outputs()

    settings = KafkaSettings(topic_prefix="p.", max_batch_records=5)
    runner = StageRunner(Stage(process), settings, FakeProducer())  # type: ignore[arg-type]
    await runner.take([delivery(1, 2), delivery(3, 4), delivery(5, 6), delivery(*range(7, 14))])
    async with at_work(runner):
        await runner.drain(5)
    assert calls == [4, 2, 7]


async def test_the_stage_sees_logical_topics_in_its_own_thread() -> None:
    seen: list[tuple[str, int, str]] = []

    def process(batches: Sequence[Batch]) -> Outputs:
        (batch,) = batches
        seen.append((batch.topic, batch.partition, threading.current_thread().name))
        return Outputs()

    stage = Stage(process)
    runner = runner_of(stage, FakeProducer())
    await runner.open()
    async with at_work(runner):
        await runner.take([delivery(1)])
        await runner.drain(5)
    await runner.close()
    assert seen[0][:2] == ("in", 3)
    assert stage.threads == {seen[0][2]} == {"stage_0"}
    assert stage.closed


async def test_what_a_stage_raises_comes_out_and_nothing_is_done() -> None:
    def fail(_: Sequence[Batch]) -> Outputs:
        raise RuntimeError("no")

    runner = runner_of(Stage(fail), FakeProducer())
    failed = delivery(1)
    async with at_work(runner) as (processing, *_):
        await runner.take([failed])
        with pytest.raises(RuntimeError, match="no"):
            await processing
        assert not failed.done
        await runner.drain(0.1)  # nothing is under way any more


class Waiting(Stage):
    """Waits until it is interrupted, then raises."""

    def __init__(self) -> None:
        super().__init__(self._wait)
        self.begun, self.interrupted = threading.Event(), threading.Event()

    def _wait(self, _: Sequence[Batch]) -> Outputs:
        self.begun.set()
        assert self.interrupted.wait(10)
        raise InterruptedError("told to stop")

    def interrupt(self) -> None:
        self.interrupted.set()


async def test_a_stop_interrupts_a_stage_that_waits_and_is_no_failure() -> None:
    stage = Waiting()
    runner = runner_of(stage, FakeProducer())
    waiting, behind, after = delivery(1), delivery(2), delivery(3)
    async with at_work(runner) as (processing, *_):
        await runner.take([waiting])
        await asyncio.to_thread(stage.begun.wait)
        await runner.take([behind])
        await runner.drain(5, stop=True)
        await runner.take([after])  # not even begun
        assert [waiting.done, behind.done, after.done] == [False] * 3
        assert not processing.done()


class Opening(Waiting):
    """Waits while it opens."""

    def open(self) -> None:
        self.begun.set()
        assert self.interrupted.wait(10)
        raise StageUnavailable("told to stop")


async def test_a_stop_interrupts_a_stage_that_opens_and_is_no_failure() -> None:
    stage = Opening()
    runner = runner_of(stage, FakeProducer())
    opening = asyncio.create_task(runner.open())
    await asyncio.to_thread(stage.begun.wait)
    runner.stop()
    await opening
    assert not runner.opened


async def test_what_was_abandoned_is_neither_begun_nor_done() -> None:
    begun, free = threading.Event(), threading.Event()
    calls: list[int] = []

    def process(batches: Sequence[Batch]) -> Outputs:
        calls.append(batches[0].records[0].offset)
        begun.set()
        assert free.wait(10)
        return Outputs(rest={0: batches[0].records[1:]})

    runner = runner_of(Stage(process), FakeProducer())
    under_way, behind, after = delivery(1, 2), delivery(3), delivery(4)
    async with at_work(runner):
        await runner.take([under_way])
        await asyncio.to_thread(begun.wait)
        await runner.take([behind])
        runner.abandon()
        await runner.take([after])
        free.set()
        await runner.drain(5)
    assert calls == [1, 4]
    assert [under_way.done, behind.done, after.done] == [False, False, True]


async def test_what_stays_away_comes_back_to_nobody_once_abandoned() -> None:
    away = asyncio.Event()
    calls: list[int] = []

    def process(batches: Sequence[Batch]) -> Outputs:
        calls.append(batches[0].records[0].offset)
        loop.call_soon_threadsafe(away.set)
        return Outputs(rest={0: batches[0].records}, later={0: 0.0})

    loop = asyncio.get_running_loop()
    runner = runner_of(Stage(process), FakeProducer())
    async with at_work(runner):
        await runner.take([delivery(1)])
        await away.wait()
        runner.abandon()
        await asyncio.to_thread(lambda: None)
        calls.clear()
        await runner.drain(5)
    assert not calls


async def test_nothing_begins_while_the_group_may_have_given_it_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamer.runner._PAUSE_S", 0.001)
    looks, looked = [False] * 3, asyncio.Event()

    def holds() -> bool:
        looked.set()
        return looks.pop() if looks else True

    calls: list[bool] = []

    def process(batches: Sequence[Batch]) -> Outputs:
        calls.append(not looks)
        return Outputs()

    producer: Any = FakeProducer()
    runner = StageRunner(Stage(process), KafkaSettings(topic_prefix="p."), producer, holds=holds)
    async with at_work(runner):
        await runner.take([delivery(1)])
        await looked.wait()
        await runner.drain(5)
    assert calls == [True]


async def test_a_rebalance_waits_for_a_batch_but_not_for_ever() -> None:
    stage = Waiting()
    runner = runner_of(stage, FakeProducer())
    async with at_work(runner) as (processing, *_):
        await runner.take([delivery(1)])
        await asyncio.to_thread(stage.begun.wait)
        started = time.monotonic()
        await runner.drain(0.05)
        assert time.monotonic() - started < 5
        assert not stage.interrupted.is_set()
        stage.interrupt()
        with pytest.raises(InterruptedError):
            await processing


async def test_end_to_end_latency_is_observed_per_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[float] = []
    monkeypatch.setattr(metrics.end_to_end_seconds, "observe", seen.append)
    monkeypatch.setattr("streamer.runner.time.time", lambda: 10.0)
    runner = runner_of(Stage(lambda _: Outputs(origins=[9_500, 9_000])), FakeProducer())
    async with at_work(runner):
        await runner.take([delivery(1)])
        await runner.drain(5)
    assert seen == [0.5, 1.0]


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
