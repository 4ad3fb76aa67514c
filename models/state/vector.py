"""What a model has made of one user, packed so that a batch of them decodes in one call.

Knows nothing of how the vectors come about (`models.serving`) or of where they are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.state.decay import ACTIONS
from models.state.user import HISTORY, STATS

#: Terms kept of each tweet of a history, the heaviest of its own.
HISTORY_TERMS: Final = 12
#: The part of a user's state that a score needs afresh, because it depends on the time of the score.
HABITS: Final = np.dtype(
    [
        ("counts", "<f4", (len(ACTIONS),)),
        ("burst", "<f4"),
        ("newest", "<u4"),
        ("last_positive", "<u4"),
        ("total", "<u4"),
    ]
)


def vector_dtype(dimensions: int, interests: int) -> np.dtype[np.void]:
    """The packed record: habits, the user vector, `interests` interest vectors with their mask, and the terms
    of the tweets in the history (`models.text.terms`), 0 where there is none.
    """
    return np.dtype(
        [
            ("habits", HABITS),
            ("vector", "<f2", (dimensions,)),
            ("interests", "<f2", (interests, dimensions)),
            ("filled", "u1"),
            ("terms", "<u2", (HISTORY, HISTORY_TERMS)),
        ]
    )


def habits_of(stats: NDArray[np.void]) -> NDArray[np.void]:
    """The HABITS [n] part of STATS [n]."""
    out = np.zeros(len(stats), HABITS)
    for name in HABITS.names or ():
        out[name] = stats[name]
    return out


def decode(values: Sequence[bytes], dtype: np.dtype[np.void]) -> NDArray[np.void]:
    """Packed records as one read-only array [n]. Raises ValueError for another shape of model."""
    if any(len(value) != dtype.itemsize for value in values):
        raise ValueError(
            f"a user vector has not {dtype.itemsize} bytes: written by a model of another shape?"
        )
    return np.frombuffer(b"".join(values), dtype)


assert set(HABITS.names or ()) <= set(STATS.names or ())
