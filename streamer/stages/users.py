"""`users`: engagements and profiles become user states, and those become user vectors.

Knows nothing of scores. A tombstone on the compacted topic `users` deletes the profile of the user in its
key; what the user did stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from models.events import Engagement, User
from models.state.transitions import apply_engagements, apply_profiles, apply_tastes, clear_profiles
from models.state.user import UserState
from streamer.dead_letters import DeadLetters
from streamer.decoding import BadRecord, Decoder, Reason
from streamer.sharding import shard_table
from streamer.stage import Batch, Outputs, Record
from streamer.stages.base import BackedStage

#: Users whose vectors are computed at once: their histories refer to up to 32 tweets each, 4 MB in all.
_USERS: Final = 256

_engagements = Decoder(Engagement, "at")
_profiles = Decoder(User)


class UsersStage(BackedStage):
    """See the module."""

    name = "users"
    topics = ("users", "engagements")

    def process(self, batches: Sequence[Batch]) -> Outputs:
        """Update states, then vectors. Raises `StageUnavailable`."""
        letters = DeadLetters(self.name)
        profiles = [batch for batch in batches if batch.topic == "users"]
        # Later states of a user are the newer ones: the engagements read what the profiles became.
        changed = self._profiles(profiles, letters)
        changed |= self._engagements([batch for batch in batches if batch.topic != "users"], letters)
        self._vectors(changed)
        return Outputs(letters.groups)

    def _engagements(self, batches: Sequence[Batch], letters: DeadLetters) -> dict[str, UserState]:
        events = [event for _, _, event in letters.decode(batches, _engagements)]
        if not events:
            return {}
        shard_of = shard_table((event.user_id for event in events), self.shards)
        stores, model = self.backend.stores, self.backend.model
        states, news = apply_engagements(stores, events, shard_of)
        apply_tastes(stores, news, model.taste_width, model.tastes.of_tweets)
        return states

    def _profiles(self, batches: Sequence[Batch], letters: DeadLetters) -> dict[str, UserState]:
        latest: dict[str, User | None] = {}
        for batch in batches:
            for record in batch.records:
                try:
                    if record.value is None:
                        latest[_deleted(record)] = None
                    else:
                        user = _profiles(record.value)
                        latest[user.user_id] = user
                except BadRecord as bad:
                    letters.add(batch, record, bad.reason, bad.error)
        stores = self.backend.stores
        changed = apply_profiles(stores, [user for user in latest.values() if user is not None])
        return changed | clear_profiles(stores, [name for name, user in latest.items() if user is None])

    def _vectors(self, states: Mapping[str, UserState]) -> None:
        stores, items = self.backend.stores, list(states.items())
        for start in range(0, len(items), _USERS):
            part = dict(items[start : start + _USERS])
            keys = {key for state in part.values() for key in state.items["tweet"].tolist()}
            found = zip(keys, stores.tweets.get_many(list(keys)), strict=True)
            tweets = {key: record for key, record in found if record is not None}
            tastes = stores.tastes.get_many(list(part)) if self.backend.model.taste_width else None
            vectors = self.backend.model.user_vectors(part, tweets, tastes)
            stores.vectors.put_many(
                {user_id: vector.tobytes() for user_id, vector in zip(part, vectors, strict=True)}
            )


def _deleted(record: Record) -> str:
    """The user whose profile a tombstone deletes. Raises `BadRecord`."""
    try:
        user_id = (record.key or b"").decode()
    except UnicodeDecodeError as error:
        raise BadRecord(Reason.NOT_UTF8, f"the tombstone's key: {error}") from None
    if not user_id:
        raise BadRecord(Reason.TOMBSTONE, "the record has neither value nor key: whose profile is deleted?")
    return user_id
