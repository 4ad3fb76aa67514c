"""Exponentially decayed counts that do not depend on the order in which events arrive.

A count is kept as its value at the time of the newest event seen. An older event adds its already decayed
weight, so any order of the same events gives the same number (up to rounding).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.events import Action

#: The order of every per-action array of counts.
ACTIONS: Final[tuple[Action, ...]] = ("retweet", "quote", "reply", "like", "hide", "impression")
ACTION_INDEX: Final[dict[str, int]] = {action: i for i, action in enumerate(ACTIONS)}

DAY: Final = 86_400
#: Half-life of the slow counts: of a user's habits and of his or her affinity with an author.
SLOW: Final = 30 * DAY
#: Half-life of the fast count: is the user active at the moment?
FAST: Final = 1 * DAY


def bump(
    counts: NDArray[np.float32], index: int, newest: int, at: int, half_life: float, weight: float = 1.0
) -> None:
    """Add an event at second `at` to `counts` [k] in place, whose values stand at second `newest` (0: none).

    The caller then stores `max(newest, at)` as the new reference time.
    """
    if at >= newest:
        if newest:
            counts *= np.float32(2.0 ** (-(at - newest) / half_life))
        counts[index] += weight
    else:
        counts[index] += weight * 2.0 ** (-(newest - at) / half_life)
