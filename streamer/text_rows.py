"""Byte strings in numbered slots, in one buffer that compiled code reads. Knows nothing of what they say."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from streamer.pair_writer import Bytes, Places, Texts, copied, texts


class TextRows:
    """A string for each slot, empty at first. Replaced ones are garbage until there is no room."""

    def __init__(self, capacity: int) -> None:
        self._starts, self._lengths = np.zeros(capacity, np.int64), np.zeros(capacity, np.int64)
        self._buffer = np.zeros(1 << 16, np.uint8)
        self._end = 0
        self._make_room(0)  # compiles, or loads what was compiled before: no batch has to wait for it

    @property
    def texts(self) -> Texts:
        """All of them, by slot; valid until the next `put`."""
        return Texts(self._buffer, self._starts, self._lengths)

    def at(self, slots: NDArray[np.intp]) -> list[bytes]:
        """The strings at these slots."""
        bounds = zip(self._starts[slots].tolist(), self._lengths[slots].tolist(), strict=True)
        return [self._buffer[start : start + length].tobytes() for start, length in bounds]

    def put(self, slots: NDArray[np.intp], strings: Sequence[bytes]) -> None:
        """Put strings into distinct slots."""
        new = texts(strings)
        self._lengths[slots] = 0
        if self._end + len(new.buffer) > len(self._buffer):
            self._make_room(len(new.buffer))
        self._buffer[self._end : self._end + len(new.buffer)] = new.buffer
        self._starts[slots] = self._end + new.starts
        self._lengths[slots] = new.lengths
        self._end += len(new.buffer)

    def _make_room(self, wanted: int) -> None:
        kept = int(self._lengths.sum())
        # Twice what is needed: making room again costs less than filling it did.
        buffer = np.zeros(max(2 * (kept + wanted), len(self._buffer)), np.uint8)
        _pack(self._buffer, self._starts, self._lengths, buffer)
        self._buffer, self._end = buffer, kept


@compiled
def _pack(old: Bytes, starts: Places, lengths: Places, new: Bytes) -> None:
    """Copy the strings back to back, and note where: numpy would want an index for each byte."""
    end = 0
    for row in range(len(starts)):
        start, starts[row] = starts[row], end
        end = copied(new, end, old, start, lengths[row])
