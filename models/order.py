"""In which order exposures are learned from: another one in each epoch, the same for the same seed.

Exposures of one user state stay together: a batch then computes about a fifth of the histories that it would
need in a plain shuffle. Memory is that of the user states; the exposures themselves are listed in a file.
Knows nothing of networks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.dataset import Dataset

Rows = NDArray[np.int64]
#: Exposures sorted at once.
_CHUNK: Final = 1 << 18
#: Steps of an epoch, at the least, and the fewest and most exposures of a step that the recipe leaves open.
_STEPS: Final = 180
_FEWEST, _MOST = 16, 1_024


def batch_of(exposures: int) -> int:
    """Exposures in a step of an epoch over so many.

    What counts is steps: 700 in all were enough for a real log of 209,529 exposures, in batches of 1,024 or
    of 256. With batches of 1,024, a tenth of that log had 76 steps and came to an RCE of 48.6, with 64 to
    60.4 (LightGBM 56.5); 3,113 exposures came to 3.0, with 16 to 47.7.
    """
    return min(max(exposures // _STEPS, _FEWEST), _MOST)


class Order:
    """`steps` batches an epoch, of `batch` rows or a few less; `bounds[i]` rows are done after i of them."""

    def __init__(self, dataset: Dataset, rows: slice, batch: int, seed: int, file: Path) -> None:
        n = rows.stop - rows.start
        self.steps = math.ceil(n / batch)
        self.rows = n
        self.bounds: list[int] = np.linspace(0, n, self.steps + 1).astype(int).tolist()
        self._seed = seed
        states = dataset.exposures["user"]
        chunks = [slice(i, min(i + _CHUNK, rows.stop)) for i in range(rows.start, rows.stop, _CHUNK)]
        self._counts = np.zeros(len(dataset.users), np.uint32)
        for chunk in chunks:
            found, counts = np.unique(states[chunk], return_counts=True)
            self._counts[found] += counts.astype(np.uint32)
        self._starts = np.cumsum(self._counts, dtype=np.int64) - self._counts
        self._rows = np.memmap(file, np.uint32, mode="w+", shape=n)
        places = self._starts.copy()
        for chunk in chunks:
            found, group, counts = np.unique(states[chunk], return_inverse=True, return_counts=True)
            order = np.argsort(group, kind="stable")
            within = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
            self._rows[np.repeat(places[found], counts) + within] = order + chunk.start
            places[found] += counts

    def batches(self, epoch: int, start: int = 0) -> Iterator[Rows]:
        """Rows of the exposures of each step of an epoch, from step `start` on."""
        states = np.arange(len(self._counts), dtype=np.uint32)
        np.random.default_rng((self._seed, epoch)).shuffle(states)
        ends = np.cumsum(self._counts[states], dtype=np.int64)
        for step in range(start, self.steps):
            low, high = self.bounds[step], self.bounds[step + 1]
            a, b = int(np.searchsorted(ends, low, "right")), int(np.searchsorted(ends, high, "left")) + 1
            lengths = self._counts[states[a:b]].astype(np.int64)
            begins = self._starts[states[a:b]]
            # Row i of the states end to end, of which the first and the last may be cut.
            shift = np.repeat(begins - (np.cumsum(lengths) - lengths), lengths)
            skipped = int(ends[a] - lengths[0])
            places = (np.arange(len(shift)) + shift)[low - skipped : high - skipped]
            yield self._rows[places].astype(np.int64)
