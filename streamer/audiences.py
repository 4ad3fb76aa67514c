"""The audiences at hand: who follows an author, and what is known of each follower and the author.

In front of the stores, bounded, least recently used first to go. An author's next tweet costs no round trip
and nothing per follower but copying columns; without this, reading hashes and finding slots took 1.3 us a
pair. What changed is read again when it is next asked for.
Knows nothing of tweets, and not how changes are told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
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
_ENTRY: Final = 8 + 1 + AFFINITY.itemsize + 4


@dataclass(slots=True)
class Audience:
    """Followers of an author in one shard, as columns [n]: slots, audience bits, affinities, reciprocity.

    The last two are None until they are read (again).
    """

    slots: Slots
    bits: NDArray[np.uint8]
    epoch: int
    affinity: NDArray[np.void] | None = None
    reciprocity: Floats | None = None


class Audiences:
    """See the module. Entries that do not follow (any more), and the author, are left out."""

    def __init__(self, stores: Stores, matrix: UserMatrix, shards: int, memory: int) -> None:
        """`memory` in bytes."""
        self._stores, self._matrix, self._shards = stores, matrix, shards
        self._most = memory // _ENTRY
        self._held: dict[Place, Audience] = {}
        self._followers = 0
        self._place = np.full(0, -1)

    def refresh(self, changes: Changes | None) -> None:
        """Forget what changed; everything, if that is not known (None)."""
        if changes is None:
            self._held.clear()
            self._followers = 0
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
        """How many followers there are, or at most."""
        found = {place: len(held.slots) for place in places if (held := self._held.get(place)) is not None}
        others = [place for place in dict.fromkeys(places) if place not in found]
        if others:
            found |= zip(others, self._stores.audiences.sizes(others).tolist(), strict=True)
        return found

    def get(self, places: Sequence[Place]) -> list[Audience]:
        """The audiences of distinct places, their users loaded: a part of the matrix's round.

        Raises `StageUnavailable`.
        """
        for place in places:
            if (held := self._held.get(place)) is not None and held.epoch != self._matrix.epoch:
                self._forget(place)
        missing = [place for place in places if place not in self._held]
        found = self._stores.audiences.get(missing) if missing else []
        known = [self._held[place].slots for place in places if place in self._held]
        slots = self._matrix.slots(
            list(chain.from_iterable(users for users, _ in found)),
            np.concatenate(known) if known else np.empty(0, np.intp),
        )
        authors = self._matrix.find([author for author, _ in missing]).tolist()
        start = 0
        for place, author, (users, bits) in zip(missing, authors, found, strict=True):
            here = slots[start : start + len(users)]
            start += len(users)
            follows = ((bits & FOLLOWS) != 0) & (here != author)
            self._hold(place, Audience(here[follows], bits[follows], self._matrix.epoch))
        audiences = []
        for place in places:
            self._held[place] = held = self._held.pop(place)  # the youngest now
            audiences.append(held)
        pairs = list(zip(places, audiences, strict=True))
        self._read_affinities([pair for pair in pairs if pair[1].affinity is None])
        self._read_reciprocity([pair for pair in pairs if pair[1].reciprocity is None])
        while self._followers > self._most:
            self._forget(next(iter(self._held)))
        return audiences

    def _hold(self, place: Place, audience: Audience) -> None:
        self._held[place] = audience
        self._followers += len(audience.slots)

    def _forget(self, place: Place) -> None:
        if (held := self._held.pop(place, None)) is not None:
            self._followers -= len(held.slots)

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
