"""The stores in this process's memory: for training, evaluation and tests.

Knows nothing of expiry: a log that is replayed ends.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import compress

import numpy as np
from numpy.typing import NDArray

from models.state.affinity import AFFINITY
from models.state.authors import published
from models.state.stores import (
    AUTHOR_FIELDS,
    AuthorStore,
    Looked,
    Pair,
    Stores,
    TweetStore,
    UserStore,
)
from models.state.tweet import TweetRecord
from models.state.user import UserState


class MemoryTweets:
    """See `TweetStore`."""

    def __init__(self) -> None:
        self._records: dict[int, TweetRecord] = {}

    def get_many(self, keys: Sequence[int]) -> list[TweetRecord | None]:
        """See `TweetStore.get_many`."""
        return [self._records.get(key) for key in keys]

    def put_new(self, records: Mapping[int, TweetRecord]) -> list[bool]:
        """See `TweetStore.put_new`."""
        return [self._records.setdefault(key, record) is record for key, record in records.items()]

    def keep(self, keys: Sequence[int]) -> None:
        """Nothing expires here."""


class MemoryUsers:
    """See `UserStore`. States are held packed, so that a caller's copy is its own."""

    def __init__(self) -> None:
        self._states: dict[str, bytes] = {}

    def get_many(self, user_ids: Sequence[str]) -> list[UserState | None]:
        """See `UserStore.get_many`."""
        found = (self._states.get(user_id) for user_id in user_ids)
        return [None if data is None else UserState.from_bytes(data) for data in found]

    def put_many(self, states: Mapping[str, UserState]) -> None:
        """See `UserStore.put_many`."""
        self._states.update((user_id, state.to_bytes()) for user_id, state in states.items())


class MemoryUserVectors:
    """See `UserVectorStore`."""

    def __init__(self) -> None:
        self._vectors: dict[str, bytes] = {}

    def get_many(self, user_ids: Sequence[str]) -> list[bytes | None]:
        """See `UserVectorStore.get_many`."""
        return [self._vectors.get(user_id) for user_id in user_ids]

    def put_many(self, vectors: Mapping[str, bytes]) -> None:
        """See `UserVectorStore.put_many`."""
        self._vectors.update(vectors)


class MemoryTastes:
    """See `TasteStore`."""

    def __init__(self) -> None:
        self._tastes: dict[str, bytes] = {}

    def get_many(self, user_ids: Sequence[str]) -> list[bytes | None]:
        """See `TasteStore.get_many`."""
        return [self._tastes.get(user_id) for user_id in user_ids]

    def put_many(self, tastes: Mapping[str, bytes]) -> None:
        """See `TasteStore.put_many`."""
        self._tastes.update(tastes)


class MemoryAudiences:
    """See `AudienceStore`."""

    def __init__(self) -> None:
        self._edges: defaultdict[tuple[str, int], dict[str, int]] = defaultdict(dict)

    def get(self, authors: Sequence[tuple[str, int]]) -> list[tuple[list[str], NDArray[np.uint8]]]:
        """See `AudienceStore.get`."""
        found = [self._edges.get(author, {}) for author in authors]
        return [(list(edges), np.fromiter(edges.values(), np.uint8, len(edges))) for edges in found]

    def sizes(self, authors: Sequence[tuple[str, int]]) -> NDArray[np.int64]:
        """See `AudienceStore.sizes`."""
        return np.array([len(self._edges.get(author, ())) for author in authors], np.int64)

    def scan(self, author_id: str, shard: int) -> Iterator[tuple[list[str], NDArray[np.uint8]]]:
        """See `AudienceStore.scan`."""
        users, bits = self.get([(author_id, shard)])[0]
        for start in range(0, len(users), 4096):
            yield users[start : start + 4096], bits[start : start + 4096]

    def bits(self, pairs: Sequence[Pair]) -> NDArray[np.uint8]:
        """See `AudienceStore.bits`."""
        found = (self._edges.get((a, shard), {}).get(user, 0) for a, shard, user in pairs)
        return np.fromiter(found, np.uint8, len(pairs))

    def change(self, changes: Iterable[tuple[Pair, int, bool]]) -> None:
        """See `AudienceStore.change`."""
        for (author, shard, user), bit, on in changes:
            edges = self._edges[author, shard]
            value = edges.get(user, 0) | bit if on else edges.get(user, 0) & ~bit
            if value:
                edges[user] = value
            else:
                edges.pop(user, None)


