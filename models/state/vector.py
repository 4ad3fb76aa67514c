"""What a model has made of one user, packed so that a batch of them decodes in one call.

Knows nothing of how the vectors come about (`models.serving`) or of where they are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.state.decay import ACTIONS
from models.state.user import STATS

#: Bytes of a sketch of a history's terms (`models.text.coverage`).
SKETCH: Final = 300
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


def vector_dtype(dimensions: int, interests: int, width: int, taste: int) -> np.dtype[np.void]:
    """The packed record: habits; the user vector and the `interests` interest vectors of `width` numbers, of
    which `filled` count, as `models.rounding` codes; the leaning as `models.text.likeness` codes; the sketch
    of the history's terms.

    633 bytes for the default 64, 32, 12 and 32: with its key, Redis then takes less than 800 a user. Above
    634 bytes it would take 128 more.
    """
    return np.dtype(
        [
            ("habits", HABITS),
            ("vector", "i1", (dimensions,)),
            ("interests", "u1", (interests, width // 2)),
            ("filled", "u1"),
            ("leaning", "i1", (taste,)),
            ("sketch", "u1", (SKETCH,)),
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
