"""How like what a reader engages with a tweet is: its taste vector along the reader's leaning.

Knows nothing of networks, nor of where tastes and leanings come from (`models.text.tastes`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled

#: Codes of a leaning are multiples of this: leanings are -4..4, within-reader deviations being 1.
STEP: Final = 1 / 24
#: The inner product and the cosine; 0 where a reader leans nowhere.
LIKENESS: Final = ("taste_product", "taste_cosine")

Codes = NDArray[np.int8]


def codes(leanings: NDArray[np.float32]) -> Codes:
    """Leanings [n, w] as they are kept with users."""
    out: Codes = np.rint(leanings / np.float32(STEP)).clip(-127, 127).astype(np.int8)
    return out


def likeness(
    tastes: NDArray[np.float32], tweet: NDArray[np.intp], leanings: Codes, reader: NDArray[np.intp]
) -> NDArray[np.float32]:
    """LIKENESS float32 [n, 2] of pairs (tastes[tweet[i]], leanings[reader[i]])."""
    out = np.empty((len(tweet), len(LIKENESS)), np.float32)
    _likeness(tastes, lengths(tastes), tweet, leanings, reader, out)
    return out


def lengths(tastes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Of tweets' vectors [n, w]: [n]."""
    out: NDArray[np.float32] = np.sqrt((tastes**2).sum(1))
    return out


@compiled
def alike(
    tastes: NDArray[np.float32], length: np.float32, t: int, rows: Codes, r: int, at: int, width: int
) -> tuple[np.float32, np.float32]:
    """LIKENESS of tweet `t` of that length by the leaning of `width` codes that begins at `rows[r, at]`."""
    product, square = np.float32(0), np.float32(0)
    for j in range(width):
        code = np.float32(rows[r, at + j])
        product += tastes[t, j] * code
        square += code * code
    return product * np.float32(STEP), product / (length * np.sqrt(square) + np.float32(1e-6))


@compiled
def _likeness(
    tastes: NDArray[np.float32],
    length: NDArray[np.float32],
    tweet: NDArray[np.intp],
    leanings: Codes,
    reader: NDArray[np.intp],
    out: NDArray[np.float32],
) -> None:
    for i in range(len(tweet)):
        t = tweet[i]
        out[i, 0], out[i, 1] = alike(tastes, length[t], t, leanings, reader[i], 0, tastes.shape[1])
