"""Progress of long work as plain values, for whoever wants to show it.

Knows nothing of terminals. Work calls a `Progress`; a command line draws bars from it, a test records it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(slots=True, frozen=True)
class Step:
    """Where a phase of the work stands. `total` is None where nobody knows; `values` are e.g. losses.

    `before` units were done by an earlier run, not in these `seconds`.
    """

    phase: str
    done: int
    total: int | None
    unit: str
    seconds: float
    values: Mapping[str, float] = field(default_factory=dict)
    before: int = 0

    @property
    def rate(self) -> float:
        """Units a second so far."""
        return (self.done - self.before) / self.seconds if self.seconds > 0 else 0.0

    @property
    def seconds_left(self) -> float | None:
        """None where the total or the rate is unknown."""
        if self.total is None or not self.rate:
            return None
        return max(self.total - self.done, 0) / self.rate

    @property
    def finished(self) -> bool:
        """Whether this is the phase's last step."""
        return self.total is not None and self.done >= self.total


Progress = Callable[[Step], None]


def silent(_step: Step) -> None:
    """Shows nothing."""


class Phase:
    """Reports one phase's steps, at most ten a second, but always the first and the last."""

    def __init__(self, progress: Progress, phase: str, total: int | None, unit: str, before: int = 0) -> None:
        self._progress, self._phase, self._total, self._unit = progress, phase, total, unit
        self._start = time.monotonic()
        self._shown = 0.0
        self._before = before
        self.done = before
        self.to(before)

    def to(self, done: int, values: Mapping[str, float] | None = None) -> None:
        """`done` units are done. Steps with `values` are always reported."""
        self.done = done
        now = time.monotonic()
        if values is None and done != self._total and now - self._shown < 0.1:
            return
        self._shown = now
        seconds = now - self._start
        self._progress(Step(self._phase, done, self._total, self._unit, seconds, values or {}, self._before))

    def end(self, values: Mapping[str, float] | None = None) -> None:
        """The phase is over, whatever its total was."""
        self._total = self.done
        self.to(self.done, values or {})
