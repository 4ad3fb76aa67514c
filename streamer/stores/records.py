"""Tweets, users, user vectors and tastes in Redis: one string key each.

Knows nothing of the packed records' insides. Key names and lifetimes: `ops/keys.md`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from models.state.keys import key_name
from models.state.tweet import TweetRecord
from models.state.user import UserState
from streamer.stores.connection import Command, RedisConnection

#: Characters of the fingerprint in keys and channels: 48 bits tell the models of one installation apart.
MODEL_CHARS: Final = 12


def tweet_keys(fingerprint: str, key: int) -> tuple[str, str]:
    """The keys of a tweet's record and of the claim to compute it. In a cluster they share a slot."""
    place = f"{fingerprint[:MODEL_CHARS]}:{{{key_name(key)}}}"
    return f"tweet:{place}", f"claim:{place}"


def user_key(user_id: str) -> str:
    """The key of a user's state."""
    return f"user:{user_id}"


def vector_channel(fingerprint: str) -> str:
    """The pub/sub channel of changed user vectors; a message is a MessagePack list of user ids."""
    return f"vectors:{fingerprint[:MODEL_CHARS]}"


class RedisTweets:
    """See `TweetStore`."""

    def __init__(self, connection: RedisConnection, fingerprint: str) -> None:
        self.fingerprint = fingerprint
        self._redis = connection
        settings = connection.settings
        self._lifetime: Command = ("EX", settings.tweet_ttl_s) if settings.tweet_ttl_s else ()
        # Tweets that never expire need no keeping.
        self._kept_s = settings.engaged_tweet_ttl_s if settings.tweet_ttl_s else None

    def _key(self, key: int) -> str:
        return tweet_keys(self.fingerprint, key)[0]

    def setting(self, key: int, record: TweetRecord) -> Command:
        """Stores the record, unless there is one."""
        return "SET", self._key(key), record.to_bytes(), "NX", *self._lifetime

    def get_many(self, keys: Sequence[int]) -> list[TweetRecord | None]:
        """See `TweetStore.get_many`."""
        found = self._redis.get([self._key(key) for key in keys])
        return [None if data is None else TweetRecord.from_bytes(data) for data in found]

    def put_new(self, records: Mapping[int, TweetRecord]) -> list[bool]:
        """See `TweetStore.put_new`."""
        replies = self._redis.run([self.setting(key, record) for key, record in records.items()])
        return [bool(reply) for reply in replies]

    def keep(self, keys: Sequence[int]) -> None:
        """See `TweetStore.keep`."""
        if self._kept_s is None:
            return
        names = [self._key(key) for key in dict.fromkeys(keys)]
        if self._kept_s:
            self._redis.run([("EXPIRE", name, self._kept_s) for name in names])
        else:
            self._redis.run([("PERSIST", name) for name in names])


class RedisUsers:
    """See `UserStore`."""

    def __init__(self, connection: RedisConnection) -> None:
        self._redis = connection
        self._lifetime = _user_lifetime(connection)

    def get_many(self, user_ids: Sequence[str]) -> list[UserState | None]:
        """See `UserStore.get_many`."""
        found = self._redis.get(list(map(user_key, user_ids)))
        return [None if data is None else UserState.from_bytes(data) for data in found]

    def put_many(self, states: Mapping[str, UserState]) -> None:
        """See `UserStore.put_many`."""
        self._redis.run(
            [
                ("SET", user_key(user_id), state.to_bytes(), *self._lifetime)
                for user_id, state in states.items()
            ]
        )


class RedisUserVectors:
    """See `UserVectorStore`. Changes are told on `vector_channel`, after they can be read."""

    def __init__(self, connection: RedisConnection, fingerprint: str) -> None:
        self._redis = connection
        self._model = fingerprint[:MODEL_CHARS]
        self._channel = vector_channel(fingerprint)
        self._lifetime = _user_lifetime(connection)

    def get_many(self, user_ids: Sequence[str]) -> list[bytes | None]:
        """See `UserVectorStore.get_many`."""
        return self._redis.get([f"vector:{self._model}:{user_id}" for user_id in user_ids])

    def put_many(self, vectors: Mapping[str, bytes]) -> None:
        """See `UserVectorStore.put_many`."""
        if not vectors:
            return
        self._redis.run(
            [
                ("SET", f"vector:{self._model}:{user_id}", data, *self._lifetime)
                for user_id, data in vectors.items()
            ]
        )
        self._redis.publish(self._channel, msgspec.msgpack.encode(list(vectors)))


class RedisTastes:
    """See `TasteStore`."""

    def __init__(self, connection: RedisConnection, fingerprint: str) -> None:
        self._redis = connection
        self._model = fingerprint[:MODEL_CHARS]
        self._lifetime = _user_lifetime(connection)

    def get_many(self, user_ids: Sequence[str]) -> list[bytes | None]:
        """See `TasteStore.get_many`."""
        return self._redis.get([f"taste:{self._model}:{user_id}" for user_id in user_ids])

    def put_many(self, tastes: Mapping[str, bytes]) -> None:
        """See `TasteStore.put_many`."""
        self._redis.run(
            [
                ("SET", f"taste:{self._model}:{user_id}", data, *self._lifetime)
                for user_id, data in tastes.items()
            ]
        )


def _user_lifetime(connection: RedisConnection) -> Command:
    seconds = connection.settings.user_ttl_s
    return ("EX", seconds) if seconds else ()
