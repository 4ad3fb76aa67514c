"""Target encodings: how often an author's tweets, a reader, and the two together end in a retweet.

Knows nothing of the other columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from models.dataset import Dataset

Keys = NDArray[np.uint64]
Floats = NDArray[np.float64]

ENCODINGS: Final = ("author_rate", "reader_rate", "reader_author_rate")
#: So many exposures at the base rate are added to what was counted.
_PRIOR: Final = 20.0
#: What came of an exposure counts for those shown at least so much later: retweets take their time.
_DELAY_MS: Final = 86_400_000


def keys_of(dataset: Dataset, rows: slice) -> list[Keys]:
    """The keys of each encoding, uint64 [n] each."""
    author = dataset.tweets["author"][dataset.exposures["tweet"][rows]].astype(np.uint64)
    reader = dataset.readers[rows].astype(np.uint64)
    return [author, reader, (author << np.uint64(32)) | reader]


@dataclass(slots=True, frozen=True)
class Encodings:
    """For each of ENCODINGS the keys, ascending, and their rates; `base` for all others."""

    base: float
    keys: list[Keys]
    rates: list[NDArray[np.float32]]

    @classmethod
    def fit(cls, keys: list[Keys], labels: NDArray[np.bool_], weights: Floats) -> Self:
        """Count exposures [n]."""
        base = float(np.average(labels, weights=weights))
        found, rates = [], []
        for column in keys:
            unique, index = np.unique(column, return_inverse=True)
            shown = np.bincount(index, weights)
            rate = (np.bincount(index, weights * labels) + _PRIOR * base) / (shown + _PRIOR)
            found.append(unique)
            rates.append(rate.astype(np.float32))
        return cls(base, found, rates)

    def columns(self, keys: list[Keys]) -> NDArray[np.float32]:
        """The rates of exposures that come after what was counted, float32 [n, len(ENCODINGS)]."""
        out = np.full((len(keys[0]), len(ENCODINGS)), self.base, np.float32)
        for i, column in enumerate(keys):
            if len(self.keys[i]):
                place = np.minimum(np.searchsorted(self.keys[i], column), len(self.keys[i]) - 1)
                out[:, i] = np.where(self.keys[i][place] == column, self.rates[i][place], self.base)
        return out


def earlier(
    keys: list[Keys], labels: NDArray[np.bool_], weights: Floats, shown_at: NDArray[np.int64], base: float
) -> NDArray[np.float32]:
    """The same of the exposures that are counted themselves, each by what was known of it at its time."""
    out = np.empty((len(labels), len(ENCODINGS)), np.float32)
    time = shown_at - shown_at.min(initial=0 if not len(shown_at) else shown_at[0])
    span = int(time.max(initial=0)) + 2 * _DELAY_MS
    for i, column in enumerate(keys):
        _, index = np.unique(column, return_inverse=True)
        order = np.lexsort((time, index))
        at = (index * span + time + _DELAY_MS)[order]  # ascending, and keys more than a delay apart
        end = np.searchsorted(at, at - _DELAY_MS, side="right")
        start = np.searchsorted(index[order], index[order])
        shown = np.concatenate([[0.0], np.cumsum(weights[order])])
        acted = np.concatenate([[0.0], np.cumsum((weights * labels)[order])])
        rate = (acted[end] - acted[start] + _PRIOR * base) / (shown[end] - shown[start] + _PRIOR)
        out[order, i] = rate
    return out
