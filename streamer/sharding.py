"""Which shard of an audience a user belongs to: the partition of `predictions` that the id is placed on.

So the scorer that reads partition p of `score-requests` needs only p's users, and writes only to partition p.
The number of shards is `kafka.partitions`, and is part of the keys in Redis: it cannot change without filling
Redis anew. Knows nothing of topics.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.state.transitions import ShardOf
from streamer.partitions import partitions_of


def shards_of(user_ids: Sequence[str], shards: int) -> NDArray[np.int64]:
    """The shard of every user."""
    return partitions_of([user_id.encode() for user_id in user_ids], shards)


def shard_table(user_ids: Iterable[str], shards: int) -> ShardOf:
    """A function that knows the shards of just these users: hashing many at once is several times cheaper."""
    distinct = list(dict.fromkeys(user_ids))
    return dict(zip(distinct, shards_of(distinct, shards).tolist(), strict=True)).__getitem__


def split(user_ids: Iterable[str], shards: int) -> dict[int, list[str]]:
    """The users by shard, each once, in their order."""
    distinct = list(dict.fromkeys(user_ids))
    parts: dict[int, list[str]] = {}
    for user_id, shard in zip(distinct, shards_of(distinct, shards).tolist(), strict=True):
        parts.setdefault(shard, []).append(user_id)
    return parts
