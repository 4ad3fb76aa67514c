"""Ends a worker that hangs without dying, so that whoever supervises it can start it again.

Faust workers that sit still with records waiting exist upstream (#175, #640). The watchdog is a thread of its
own that calls `os._exit`, because what it guards against includes a blocked event loop. Knows only numbers
that must change: progress, and answers of the brokers.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

logger = logging.getLogger(__name__)

#: Exit status of a worker that the watchdog ended (EX_SOFTWARE).
EXIT_HUNG = 70
_TICK_S = 1.0


class Watched(Protocol):
    """What is watched of a stage."""

    @property
    def name(self) -> str:
        """The stage."""

    @property
    def joined(self) -> bool:
        """Whether it takes part in its group: before that there is nothing to expect of it."""

    @property
    def lag(self) -> int:
        """Records that wait, when last measured."""

    @property
    def progress(self) -> int:
        """Grows whenever something was done."""

    @property
    def measured(self) -> int:
        """Answers of the brokers since the start."""


class _Idle:
    """For how long a number has not changed, in ticks of the watchdog's own clock.

    Not in wall time: a process that was suspended has not hung.
    """

    def __init__(self) -> None:
        self._value = -1
        self.seconds = 0.0

    def tick(self, value: int, *, expected: bool = True) -> float:
        self.seconds = self.seconds + _TICK_S if expected and value == self._value else 0.0
        self._value = value
        return self.seconds


class Watchdog:
    """Watches stages; `stalled_s` and `outage_s` say how long which silence is borne (0: for ever)."""

    def __init__(
        self,
        stages: Sequence[Watched],
        stalled_s: float,
        outage_s: float,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._stages = stages
        self._stalled_s = stalled_s
        self._outage_s = outage_s
        self._end = end
        self._progress = [_Idle() for _ in stages]
        self._answers = [_Idle() for _ in stages]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)

    def start(self) -> None:
        """Start watching."""
        self._thread.start()

    def stop(self) -> None:
        """Stop watching: the worker is ending in an orderly way."""
        self._stop.set()

    def idle(self) -> dict[str, float]:
        """For how many seconds each stage has had records waiting and done none."""
        return {stage.name: idle.seconds for stage, idle in zip(self._stages, self._progress, strict=True)}

    def tick(self) -> str | None:
        """One second has passed: why the worker must end, or None."""
        for stage, progress, answers in zip(self._stages, self._progress, self._answers, strict=True):
            stalled = progress.tick(stage.progress, expected=stage.joined and stage.lag > 0)
            silent = answers.tick(stage.measured, expected=stage.joined)
            if 0 < self._outage_s < silent:
                return f"{stage.name}: Kafka has not answered for {silent:.0f} s"
            if 0 < self._stalled_s < stalled:
                return f"{stage.name}: {stage.lag} records wait and none was done for {stalled:.0f} s"
        return None

    def _run(self) -> None:
        while not self._stop.wait(_TICK_S):
            reason = self.tick()
            if reason is not None:
                logger.critical("%s; ending this worker, nothing is lost", reason)
                logging.shutdown()
                self._end(EXIT_HUNG)
                return
