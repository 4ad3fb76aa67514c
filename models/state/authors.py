"""What authors publish and receive, as forward-decayed sums that several writers can add to at once.

A plain increment is the only thing that several partitions may do to one key without a lock, so an event at
second t adds 2**((t - LANDMARK) / HALF_LIFE), and a sum is divided by the same power of "now" when it is read
(forward decay: Cormode et al., ICDE 2009). Float64 lasts until the year 2180.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.state.decay import DAY
from models.state.tweet import TweetRecord

#: The day of the first tweet, 2006-03-21.
LANDMARK: Final = 1_142_899_200
HALF_LIFE: Final = 60 * DAY


def increment(at: int) -> float:
    """What one event at second `at` adds to a sum."""
    return float(2.0 ** ((at - LANDMARK) / HALF_LIFE))


def published(tweet: TweetRecord) -> tuple[str, str, float]:
    """What a tweet adds: author, field and amount."""
    return tweet.author_id, "tweets", increment(tweet.created_at // 1000)


def decayed_counts(sums: NDArray[np.float64], now: NDArray[np.int64] | int) -> NDArray[np.float32]:
    """Sums [n, k] as decayed counts at second `now` (scalar or [n])."""
    factor = np.exp2(-(np.asarray(now, np.float64) - LANDMARK) / HALF_LIFE)
    counts: NDArray[np.float32] = (sums * np.reshape(factor, (-1, 1))).astype(np.float32)
    return counts
