"""The users at hand: a bounded, least-recently-used cache of user vectors, as rows ready to be scored.

In front of the store that holds every user. A user keeps a slot until it is needed for another one, and then
`epoch` changes: slots may be remembered for as long as it stays. Vectors that changed are loaded again when
they are next asked for. Unknown users are cached too, as the model's cold user. Knows nothing of tweets,
requests or of how changes are told.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.scorer import UserRows
from models.serving import ServingModel
from models.state.keys import short_key
from models.state.stores import UserVectorStore
from models.state.vector import decode
from streamer import metrics
from streamer.predictions import Objects, Readers
from streamer.sharding import shards_of
from streamer.text_rows import TextRows

#: Most users between two calls of `begin`.
MOST_USERS: Final = 16_384
#: What a user takes beside the model's row: strings, dictionary, columns.
_BESIDE: Final = 512
#: Share of the users forgotten at once when there is no room: the oldest are searched for among all.
_EVICTED: Final = 1 / 8
_FREE: Final = np.iinfo(np.int64).max

Slots = NDArray[np.intp]
NO_SLOTS: Final[Slots] = np.empty(0, np.intp)


class UserMatrix:
    """Columns [capacity], valid at the slots that `slots` returned since the last `begin`.

    `rows` for the model, `user_ids` (str), `keys` (their bytes), `parts` (bytes: what `part_of` makes of id
    and cold), `cold`, `shards`.
    """

    def __init__(
        self,
        model: ServingModel,
        store: UserVectorStore,
        part_of: Callable[[str, bool], bytes],
        shards: int,
        memory: int,
    ) -> None:
        """`memory` in bytes; whatever it is, there is room for twice `MOST_USERS`."""
        capacity = max(memory // (model.user_rows(1).row_bytes + _BESIDE), 2 * MOST_USERS)
        self.rows: UserRows = model.user_rows(capacity)
        self.user_ids: Objects = np.empty(capacity, object)
        self.keys = TextRows(capacity)
        self.parts = TextRows(capacity)
        self.cold = np.zeros(capacity, np.bool_)
        self.shards = np.zeros(capacity, np.int64)
        #: Grows when a slot goes to another user.
        self.epoch = 0
        self._model, self._store = model, store
        self._part_of, self._shard_count, self._capacity = part_of, shards, capacity
        self._slot_of: dict[str, int] = {}
        self._free = list(range(capacity))
        #: The round that used a slot last; free slots look younger than any.
        self._used = np.full(capacity, _FREE, np.int64)
        self._stale = np.zeros(capacity, np.bool_)
        self._round = 0

    def __len__(self) -> int:
        return len(self._slot_of)

    @property
    def readers(self) -> Readers:
        """All of them, valid until the next `slots`."""
        return Readers(self.user_ids, self.cold, self.keys.texts, self.parts.texts)

    def refresh(self, changed: Sequence[str] | None) -> None:
        """The vectors of these users changed; of any users, if that is not known (None)."""
        if changed is None:
            self._stale[:] = True
        else:
            slots = self.find(changed)
            self._stale[slots[slots >= 0]] = True

    def begin(self) -> None:
        """A new round: slots returned before may go to others from now on."""
        self._round += 1

    def find(self, user_ids: Sequence[str]) -> Slots:
        """The slots of these users, -1 for those that are not at hand. Loads nothing."""
        return np.fromiter(map(self._slot_of.get, user_ids, repeat(-1)), np.intp, len(user_ids))

    def slots(self, user_ids: Sequence[str], known: Slots = NO_SLOTS) -> Slots:
        """The slots of these users, loaded where need be, as are users in `known` slots of this `epoch`.

        At most `MOST_USERS` distinct users in a round. Raises `StageUnavailable`.
        """
        slots = self.find(user_ids)
        absent = slots < 0
        at_hand = np.concatenate([slots[~absent], known])
        self._used[at_hand] = self._round
        missing = list(dict.fromkeys(user_ids[i] for i in np.flatnonzero(absent).tolist()))
        stale = np.unique(at_hand[self._stale[at_hand]])
        metrics.cache_lookups.labels("users", "hit").inc(len(at_hand) - len(stale))
        if missing or len(stale):
            metrics.cache_lookups.labels("users", "miss").inc(len(missing) + len(stale))
            self._load(missing, stale)
            slots = self.find(user_ids)
        return slots

    def _load(self, new: list[str], stale: Slots) -> None:
        user_ids = new + self.user_ids[stale].tolist()
        packed = self._store.get_many(user_ids)
        known = [i for i, data in enumerate(packed) if data is not None]
        records = np.repeat(self._model.cold, len(user_ids))
        records[known] = decode([data for data in packed if data is not None], self._model.user_dtype)
        slots = np.concatenate([self._take(len(new)), stale])
        keys = np.fromiter(map(short_key, user_ids), np.uint32, len(user_ids))
        self.rows.set(slots, records, keys)
        cold = np.ones(len(user_ids), np.bool_)
        cold[known] = False
        self.cold[slots] = cold
        self.shards[slots] = shards_of(user_ids, self._shard_count)
        self.user_ids[slots] = user_ids
        self.keys.put(slots, [user_id.encode() for user_id in user_ids])
        self.parts.put(slots, list(map(self._part_of, user_ids, cold.tolist())))
        self._used[slots] = self._round
        self._stale[slots] = False
        self._slot_of.update(zip(user_ids, slots.tolist(), strict=True))

    def _take(self, count: int) -> Slots:
        """Free slots, made by forgetting those used least recently; never one of this round's."""
        if len(self._free) < count:
            wanted = max(count - len(self._free), int(self._capacity * _EVICTED))
            candidates = np.flatnonzero(self._used < self._round)
            if len(candidates) > wanted:
                candidates = candidates[np.argpartition(self._used[candidates], wanted)[:wanted]]
            for user_id in self.user_ids[candidates]:
                del self._slot_of[user_id]
            self._used[candidates] = _FREE
            self._free += candidates.tolist()
            self.epoch += 1
        at = len(self._free) - count
        taken, self._free = self._free[at:], self._free[:at]
        return np.array(taken, np.intp)
