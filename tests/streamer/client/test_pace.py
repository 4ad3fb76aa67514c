from __future__ import annotations

import pytest

from streamer.client.pace import Pace


class Clock:
    """Time that passes only while somebody sleeps, or when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_without_a_pace_nothing_waits(clock: Clock) -> None:
    pace = Pace(clock=clock, sleep=clock.sleep)
    for at in (0, 10, 10**12):
        pace.wait(at)
    assert clock.now == 100.0


def test_a_rate_spreads_events_and_catches_up(clock: Clock) -> None:
    pace = Pace(rate=10, clock=clock, sleep=clock.sleep)
    for _ in range(11):
        pace.wait()
    assert clock.now == pytest.approx(101.0)
    clock.now += 5  # the caller was busy: the next 50 are due at once
    for _ in range(50):
        pace.wait()
    assert clock.now == pytest.approx(106.0)


def test_event_time_starts_at_the_first_event_that_has_one(clock: Clock) -> None:
    pace = Pace(speedup=100, clock=clock, sleep=clock.sleep)
    for at in (0, 0, 1_700_000_000_000, 1_700_000_050_000, 1_700_000_100_000):
        pace.wait(at)
    assert clock.now == pytest.approx(101.0)