class MemoryAffinities:
    """See `AffinityStore`."""

    def __init__(self) -> None:
        self._records: defaultdict[tuple[str, int], dict[str, NDArray[np.void]]] = defaultdict(dict)

    def get(self, authors: Sequence[tuple[str, int]]) -> list[tuple[list[str], NDArray[np.void]]]:
        """See `AffinityStore.get`."""
        found = [self._records.get(author, {}) for author in authors]
        empty = np.zeros(0, AFFINITY)
        return [(list(r), np.concatenate(list(r.values())) if r else empty) for r in found]

    def get_many(self, pairs: Sequence[Pair]) -> NDArray[np.void]:
        """See `AffinityStore.get_many`."""
        out = np.zeros(len(pairs), AFFINITY)
        for i, (author, shard, user) in enumerate(pairs):
            record = self._records.get((author, shard), {}).get(user)
            if record is not None:
                out[i] = record[0]
        return out

    def put_many(self, records: Mapping[Pair, NDArray[np.void]]) -> None:
        """See `AffinityStore.put_many`."""
        for (author, shard, user), record in records.items():
            self._records[author, shard][user] = record.copy()


class MemoryAuthors:
    """See `AuthorStore`."""

    def __init__(self) -> None:
        self._sums: defaultdict[str, NDArray[np.float64]] = defaultdict(lambda: np.zeros(len(AUTHOR_FIELDS)))

    def get_many(self, author_ids: Sequence[str]) -> NDArray[np.float64]:
        """See `AuthorStore.get_many`."""
        zeros = np.zeros(len(AUTHOR_FIELDS))
        rows = [self._sums.get(author, zeros) for author in author_ids]
        return np.array(rows).reshape(-1, len(AUTHOR_FIELDS))

    def add(self, increments: Iterable[tuple[str, str, float]]) -> None:
        """See `AuthorStore.add`."""
        for author, field, amount in increments:
            self._sums[author][AUTHOR_FIELDS.index(field)] += amount


class MemoryIntake:
    """See `Intake`. A claim never lapses, since no other process can hold one."""

    def __init__(self, tweets: TweetStore, users: UserStore, authors: AuthorStore) -> None:
        self._tweets, self._users, self._authors = tweets, users, authors
        self._claims: set[int] = set()

    def look(
        self, keys: Sequence[int], seconds: float, authors: Sequence[str] = (), users: Sequence[str] = ()
    ) -> Looked:
        """See `Intake.look`."""
        records = self._tweets.get_many(keys)
        ours = []
        for key, record in zip(keys, records, strict=True):
            ours.append(record is None and key not in self._claims)
            if record is None:
                self._claims.add(key)
        return Looked(records, ours, self._authors.get_many(authors), self._users.get_many(users))

    def put(self, records: Mapping[int, TweetRecord]) -> list[bool]:
        """See `Intake.put`."""
        fresh = self._tweets.put_new(records)
        self._authors.add(map(published, compress(records.values(), fresh)))
        return fresh


def memory_stores() -> Stores:
    """A fresh set of empty stores."""
    tweets, users, authors = MemoryTweets(), MemoryUsers(), MemoryAuthors()
    return Stores(
        tweets,
        users,
        MemoryUserVectors(),
        MemoryTastes(),
        MemoryAudiences(),
        MemoryAffinities(),
        authors,
        MemoryIntake(tweets, users, authors),
    )
