from __future__ import annotations

from dataclasses import dataclass

import pytest

from streamer import watchdog
from streamer.watchdog import EXIT_HUNG, Watchdog


@dataclass
class Stage:
    name: str = "embed"
    joined: bool = True
    lag: int = 5
    progress: int = 0
    measured: int = 0


def ticks(dog: Watchdog, stage: Stage, count: int, *, answers: bool = True) -> str | None:
    """The first reason within so many seconds."""
    for _ in range(count):
        stage.measured += answers
        if reason := dog.tick():
            return reason
    return None


def test_records_that_wait_while_nothing_is_done_end_the_worker() -> None:
    stage = Stage()
    dog = Watchdog([stage], stalled_s=10, outage_s=60)
    assert ticks(dog, stage, 11) is None
    assert dog.idle() == {"embed": 10.0}
    assert ticks(dog, stage, 1) == "embed: 5 records wait and none was done for 11 s"


def test_progress_and_an_empty_queue_are_both_well() -> None:
    stage = Stage()
    dog = Watchdog([stage], stalled_s=3, outage_s=60)
    for _ in range(20):
        stage.progress += 1
        assert ticks(dog, stage, 3) is None
    stage.lag = 0
    assert ticks(dog, stage, 100) is None


def test_brokers_that_do_not_answer_end_the_worker() -> None:
    stage = Stage(lag=0)
    dog = Watchdog([stage], stalled_s=10, outage_s=5)
    assert ticks(dog, stage, 6, answers=False) is None
    assert ticks(dog, stage, 1, answers=False) == "embed: Kafka has not answered for 6 s"


def test_a_worker_that_has_not_joined_or_watches_nothing_is_left_alone() -> None:
    stage = Stage(joined=False)
    assert ticks(Watchdog([stage], stalled_s=3, outage_s=3), stage, 50, answers=False) is None
    stage = Stage()
    assert ticks(Watchdog([stage], stalled_s=0, outage_s=0), stage, 50, answers=False) is None


def test_it_ends_the_process_from_a_thread_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "_TICK_S", 0.001)
    statuses: list[int] = []
    dog = Watchdog([Stage()], stalled_s=0.002, outage_s=0, end=statuses.append)
    monkeypatch.setattr("logging.shutdown", lambda: None)
    dog.start()
    dog._thread.join(10)
    assert statuses == [EXIT_HUNG]


def test_it_stops_when_told() -> None:
    dog = Watchdog([Stage()], stalled_s=1, outage_s=1, end=lambda _: pytest.fail("ended"))
    dog.start()
    dog.stop()
    dog._thread.join(10)
    assert not dog._thread.is_alive()
