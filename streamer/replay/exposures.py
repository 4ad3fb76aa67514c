"""Predictions joined with who was shown what, or with everything predicted; compact, whatever the number.

Knows nothing of Kafka: a collector calls `add`.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Protocol, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from models.log import Table

Probabilities = NDArray[np.float32]
Labels = NDArray[np.bool_]


class Sink(Protocol):
    """Takes predictions as they arrive."""

    def add(self, tweet_id: str, user_ids: Sequence[str], retweet: Sequence[float]) -> None:
        """One tweet's retweet probabilities for some users. The same pair may come again."""


class Exposures:
    """A fixed set of (user, tweet) pairs with labels [n].

    `probabilities` [n] are NaN until a prediction comes.
    """

    def __init__(self, user_ids: pa.Array, tweet_ids: pa.Array, labels: Labels) -> None:
        self.labels = labels
        users, tweets = (_encode(ids) for ids in (user_ids, tweet_ids))
        self._users = {user: i for i, user in enumerate(users.dictionary.to_pylist())}
        self._tweets = {tweet: i for i, tweet in enumerate(tweets.dictionary.to_pylist())}
        codes = _codes(tweets) * len(self._users) + _codes(users)
        # Somebody may be shown a tweet twice: both rows take the one prediction.
        self._pairs, self._rows = np.unique(codes, return_inverse=True)
        self._found = np.full(len(self._pairs), np.nan, np.float32)

    @classmethod
    def read(cls, table: Table, start_ms: int | None, end_ms: int | None) -> Self:
        """The exposures with start <= shown_at < end."""
        wanted = ["user_id", "tweet_id", "retweet"]
        batches = [batch.select(wanted) for batch in table.batches(start_ms, end_ms)]
        if not batches:
            nobody = pa.array([], pa.string())
            return cls(nobody, nobody, np.zeros(0, np.bool_))
        rows = pa.Table.from_batches(batches).combine_chunks()
        labels = rows["retweet"].to_numpy().astype(np.bool_)
        return cls(rows["user_id"], rows["tweet_id"], labels)

    @property
    def probabilities(self) -> Probabilities:
        """Per row; NaN where no prediction came."""
        return self._found[self._rows]

    def add(self, tweet_id: str, user_ids: Sequence[str], retweet: Sequence[float]) -> None:
        """See `Sink.add`."""
        tweet = self._tweets.get(tweet_id)
        if tweet is None:
            return
        users = np.fromiter((self._users.get(user, -1) for user in user_ids), np.int64, len(user_ids))
        codes = tweet * len(self._users) + users
        at = np.minimum(np.searchsorted(self._pairs, codes), len(self._pairs) - 1)
        hit = (users >= 0) & (self._pairs[at] == codes)
        self._found[at[hit]] = np.asarray(retweet, np.float32)[hit]


class Everything:
    """Every pair predicted counts as shown. Memory: 12 bytes a prediction and the ids once."""

    def __init__(self) -> None:
        self._users: dict[str, int] = {}
        self._tweets: dict[str, int] = {}
        self._codes = array("q")
        self._found = array("f")

    def add(self, tweet_id: str, user_ids: Sequence[str], retweet: Sequence[float]) -> None:
        """See `Sink.add`."""
        tweet = self._tweets.setdefault(tweet_id, len(self._tweets))
        users = self._users
        codes = [tweet << 32 | users.setdefault(user, len(users)) for user in user_ids]
        self._codes.extend(codes)
        self._found.extend(retweet)

    def joined(self, retweets: Sequence[tuple[str, str]]) -> tuple[Labels, Probabilities]:
        """Labels and probabilities, one for each pair predicted, given who (user, tweet) retweeted what."""
        codes, first = np.unique(np.frombuffer(self._codes, np.int64), return_index=True)
        positive = [
            tweet << 32 | user
            for user_id, tweet_id in retweets
            if (tweet := self._tweets.get(tweet_id)) is not None
            and (user := self._users.get(user_id)) is not None
        ]
        labels: Labels = np.isin(codes, np.array(positive, np.int64))
        return labels, np.frombuffer(self._found, np.float32)[first]


def _encode(ids: pa.Array) -> pa.DictionaryArray:
    encoded = pc.dictionary_encode(ids)
    return encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded


def _codes(ids: pa.DictionaryArray) -> NDArray[np.int64]:
    codes: NDArray[np.int64] = ids.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return codes
