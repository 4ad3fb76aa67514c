"""(Reader, tweet) pairs of many tweets as columns: who reads, and what the model wants to know of it.

All lookups run over the pairs of all tweets at once: with some fifty followers per tweet and shard, a dozen
numpy calls per tweet would cost more than the model. Knows nothing of Kafka, of probabilities or of JSON.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, repeat
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.features import Floats, pair_features
from models.state.affinity import AFFINITY
from models.state.stores import Pair, Stores
from models.state.tweet import TweetRecord
from streamer.audiences import Audiences, Place, engagements, reciprocity
from streamer.sharding import shards_of
from streamer.user_matrix import Slots, UserMatrix


@dataclass(slots=True, frozen=True)
class Unit:
    """One tweet to be scored at second `now`: for the followers in `shard` (at most `size`), those of them
    in `users` with edges `bits`, or `users` of any shard.
    """

    tweet_id: str
    tweet: TweetRecord
    now: int
    size: int
    shard: int | None = None
    users: Sequence[str] = ()
    bits: NDArray[np.uint8] | None = None

    @property
    def audience(self) -> Place | None:
        """The one that all its readers are, None where they are `users`."""
        return None if self.shard is None or self.bits is not None else (self.tweet.author_id, self.shard)


@dataclass(slots=True, frozen=True)
class Pairs:
    """Columns [n], ordered by unit: the unit's place, the reader's slot in the matrix, their features."""

    unit: Slots
    slots: Slots
    features: Floats


class _Readers(NamedTuple):
    """A unit's readers as columns [n]."""

    slots: Slots
    bits: NDArray[np.uint8]
    affinity: NDArray[np.void] | NDArray[np.uint8]
    reciprocity: Floats


def load_pairs(
    units: Sequence[Unit], stores: Stores, audiences: Audiences, matrix: UserMatrix, shards: int
) -> Pairs:
    """The pairs of these units, of `user_matrix.MOST_USERS` readers at most, in a few round trips or none.

    Users asked for by name are all there. The slots are valid until the matrix's next round.
    """
    matrix.begin()
    named = iter(_named([unit for unit in units if unit.audience is None], stores, matrix, shards))
    places = list(dict.fromkeys(place for u in units if (place := u.audience) is not None))
    followers = {
        place: _Readers(held.slots, held.bits, held.affinity, held.reciprocity)
        for place, held in zip(places, audiences.get(places), strict=True)
        if held.affinity is not None and held.reciprocity is not None
    }
    readers = [next(named) if (place := u.audience) is None else followers[place] for u in units]
    slots, bits, affinity, returned = map(np.concatenate, zip(*map(_plain, readers), strict=True))
    unit = np.repeat(np.arange(len(units)), [len(column.slots) for column in readers])
    features = pair_features(
        np.array([u.now for u in units], np.int64)[unit],
        bits,
        affinity.view(AFFINITY),
        matrix.rows.habits.take(slots),  # an index would copy field by field: 38 ns a pair, not 2
        _mentioned(units, matrix, unit, slots),
        np.array([u.tweet.retweet for u in units], np.bool_)[unit],
        returned,
    )
    return Pairs(unit, slots, features)


def _plain(readers: _Readers) -> _Readers:
    """With affinities as bytes: numpy joins records field by field, 128 ns a pair instead of 12."""
    return readers._replace(affinity=readers.affinity.view(np.uint8))


def _named(units: Sequence[Unit], stores: Stores, matrix: UserMatrix, shards: int) -> list[_Readers]:
    """The readers that these units name."""
    if not units:
        return []
    users = list(chain.from_iterable(unit.users for unit in units))
    authors = chain.from_iterable(repeat(unit.tweet.author_id, len(unit.users)) for unit in units)
    where = [shards_of(u.users, shards) if u.shard is None else np.full(len(u.users), u.shard) for u in units]
    edges = list(map(Pair, authors, np.concatenate(where).tolist(), users))
    slots, bits = matrix.slots(users), _bits(units, edges, stores)
    affinity = stores.affinities.get_many(edges) if edges else np.zeros(0, AFFINITY)
    engaged = engagements(stores, [unit.tweet.author_id for unit in units])
    bounds = np.cumsum([0, *(len(unit.users) for unit in units)]).tolist()
    found = []
    for keys, low, high in zip(engaged, bounds, bounds[1:], strict=False):
        part = slice(low, high)
        returned = reciprocity(keys, matrix.rows.keys[slots[part]])
        found.append(_Readers(slots[part], bits[part], affinity[part], returned))
    return found


def _bits(units: Sequence[Unit], edges: Sequence[Pair], stores: Stores) -> NDArray[np.uint8]:
    """The edges' bits [n], asked for where a unit does not bring them."""
    none = (np.zeros(len(u.users), np.uint8) if u.bits is None else u.bits for u in units)
    bits = np.concatenate(list(none))
    unknown = np.repeat([u.bits is None for u in units], [len(u.users) for u in units])
    if unknown.any():
        bits[unknown] = stores.audiences.bits([edges[i] for i in np.flatnonzero(unknown).tolist()])
    return bits


def _mentioned(units: Sequence[Unit], matrix: UserMatrix, unit: Slots, slots: Slots) -> NDArray[np.bool_]:
    """Whether the tweet names the reader [n]."""
    owner = np.repeat(np.arange(len(units)), [len(u.tweet.mentions) for u in units])
    if not len(owner):
        return np.zeros(len(unit), np.bool_)
    named = matrix.find(list(chain.from_iterable(u.tweet.mentions for u in units)))
    return np.isin(_joint(unit, slots), _joint(owner, named)[named >= 0])


def _joint(high: Slots, low: Slots) -> NDArray[np.int64]:
    """Two small numbers as one: `low` is below 2**32."""
    return (high.astype(np.int64) << 32) | low.astype(np.int64)
