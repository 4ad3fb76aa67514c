"""The users at hand: a bounded, least-recently-used cache of user vectors, as rows ready to be scored.

In front of the store that holds every user. What changes there is told by notices; `refresh` between batches
forgets it. Unknown users are cached too, as the model's cold user. Knows nothing of tweets or requests.
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
from streamer.predictions import Objects
from streamer.sharding import shards_of
from streamer.stores.notices import ChangedUsers

#: Most users of one call of `slots`.
MOST_USERS: Final = 16_384
#: Memory for the rows, and what a user takes beside the stored record: projections, strings, dictionary.
_BYTES: Final = 256 * 2**20
_BESIDE: Final = 1_536
#: Share of the users forgotten at once when there is no room: the oldest are searched for among all.
_EVICTED: Final = 1 / 8
_FREE: Final = np.iinfo(np.int64).max


class UserMatrix:
    """Columns [capacity], valid at the slots that the last call of `slots` returned.

    `rows` for the model, `user_ids` (str), `keys` (their bytes), `parts` (bytes: what `part_of` makes of id
    and cold), `cold`, `shards`.
    """

    def __init__(
        self,
        model: ServingModel,
        store: UserVectorStore,
        notices: ChangedUsers,
        part_of: Callable[[str, bool], bytes],
        shards: int,
        capacity: int | None = None,
    ) -> None:
        if capacity is None:
            capacity = max(_BYTES // (model.user_dtype.itemsize + _BESIDE), 2 * MOST_USERS)
        self.rows: UserRows = model.user_rows(capacity)
        self.user_ids: Objects = np.empty(capacity, object)
        self.keys: Objects = np.empty(capacity, object)
        self.parts: Objects = np.empty(capacity, object)
        self.cold = np.zeros(capacity, np.bool_)
        self.shards = np.zeros(capacity, np.int64)
        self._model, self._store, self._notices = model, store, notices
        self._part_of, self._shard_count, self._capacity = part_of, shards, capacity
        self._slot_of: dict[str, int] = {}
        self._free: list[int] = []
        #: The call that used a slot last; free slots look younger than any.
        self._used = np.empty(capacity, np.int64)
        self._calls = 0
        self.forget_all()

    def __len__(self) -> int:
        return len(self._slot_of)

    def forget_all(self) -> None:
        """Empty the cache."""
        self._slot_of.clear()
        self._free = list(range(self._capacity))
        self._used[:] = _FREE

    def refresh(self) -> None:
        """Forget the users whose vectors changed since the last call; all of them if that is not known."""
        changed = self._notices.poll()
        if changed is None:
            self.forget_all()
            return
        freed = [slot for user in changed if (slot := self._slot_of.pop(user, None)) is not None]
        self._free += freed
        self._used[freed] = _FREE

    def find(self, user_ids: Sequence[str]) -> NDArray[np.intp]:
        """The slots of these users, -1 for those that are not at hand. Loads nothing."""
        return np.fromiter(map(self._slot_of.get, user_ids, repeat(-1)), np.intp, len(user_ids))

    def slots(self, user_ids: Sequence[str]) -> NDArray[np.intp]:
        """The slots of these users (at most `MOST_USERS` distinct ones), loaded where need be.

        Raises `StageUnavailable`.
        """
        self._calls += 1
        slots = self.find(user_ids)
        absent = slots < 0
        self._used[slots[~absent]] = self._calls
        missing = list(dict.fromkeys(user_ids[i] for i in np.flatnonzero(absent).tolist()))
        metrics.cache_lookups.labels("users", "hit").inc(len(user_ids) - len(missing))
        if missing:
            metrics.cache_lookups.labels("users", "miss").inc(len(missing))
            self._load(missing)
            slots = self.find(user_ids)
        return slots

    def _load(self, user_ids: list[str]) -> None:
        packed = self._store.get_many(user_ids)
        known = [i for i, data in enumerate(packed) if data is not None]
        records = np.repeat(self._model.cold, len(user_ids))
        records[known] = decode([data for data in packed if data is not None], self._model.user_dtype)
        slots = self._take(len(user_ids))
        keys = np.fromiter(map(short_key, user_ids), np.uint32, len(user_ids))
        self.rows.set(slots, records, keys)
        cold = np.ones(len(user_ids), np.bool_)
        cold[known] = False
        self.cold[slots] = cold
        self.shards[slots] = shards_of(user_ids, self._shard_count)
        self.user_ids[slots] = user_ids
        self.keys[slots] = [user_id.encode() for user_id in user_ids]
        self.parts[slots] = list(map(self._part_of, user_ids, cold.tolist()))
        self._used[slots] = self._calls
        self._slot_of.update(zip(user_ids, slots.tolist(), strict=True))

    def _take(self, count: int) -> NDArray[np.intp]:
        """Free slots, made by forgetting those used least recently; never one of this call's."""
        if len(self._free) < count:
            wanted = max(count - len(self._free), int(self._capacity * _EVICTED))
            candidates = np.flatnonzero(self._used < self._calls)
            if len(candidates) > wanted:
                candidates = candidates[np.argpartition(self._used[candidates], wanted)[:wanted]]
            for user_id in self.user_ids[candidates]:
                del self._slot_of[user_id]
            self._used[candidates] = _FREE
            self._free += candidates.tolist()
        taken = self._free[-count:]
        del self._free[-count:]
        return np.array(taken, np.intp)
