"""User states as the arrays that the user tower reads. The one place for it, in training and in serving.

Knows nothing of stores, nor of how the items' tweet vectors are found.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.features import profile_features
from models.state.decay import ACTION_INDEX
from models.state.user import HISTORY, ITEM, STATS, UserState
from models.users.base import Histories

#: Statistics and items of one user, newest item first, `count` of them.
SNAPSHOT: Final = np.dtype([("stats", STATS), ("items", ITEM, (HISTORY,)), ("count", "u1")])


def snapshots(states: Sequence[UserState]) -> NDArray[np.void]:
    """States as SNAPSHOT [n]."""
    out = np.zeros(len(states), SNAPSHOT)
    for i, state in enumerate(states):
        out["stats"][i] = state.stats[0]
        items = state.items[::-1][:HISTORY]
        out["items"][i, : len(items)] = items
        out["count"][i] = len(items)
    return out


def depth(users: NDArray[np.void], history: int) -> int:
    """How many items the longest of the histories in SNAPSHOT [n] has, `history` at most."""
    return min(int(users["count"].max(initial=0)), history)


def reader_terms(users: NDArray[np.void], terms: NDArray[np.uint16]) -> NDArray[np.uint16]:
    """SNAPSHOT [n] and the terms [n, m, t] of the first m items to [n, m, t]: 0 where an item is no sign of
    interest, or is none.
    """
    m = terms.shape[1]
    here = np.arange(m) < users["count"][:, None]
    here &= users["items"]["action"][:, :m] != ACTION_INDEX["hide"]
    return terms * here[:, :, None]


def histories(
    users: NDArray[np.void],
    vectors: torch.Tensor,
    known: NDArray[np.bool_],
    tastes: NDArray[np.float32],
    readers: NDArray[np.uint32],
) -> Histories:
    """SNAPSHOT [n], tweet vectors [n, m, d] of the first m items, whether each is known, bool [n, m],
    `Tastes.features` [n, t], and the users' short keys [n].
    """
    m = known.shape[1]
    items = users["items"][:, :m]
    here = np.arange(m) < users["count"][:, None]
    at = items["at"].astype(np.int64)
    device = vectors.device

    def tensor(array: NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(array).to(device)

    return Histories(
        vectors=vectors,
        mask=tensor(here & known),
        authors=tensor(items["author"].astype(np.int64)),
        actions=tensor(items["action"].astype(np.int64)),
        ages=tensor(np.where(here, at[:, :1] - at, 0)),
        profile=tensor(profile_features(users["stats"])),
        words=tensor(users["stats"]["words"].astype(np.int64)),
        tastes=tensor(tastes),
        # All of whom nothing is known are alike: the stream has one vector for them.
        readers=tensor(np.where(_anything(users["stats"]), readers, 0).astype(np.int64)),
    )


def _anything(stats: NDArray[np.void]) -> NDArray[np.bool_]:
    """Whether anything is known of users with STATS [n]."""
    known: NDArray[np.bool_] = (stats["known"] > 0) | (stats["newest"] > 0)
    return known
