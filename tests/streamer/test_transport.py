from __future__ import annotations

import asyncio
from typing import Any

import faust
import pytest
from faust.types import TP

from streamer.settings import KafkaSettings
from streamer.transport import Consumer, Transport, _note_heartbeats, _pace_fetches

A = TP("tweets", 0)


class Coordinator:
    """Answers heartbeats as it is told to."""

    answers = (True, False)

    def __init__(self, clock: list[float]) -> None:
        self._clock, self._answers = clock, iter(self.answers)

    async def _do_heartbeat(self) -> bool:
        self._clock[0] += 1.0  # what an answer takes
        return next(self._answers)


async def test_partitions_are_held_as_long_as_the_group_knows_of_us(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("streamer.transport.time.monotonic", lambda: clock[0])
    app = faust.App("any", broker="batch://a:1", web_enabled=False, broker_session_timeout=10.0)
    consumer = app.consumer
    assert not consumer.holds
    consumer.note_membership(100.0)
    clock[0] = 109.0
    assert consumer.holds
    coordinator = Coordinator(clock)
    _note_heartbeats(coordinator, consumer.note_membership)
    assert await coordinator._do_heartbeat()
    clock[0] = 118.0
    assert consumer.holds  # nine seconds after the last one that was answered well was sent
    assert not await coordinator._do_heartbeat()
    assert not consumer.holds


class Fetcher:
    """Brings what it is told to, in 0.1 s."""

    brings = (True, False, True, True, True)

    def __init__(self, clock: list[float]) -> None:
        self._clock, self._brings = clock, iter(self.brings)
        self.sent: list[float] = []

    async def _proc_fetch_request(self, assignment: str, node: int, request: str) -> bool:
        assert (assignment, node, request) == ("assignment", 1, "request")
        self.sent.append(round(self._clock[0], 3))
        self._clock[0] += 0.1
        return next(self._brings)


async def test_fetches_are_paced_after_one_that_brought_something(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, pace = [100.0], [0.5]

    async def sleep(seconds: float) -> None:
        clock[0] += seconds
        if seconds > 5:
            raise asyncio.CancelledError

    monkeypatch.setattr("streamer.transport.time.monotonic", lambda: clock[0])
    monkeypatch.setattr("streamer.transport.asyncio.sleep", sleep)
    fetcher = Fetcher(clock)
    _pace_fetches(fetcher, lambda: pace[0])

    async def fetch() -> bool:
        return await fetcher._proc_fetch_request("assignment", 1, "request")

    assert [await fetch() for _ in range(3)] == [True, False, True]
    assert fetcher.sent == [100.0, 100.6, 100.7]  # at once, after 0.5 s, and at once after nothing came
    clock[0] += 0.2
    pace[0] = 9.0
    assert await fetch()
    assert fetcher.sent[3:] == [101.3]
    assert not await fetch()  # a rebalance wants it no more, and it was not sent
    assert fetcher.sent[4:] == []
    clock[0] += 10
    assert await fetch()
    assert fetcher.sent[4:] == [round(101.4 + 9 + 10, 3)]


@pytest.mark.parametrize("asked_before", [True, False])
async def test_a_commit_does_not_wait_for_a_consumer_that_has_ended(
    asked_before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unanswered(_: Any) -> bool:
        await asyncio.Event().wait()
        return True

    consumer = faust.App("any", broker="batch://a:1", web_enabled=False).consumer._thread
    monkeypatch.setattr(consumer, "_commit", unanswered)
    asked = asyncio.ensure_future(consumer.commit({A: 5})) if asked_before else None
    await asyncio.sleep(0)
    consumer._shutdown.set()
    async with asyncio.timeout(5):
        assert await (asked or consumer.commit({A: 5})) is False


async def test_faust_finds_the_transport_by_its_scheme() -> None:
    app = faust.App("any", broker="batch://a:1;batch://b:2", web_enabled=False)
    assert isinstance(app.transport, Transport)
    assert app.transport.Consumer is Consumer
    assert app.transport.kafka.servers == ["a:1", "b:2"]


async def test_an_app_may_bring_its_own_settings() -> None:
    app = faust.App("any", broker="batch://a:1", web_enabled=False)
    app.kafka = KafkaSettings(bootstrap="c:3", fetch_max_wait_ms=7)
    assert app.transport.kafka is app.kafka
