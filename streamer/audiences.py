"""The audiences at hand: who follows an author, and what is known of each follower and the author.

In front of the stores, bounded, least recently used first to go. An author's next tweet costs no round trip
and nothing per follower but copying columns; without this, reading hashes and finding slots took 1.3 us a
pair. What changed is read again when it is next asked for.
Knows nothing of tweets, and not how changes are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, compress
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.features import Floats
from models.state.affinity import AFFINITY
from models.state.stores import FOLLOWS, Stores
from streamer.stores.notices import Changes
from streamer.user_matrix import Slots, UserMatrix

#: An author and a shard.
Place = tuple[str, int]

#: Bytes per follower: slot, bits, affinity, reciprocity.
_FOLLOWER: Final = 8 + 1 + AFFINITY.itemsize + 4
#: Bytes of an audience without followers: 668 for its four arrays, the place, its part of the dictionary, and
#: a little more for ids that are longer than usual.
_AUDIENCE: Final = 768


@dataclass(slots=True)
class Audience:
    """Followers of an author in one shard, as columns [n]: slots, audience bits, affinities, reciprocity.

    The last two are None until they are read (again).
    """

    slots: Slots
    bits: NDArray[np.uint8]
    affinity: NDArray[np.void] | None = None
    reciprocity: Floats | None = None

    @property
    def size(self) -> int:
        """Bytes it takes."""
        return _AUDIENCE + _FOLLOWER * len(self.slots)


class Audiences:
    """See the module. Entries that do not follow (any more), and the author, are left out."""

    def __init__(self, stores: Stores, matrix: UserMatrix, shards: int, memory: int) -> None:
        """`memory` in bytes."""
        self._stores, self._matrix, self._shards, self._most = stores, matrix, shards, memory
        self._held: dict[Place, Audience] = {}
        #: Bytes held, and the matrix's epoch in which their slots are valid.
        self._size, self._epoch = 0, matrix.epoch
        self._place = np.full(0, -1)

    def refresh(self, changes: Changes | None) -> None:
        """Forget what changed; everything, if that is not known (None)."""
        if changes is None:
            self._held.clear()
            self._size = 0
            return
        for place in changes.audiences:
            self._forget(place)
        for place in changes.affinities:
            if (held := self._held.get(place)) is not None:
                held.affinity = None
        for user in changes.users:
            for shard in range(self._shards):
                if (held := self._held.get((user, shard))) is not None:
                    held.reciprocity = None

    def sizes(self, places: Sequence[Place]) -> dict[Place, int]:
        """How many followers there are, or at most: it is what to plan by.

        An audience may grow until `get` reads it; the matrix has room for twice what a round may ask for.
        """
        self._keep_up()
        found = {place: len(held.slots) for place in places if (held := self._held.get(place)) is not None}
        others = [place for place in dict.fromkeys(places) if place not in found]
        if others:
            found |= zip(others, self._stores.audiences.sizes(others).tolist(), strict=True)
        return found

    def get(self, places: Sequence[Place]) -> list[Audience]:
        """The audiences of distinct places, their users loaded: a part of the matrix's round.

        Raises `StageUnavailable`.
        """
        self._keep_up()
        missing = [place for place in places if place not in self._held]
        read = self._stores.audiences.get(missing) if missing else []
        found = [followers(author, *edges) for (author, _), edges in zip(missing, read, strict=True)]
        known = [self._held[place].slots for place in places if place in self._held]
        slots = self._matrix.slots(
            list(chain.from_iterable(users for users, _ in found)),
            np.concatenate(known) if known else np.empty(0, np.intp),
        )
        self._keep_up(places)
        start = 0
        for place, (users, bits) in zip(missing, found, strict=True):
            self._hold(place, Audience(slots[start : start + len(users)].copy(), bits))
            start += len(users)
        audiences = []
        for place in places:
            self._held[place] = held = self._held.pop(place)  # the youngest now
            audiences.append(held)
        pairs = list(zip(places, audiences, strict=True))
        self._read_affinities([pair for pair in pairs if pair[1].affinity is None])
        self._read_reciprocity([pair for pair in pairs if pair[1].reciprocity is None])
        while self._size > self._most:
            self._forget(next(iter(self._held)))
        return audiences

    def _keep_up(self, used: Sequence[Place] = ()) -> None:
        """Forget all whose slots may have gone to other users: those not `used` in the matrix's round."""
        if self._epoch != self._matrix.epoch:
            self._epoch = self._matrix.epoch
            for place in self._held.keys() - set(used):
                self._forget(place)

    def _hold(self, place: Place, audience: Audience) -> None:
        self._held[place] = audience
        self._size += audience.size

    def _forget(self, place: Place) -> None:
        if (held := self._held.pop(place, None)) is not None:
            self._size -= held.size

    def _read_affinities(self, wanted: Sequence[tuple[Place, Audience]]) -> None:
        if not wanted:
            return
        if len(self._place) != len(self._matrix.cold):
            self._place = np.full(len(self._matrix.cold), -1)
        found = self._stores.affinities.get([place for place, _ in wanted])
        for (_, audience), (users, records) in zip(wanted, found, strict=True):
            audience.affinity = np.zeros(len(audience.slots), AFFINITY)
            # Followers are at hand by now; whoever else has a record does not matter.
            known = self._matrix.find(users)
            self._place[audience.slots] = np.arange(len(audience.slots))
            at = np.where(known >= 0, self._place[known], -1)
            self._place[audience.slots] = -1
            audience.affinity[at[at >= 0]] = records[at >= 0]

    def _read_reciprocity(self, wanted: Sequence[tuple[Place, Audience]]) -> None:
        if not wanted:
            return
        authors = list(dict.fromkeys(author for (author, _), _ in wanted))
        engaged = dict(zip(authors, engagements(self._stores, authors), strict=True))
        for (author, _), audience in wanted:
            audience.reciprocity = reciprocity(engaged[author], self._matrix.rows.keys[audience.slots])


def followers(
    author: str, users: Sequence[str], bits: NDArray[np.uint8]
) -> tuple[list[str], NDArray[np.uint8]]:
    """Those of an author's edges (user ids and bits [n]) that follow and are not the author.

    Whom the author follows has an edge too: only who is left here needs a slot.
    """
    follows = (bits & FOLLOWS) != 0
    if author in users:
        follows[users.index(author)] = False
    return list(compress(users, follows.tolist())), bits[follows]


def engagements(stores: Stores, authors: Sequence[str]) -> list[NDArray[np.uint32]]:
    """Whose tweets these authors engaged with last, as short keys in order."""
    states = stores.users.get_many(authors)
    return [np.sort(s.items["author"]) if s is not None else np.empty(0, np.uint32) for s in states]


def reciprocity(engaged: NDArray[np.uint32], readers: NDArray[np.uint32]) -> Floats:
    """How many of the author's own last engagements, `engaged`, are with tweets of each reader [n]."""
    if not len(engaged):
        return np.zeros(len(readers), np.float32)
    count = np.searchsorted(engaged, readers, "right") - np.searchsorted(engaged, readers, "left")
    return count.astype(np.float32)
