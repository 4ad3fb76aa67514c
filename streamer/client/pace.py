"""When to send the next event: at once, at a rate, or in event time.

Knows nothing of what is sent.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Pace:
    """Say `wait(at)` before each event. `rate` is events per second; `speedup` 3600 makes an hour a second.

    In event time the clock starts at the first event that has one: profiles and follows from before a log
    begins carry time 0 and go at once.
    """

    def __init__(
        self,
        rate: float | None = None,
        speedup: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rate = rate
        self._speedup = speedup
        self._clock = clock
        self._sleep = sleep
        self._count = 0
        self._origin: tuple[float, int] | None = None

    def wait(self, at_ms: int = 0) -> None:
        """Return when the event that happened at `at_ms` is due. A late one is due at once: no drift."""
        if self._rate is not None:
            if self._origin is None:
                self._origin = (self._clock(), 0)
            due = self._origin[0] + self._count / self._rate
            self._count += 1
        elif self._speedup is not None and at_ms > 0:
            if self._origin is None:
                self._origin = (self._clock(), at_ms)
            due = self._origin[0] + (at_ms - self._origin[1]) / 1000 / self._speedup
        else:
            return
        if (left := due - self._clock()) > 0:
            self._sleep(left)
