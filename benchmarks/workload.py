"""The world that is measured in: users, who follows whom, what is tweeted, and its state in Redis.

Audiences are heavy-tailed: log-normal sizes, so that of 1,000 authors with 200 followers on average half have
fewer than 100 and the largest has 5,000. Everything follows from the seed. Knows nothing of brokers, of
models' insides or of peers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, Self, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from models.events import ScoreRequest, Tweet
from models.state import affinity
from models.state.keys import short_key
from models.state.stores import FOLLOWED_BACK, FOLLOWS, Pair, Stores
from models.state.user import UserState
from models.world import WorldConfig, simulate
from streamer.sharding import shards_of

T = TypeVar("T")
Index = NDArray[np.intp]

#: 1 January 2024. Tweets are a second apart; those of the future would not be taken.
START_MS: Final = 1_704_067_200_000
#: Spread of the logarithm of audience sizes.
SPREAD: Final = 1.2
_TEXTS: Final = 5_000
#: Follow edges on which the reader has done something with the author before, and mutual ones.
_AFFINE, _MUTUAL = 0.1, 0.2
#: What is written to Redis at once.
_CHUNK: Final = 10_000


def audience_sizes(authors: int, mean: float, most: int) -> Index:
    """Sizes [authors] with this mean, exactly but for rounding, largest first; none above `most`.

    The quantiles of a log-normal distribution: the same for every seed.
    """
    sizes = np.exp(SPREAD * ndtri((np.arange(authors)[::-1] + 0.5) / authors))
    for _ in range(20):  # what is cut off at the top is spread over the others
        sizes = np.minimum(sizes * (mean / sizes.mean()), most)
    whole: Index = np.maximum(np.rint(sizes), 1).astype(np.intp)
    return whole


@dataclass(frozen=True)
class Workload:
    """`audiences[i]` are the followers of `users[authors[i]]`, as places in `users`."""

    users: list[str]
    authors: Index
    audiences: list[Index]
    texts: list[str]
    seed: int

    @classmethod
    def make(cls, users: int, sizes: Sequence[int] | Index, seed: int = 1) -> Self:
        """Authors with so many followers each; they are users too."""
        rng = np.random.default_rng(seed)
        ids = [str(id_) for id_ in np.sort(rng.integers(10**8, 2 * 10**18, users)).tolist()]
        authors = rng.choice(users, len(sizes), replace=False)
        audiences = []
        for author, size in zip(authors.tolist(), sizes, strict=True):
            others = rng.choice(users - 1, min(int(size), users - 1), replace=False, shuffle=False)
            audiences.append(others + (others >= author))
        order = rng.permutation(len(sizes))
        return cls(ids, authors[order], [audiences[i] for i in order.tolist()], _texts(seed), seed)

    @classmethod
    def fanout(cls, users: int, authors: int = 1_000, mean: float = 200, seed: int = 1) -> Self:
        """Heavy-tailed audiences; nobody has more followers than half of the users."""
        return cls.make(users, audience_sizes(authors, mean, users // 2), seed)

    def author_id(self, number: int) -> str:
        """Who wrote tweet `number`."""
        return self.users[int(self.authors[number % len(self.authors)])]

    def readers(self, numbers: Iterable[int]) -> int:
        """How many predictions these tweets come to."""
        return sum(len(self.audiences[number % len(self.authors)]) for number in numbers)

    def tweets(self, numbers: Iterable[int]) -> Iterator[Tweet]:
        """Tweets by number: authors in turn."""
        for number in numbers:
            yield Tweet(
                tweet_id=str(2_000_000_000_000_000_000 + number),
                author_id=self.author_id(number),
                created_at=START_MS + 1_000 * number,
                text=self.texts[number % len(self.texts)],
            )

    def requests(self, numbers: Iterable[int]) -> Iterator[ScoreRequest]:
        """For each of these tweets, as many users as follow its author, of whom few do."""
        rng = np.random.default_rng(self.seed + 1)
        for tweet in self.tweets(numbers := list(numbers)):
            count = self.readers([int(tweet.tweet_id) - 2_000_000_000_000_000_000])
            asked = rng.choice(len(self.users), count, replace=False, shuffle=False)
            yield ScoreRequest(tweet_ids=[tweet.tweet_id], user_ids=[self.users[i] for i in asked.tolist()])

    def fill(
        self, stores: Stores, shards: int, states: Sequence[UserState], vectors: Sequence[bytes]
    ) -> None:
        """Write what the stages would know: users' vectors and authors' states (the given ones in turn),
        audiences, and affinities of some readers.
        """
        self.fill_vectors(stores, vectors)
        self.fill_states(stores, states, self.authors.tolist())
        self.fill_edges(stores, shards)

    def fill_vectors(self, stores: Stores, vectors: Sequence[bytes]) -> None:
        """A vector for every user."""
        for start in range(0, len(self.users), _CHUNK):
            part = self.users[start : start + _CHUNK]
            stores.vectors.put_many(
                {user: vectors[(start + i) % len(vectors)] for i, user in enumerate(part)}
            )

    def fill_states(self, stores: Stores, states: Sequence[UserState], places: Iterable[int]) -> None:
        """A state for the users in these places."""
        for part in _chunks(places):
            stores.users.put_many({self.users[place]: states[place % len(states)] for place in part})

    def fill_edges(self, stores: Stores, shards: int) -> None:
        """Audiences and affinities."""
        for edges in _chunks(self._changes(shards)):
            stores.audiences.change(edges)
        record = affinity.empty()
        for number, action in enumerate(("impression", "like", "retweet")):
            affinity.engaged(record, action, START_MS // 1000 - 86_400 * (3 - number), number + 1)
        for pairs in _chunks(self._affine(shards)):
            stores.affinities.put_many(dict.fromkeys(pairs, record))

    def _pairs(self, shards: int) -> Iterator[Pair]:
        shard_of = shards_of(self.users, shards).tolist()
        for author, audience in zip(self.authors.tolist(), self.audiences, strict=True):
            for reader in audience.tolist():
                yield Pair(self.users[author], shard_of[reader], self.users[reader])

    def _changes(self, shards: int) -> Iterator[tuple[Pair, int, bool]]:
        rng = np.random.default_rng(self.seed + 2)
        for pair in self._pairs(shards):
            yield pair, FOLLOWS, True
            if rng.random() < _MUTUAL:
                yield pair, FOLLOWED_BACK, True

    def _affine(self, shards: int) -> Iterator[Pair]:
        rng = np.random.default_rng(self.seed + 3)
        return (pair for pair in self._pairs(shards) if rng.random() < _AFFINE)


def user_states(count: int, tweets: Sequence[Tweet], seed: int = 1) -> list[UserState]:
    """Users who have engaged with 32 of these tweets each: full histories."""
    rng = np.random.default_rng(seed)
    actions = ("retweet", "like", "like", "reply")
    states = []
    for _ in range(count):
        state = UserState()
        for step, place in enumerate(rng.choice(len(tweets), 32, replace=False).tolist()):
            tweet = tweets[place]
            at = START_MS // 1000 - 3_600 * (33 - step)
            state.engage(int(tweet.tweet_id), short_key(tweet.author_id), actions[step % 4], at)
        states.append(state)
    return states


def _texts(seed: int) -> list[str]:
    """Texts of the simulated network: short, in three languages, with hashtags."""
    world = WorldConfig(users=200, authors=50, tweets=_TEXTS, follows=8, echo=0.0, days=10, seed=seed)
    return [tweet.text or "" for tweet in simulate(world).tweets]


def _chunks(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while part := list(islice(iterator, _CHUNK)):
        yield part
