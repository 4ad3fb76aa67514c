from __future__ import annotations

import asyncio
from typing import NamedTuple

import faust
import pytest
from faust.types import TP
from hypothesis import given
from hypothesis import strategies as st

from streamer.settings import KafkaSettings
from streamer.transport import Consumer, Delivery, Ledger, Transport, _note_heartbeats, age_s

A, B = TP("tweets", 0), TP("tweets", 1)


class Raw(NamedTuple):
    offset: int
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()


def delivery(*offsets: int) -> Delivery:
    return Delivery("tweets", 0, [Raw(offset) for offset in offsets])


def test_a_delivery_with_gaps_ends_after_its_last_record() -> None:
    # Offsets 3, 5 and 6 were compacted away or are markers of transactions.
    assert (delivery(2, 4, 7).first, delivery(2, 4, 7).next_offset) == (2, 8)


@given(st.lists(st.integers(1, 5), min_size=1, max_size=20), st.data())
def test_never_commits_past_unfinished_work(sizes: list[int], data: st.DataObject) -> None:
    """In whatever order deliveries finish, and however often a commit happens in between."""
    ledger, deliveries, offset = Ledger(), [], 100
    for size in sizes:
        deliveries.append(delivery(*range(offset, offset + size)))
        ledger.add(A, deliveries[-1])
        offset += size
    committed = 100
    for finished in data.draw(st.permutations(deliveries)):
        finished.finish()
        if data.draw(st.booleans()):
            committed = ledger.committable(A) or committed
            unfinished = [other.first for other in deliveries if not other.done]
            assert committed <= min(unfinished, default=offset)
    assert (ledger.committable(A) or committed) == offset


def test_partitions_are_apart() -> None:
    ledger, first, second = Ledger(), delivery(1), delivery(7)
    ledger.add(A, first)
    ledger.add(B, second)
    second.finish()
    assert (ledger.committable(A), ledger.committable(B)) == (None, 8)
    assert (ledger.oldest(A), ledger.oldest(B)) == (first, None)


def test_what_finishes_after_a_rebalance_commits_nothing() -> None:
    ledger, before = Ledger(), delivery(1, 2, 3)
    ledger.add(A, before)
    ledger.clear()
    again = delivery(1, 2)
    ledger.add(A, again)
    before.finish()
    assert ledger.committable(A) is None
    again.finish()
    assert ledger.committable(A) == 3


def test_the_age_is_that_of_the_first_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 100.0)
    assert age_s(Delivery("tweets", 0, [Raw(1, 98_500), Raw(2, 99_000)])) == 1.5
    assert age_s(Delivery("tweets", 0, [Raw(1, 100_500)])) == 0.0  # a clock that is ahead
    assert age_s(Delivery("tweets", 0, [Raw(1, -1)])) == age_s(None) == 0.0


def test_what_is_done_lets_go_of_its_records() -> None:
    """However much is read behind a delivery that takes long."""
    ledger, slow, quick = Ledger(), delivery(1), delivery(2, 3)
    ledger.add(A, slow)
    ledger.add(A, quick)
    quick.finish()
    assert (ledger.committable(A), len(quick.records), ledger.underway()) == (None, 0, 1)
    slow.finish()
    assert ledger.committable(A) == 4


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
    consumer._thread.thread_loop.close()  # never run
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


@pytest.mark.parametrize("asked_before", [True, False])
async def test_a_commit_does_not_wait_for_a_thread_that_has_ended(asked_before: bool) -> None:
    thread = faust.App("any", broker="batch://a:1", web_enabled=False).consumer._thread
    asked = asyncio.ensure_future(thread.commit({A: 5})) if asked_before else None
    await asyncio.sleep(0)
    thread._shutdown.set()
    async with asyncio.timeout(5):
        assert await (asked or thread.commit({A: 5})) is False
    thread.thread_loop.close()  # never run


async def test_faust_finds_the_transport_by_its_scheme() -> None:
    app = faust.App("any", broker="batch://a:1;batch://b:2", web_enabled=False)
    assert isinstance(app.transport, Transport)
    assert app.transport.Consumer is Consumer
    assert app.transport.kafka.servers == ["a:1", "b:2"]


async def test_an_app_may_bring_its_own_settings() -> None:
    app = faust.App("any", broker="batch://a:1", web_enabled=False)
    app.kafka = KafkaSettings(bootstrap="c:3", fetch_max_wait_ms=7)
    assert app.transport.kafka is app.kafka
