"""A reader's taste: decayed sums of the vectors (`models.text.tastes`) of all that was engaged with or shown.

Reaches back further than a history of 32 engagements, at a size that does not grow. A model's own, since the
vectors are. Knows nothing of how vectors come about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.state.decay import DAY
from models.state.user import POSITIVE

HALF_LIFE: Final = 90 * DAY


def taste_dtype(width: int) -> np.dtype[np.void]:
    """The packed record: sums over tweets engaged with, and over those shown or hidden; how many, decayed
    too; the second they stand at. 268 bytes for 32 numbers.
    """
    return np.dtype([("sums", "<f4", (2, width)), ("counts", "<f4", (2,)), ("newest", "<u4")])


def remember(taste: NDArray[np.void], vector: NDArray[np.float32], action: str, at: int) -> None:
    """Add a tweet's vector [width] to record `taste` [1], in place; events may come in any order."""
    row, group = taste[0], 0 if action in POSITIVE else 1
    newest = int(row["newest"])
    weight = np.float32(2.0 ** (-abs(at - newest) / HALF_LIFE))
    if at >= newest:
        if newest:
            row["sums"] *= weight
            row["counts"] *= weight
        row["newest"], weight = at, np.float32(1)
    row["sums"][group] += weight * vector
    row["counts"][group] += weight


def decode(values: Sequence[bytes | None], width: int) -> NDArray[np.void]:
    """Packed records as one array [n], zeros where there is none. Raises ValueError for another width."""
    dtype = taste_dtype(width)
    if any(value is not None and len(value) != dtype.itemsize for value in values):
        raise ValueError(f"a taste has not {dtype.itemsize} bytes: written by a model of another shape?")
    empty = bytes(dtype.itemsize)
    return np.frombuffer(b"".join(empty if value is None else value for value in values), dtype)


def means(tastes: NDArray[np.void], group: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Means [n, width] over tweets engaged with (group 0) or shown and hidden (1), and their number [n]."""
    counts: NDArray[np.float32] = tastes["counts"][:, group]
    sums: NDArray[np.float32] = tastes["sums"][:, group]
    return np.divide(sums, np.maximum(counts, 1e-6)[:, None], dtype=np.float32), counts
