"""(Reader, tweet) pairs of many tweets as columns: who reads, and what the model wants to know of it.

All lookups run over the pairs of all tweets at once: with some fifty followers per tweet and shard, a dozen
numpy calls per tweet would cost more than the model. Knows nothing of Kafka, of probabilities or of JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat

import numpy as np
from numpy.typing import NDArray

from models.features import Floats, pair_features
from models.state.affinity import AFFINITY
from models.state.stores import FOLLOWS, Pair, Stores
from models.state.tweet import TweetRecord
from streamer.sharding import shards_of
from streamer.user_matrix import UserMatrix

Index = NDArray[np.intp]


@dataclass(slots=True, frozen=True)
class Unit:
    """One tweet to be scored at second `now`: for the followers in `shard`, or for `users`."""

    tweet_id: str
    tweet: TweetRecord
    now: int
    shard: int | None = None
    users: Sequence[str] = ()


@dataclass(slots=True, frozen=True)
class Pairs:
    """Columns [n], ordered by unit: the unit's place, the reader's slot in the matrix, their features."""

    unit: Index
    slots: Index
    features: Floats


def load_pairs(units: Sequence[Unit], stores: Stores, matrix: UserMatrix, shards: int) -> Pairs:
    """The pairs of these units, of `user_matrix.MOST_USERS` readers at most, in a few round trips.

    Entries that do not follow (any more), and authors who follow themselves, are left out of audiences; users
    asked for by name are all there. The slots are valid until the matrix loads again.
    """
    readers: list[Sequence[str]] = [()] * len(units)
    bits: list[NDArray[np.uint8]] = [np.empty(0, np.uint8)] * len(units)
    audience = [i for i, unit in enumerate(units) if unit.shard is not None]
    named = [i for i, unit in enumerate(units) if unit.shard is None]
    authors = list(dict.fromkeys((units[i].tweet.author_id, units[i].shard or 0) for i in audience))
    followers = dict(zip(authors, stores.audiences.get(authors), strict=True))
    for i in audience:
        readers[i], bits[i] = followers[units[i].tweet.author_id, units[i].shard or 0]
    edges = _named_edges([units[i] for i in named], shards)
    if edges:
        found = stores.audiences.bits(edges)
        bounds = np.cumsum([0, *(len(units[i].users) for i in named)]).tolist()
        for i, low, high in zip(named, bounds, bounds[1:], strict=False):
            readers[i], bits[i] = units[i].users, found[low:high]

    unit = np.repeat(np.arange(len(units)), [len(users) for users in readers])
    slots = matrix.slots(list(chain.from_iterable(readers)))
    bit = np.concatenate(bits) if bits else np.empty(0, np.uint8)
    is_audience = np.array([u.shard is not None for u in units], np.bool_)
    author_slot = matrix.find([u.tweet.author_id for u in units])
    wanted = ~is_audience[unit] | (((bit & FOLLOWS) != 0) & (slots != author_slot[unit]))

    affinity = np.zeros(len(unit), AFFINITY)
    _audience_affinities(affinity, units, audience, authors, stores, matrix, unit, slots)
    if edges:
        affinity[~is_audience[unit]] = stores.affinities.get_many(edges)
    if not wanted.all():
        unit, slots, bit, affinity = unit[wanted], slots[wanted], bit[wanted], affinity[wanted]

    features = pair_features(
        np.array([u.now for u in units], np.int64)[unit],
        bit,
        affinity,
        matrix.rows.habits[slots],
        _mentioned(units, matrix, unit, slots),
        _reciprocity(units, stores, unit, matrix.rows.keys[slots]),
    )
    return Pairs(unit, slots, features)


def _named_edges(units: Sequence[Unit], shards: int) -> list[Pair]:
    users = list(chain.from_iterable(unit.users for unit in units))
    authors = chain.from_iterable(repeat(unit.tweet.author_id, len(unit.users)) for unit in units)
    return list(map(Pair, authors, shards_of(users, shards).tolist(), users))


def _audience_affinities(
    out: NDArray[np.void],
    units: Sequence[Unit],
    audience: Sequence[int],
    authors: Sequence[tuple[str, int]],
    stores: Stores,
    matrix: UserMatrix,
    unit: Index,
    slots: Index,
) -> None:
    """Fill in the affinities of the pairs of audience units."""
    if not authors:
        return
    found = stores.affinities.get(authors)
    place = {author: i for i, author in enumerate(authors)}
    # Users of the author's affinities who are in the audience are at hand by now; the others do not matter.
    known = matrix.find(list(chain.from_iterable(users for users, _ in found)))
    owner = np.repeat(np.arange(len(authors)), [len(users) for users, _ in found])
    records = np.concatenate([records for _, records in found])
    at_hand = np.flatnonzero(known >= 0)
    order = at_hand[np.argsort(_joint(owner[at_hand], known[at_hand]))]
    keys = _joint(owner[order], known[order])
    if not len(keys):
        return
    author_of = np.full(len(units), -1)
    author_of[audience] = [place[units[i].tweet.author_id, units[i].shard or 0] for i in audience]
    asked = _joint(author_of[unit], slots)
    at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
    hits = np.flatnonzero((keys[at] == asked) & (author_of[unit] >= 0))
    out[hits] = records[order[at[hits]]]


def _mentioned(units: Sequence[Unit], matrix: UserMatrix, unit: Index, slots: Index) -> NDArray[np.bool_]:
    """Whether the tweet names the reader [n]."""
    owner = np.repeat(np.arange(len(units)), [len(u.tweet.mentions) for u in units])
    if not len(owner):
        return np.zeros(len(unit), np.bool_)
    named = matrix.find(list(chain.from_iterable(u.tweet.mentions for u in units)))
    return np.isin(_joint(unit, slots), _joint(owner, named)[named >= 0])


def _reciprocity(units: Sequence[Unit], stores: Stores, unit: Index, keys: NDArray[np.uint32]) -> Floats:
    """How many of the author's own last engagements are with tweets of the reader [n]."""
    authors = list(dict.fromkeys(u.tweet.author_id for u in units))
    place = {author: i for i, author in enumerate(authors)}
    histories = [
        np.empty(0, np.uint32) if state is None else state.items["author"]
        for state in stores.users.get_many(authors)
    ]
    owner = np.repeat(np.arange(len(authors)), [len(items) for items in histories])
    engaged = np.sort(_joint(owner, np.concatenate(histories))) if len(owner) else np.empty(0, np.int64)
    author_of = np.array([place[u.tweet.author_id] for u in units], np.intp)
    asked = _joint(author_of[unit], keys)
    count = np.searchsorted(engaged, asked, "right") - np.searchsorted(engaged, asked, "left")
    return count.astype(np.float32)


def _joint(high: Index, low: NDArray[np.integer]) -> NDArray[np.int64]:
    """Two small numbers as one: `low` is below 2**32."""
    return (high.astype(np.int64) << 32) | low.astype(np.int64)
