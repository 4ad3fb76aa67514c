"""The likeliest readers so far of a tweet whose readers are scored piece by piece.

In bounded memory, however many readers there are. Knows nothing of records, slots or stores.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from streamer.predictions import Objects, ScoredTweet

#: A reader's coldness and probabilities.
_Row = tuple[bool, Sequence[float]]


class Best:
    """Of one tweet: in each shard the `k` readers with the largest probability in column `head`."""

    def __init__(self, tweet: ScoredTweet, k: int, head: int) -> None:
        self.tweet = tweet
        self._k, self._head = k, head
        # By user: a store may bring a reader twice.
        self._rows: dict[int, dict[str, _Row]] = {}

    def add(
        self, shard: int, user_ids: Objects, cold: NDArray[np.bool_], probabilities: NDArray[np.float32]
    ) -> None:
        """Readers of a shard as columns [n], and their probabilities [n, heads]."""
        rows = self._rows.setdefault(shard, {})
        found = zip(cold.tolist(), probabilities.tolist(), strict=True)
        rows.update(zip(user_ids.tolist(), found, strict=True))
        # Never much work for a reader, and never more than twice `k` beside those of one piece.
        if len(rows) > 2 * self._k:
            self._rows[shard] = dict(self._likeliest(rows.items()))

    def shards(self) -> Iterator[tuple[int, Objects, NDArray[np.bool_], NDArray[np.float32]]]:
        """What `add` takes, of the likeliest of each shard."""
        for shard, rows in self._rows.items():
            if best := self._likeliest(rows.items()):
                users, found = zip(*best, strict=True)
                cold, probabilities = zip(*found, strict=True)
                yield shard, np.array(users, object), np.array(cold), np.array(probabilities, np.float32)

    def _likeliest(self, rows: Iterable[tuple[str, _Row]]) -> list[tuple[str, _Row]]:
        return heapq.nlargest(self._k, rows, key=lambda row: row[1][1][self._head])
