"""Stages of one worker compute one after the other, as long as none of them takes long.

Torch and NumPy let go of the GIL at each of the hundreds of operations that a few tweets take, and threads
that compute at once lose it to each other every time: at 34,000 predictions a second a worker's `embed` and
`score` waited longer than they worked. With turns p50 and p99 went from 63 and 162 ms to 50 and 113 (two runs
each), and its capacity stayed. A call that lasts, as with a large encoder, works without the GIL and keeps
nobody waiting. Knows nothing of stages.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: Longer than most calls take, shorter than anybody would notice.
_PATIENCE_S: Final = 0.02


class Turns:
    """Shared by the threads that take turns."""

    def __init__(self, patience_s: float = _PATIENCE_S) -> None:
        """Nobody waits for who has computed for `patience_s`."""
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._begun = 0.0

    @contextmanager
    def taken(self) -> Iterator[None]:
        """One's own turn, or an end of patience."""
        mine = self._lock.acquire(timeout=max(self._begun + self._patience_s - time.monotonic(), 0))
        if mine:
            self._begun = time.monotonic()
        try:
            yield
        finally:
            if mine:
                self._lock.release()
