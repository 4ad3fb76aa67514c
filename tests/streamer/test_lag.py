from __future__ import annotations

import pytest
from faust.types import TP
from prometheus_client import REGISTRY

from streamer.lag import SILENT_S, Lag, Outage
from streamer.ledger import Delivery, Ledger
from streamer.transport import Position
from tests.streamer.raw import Raw

A, B = TP("p.tweets", 0), TP("p.tweets", 1)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("time.time", lambda: now[0])
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    return now


def exported(partition: int) -> float | None:
    labels = {"stage": "lagging", "topic": "tweets", "partition": str(partition)}
    return REGISTRY.get_sample_value("streamer_lag_records", labels)


def test_what_was_read_but_is_not_done_counts(clock: list[float]) -> None:
    lag, ledger = Lag("lagging", "p."), Ledger()
    underway = Delivery("p.tweets", 0, [Raw(offset, 998_000) for offset in range(10, 20)])
    ledger.add(A, underway)
    lag.update({A: Position(20, 25), B: Position(7, 7)}, ledger)
    assert (lag.records, lag.seconds) == (15, 2.0)
    assert (exported(0), exported(1)) == (15, 0)
    underway.finish()
    lag.update({A: Position(25, 25), B: Position(7, 7)}, ledger)
    assert (lag.records, lag.seconds) == (0, 0.0)
    assert REGISTRY.get_sample_value("streamer_lag_seconds", {"stage": "lagging"}) == 0


def test_what_is_not_read_has_waited_since_it_was_seen(clock: list[float]) -> None:
    lag = Lag("lagging", "p.")
    lag.update({A: Position(5, 9)}, Ledger())
    assert (lag.records, lag.seconds) == (4, 0.0)
    clock[0] += 30
    lag.update({A: Position(5, 12)}, Ledger())
    assert (lag.records, lag.seconds) == (7, 30.0)


def test_partitions_that_went_away_are_no_longer_exported(clock: list[float]) -> None:
    lag = Lag("lagging", "p.")
    lag.update({A: Position(5, 9), B: Position(0, 1)}, Ledger())
    lag.update({B: Position(0, 1)}, Ledger())
    assert (exported(0), exported(1), lag.records) == (None, 1, 1)


async def test_measuring_asks_and_counts_the_answers() -> None:
    class Consumer:
        ledger = Ledger()

        async def positions(self) -> dict[TP, Position]:
            return {A: Position(1, 3)}

    lag = Lag("lagging", "p.")
    await lag.measure(Consumer())
    assert (lag.records, lag.measured) == (2, 1)


def test_an_outage_is_told_once_and_so_is_its_end(
    clock: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    outage = Outage(2, "broker:9092", 60.0)
    outage.silent("score")
    assert not caplog.messages  # only one stage waits: that is not Kafka
    outage.silent("embed")
    outage.silent("score")
    clock[0] += 7
    outage.answered("score")
    outage.answered("embed")
    assert caplog.messages == [
        "Kafka at broker:9092 does not answer; waiting up to 60 s for it",
        f"Kafka at broker:9092 answers again after {7 + SILENT_S:.1f} s",
    ]
    outage.silent("score")
    assert len(caplog.messages) == 2
