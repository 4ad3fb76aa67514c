"""What new tweets need of Redis, before they are embedded and after. Key names: `ops/keys.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from models.state.authors import published
from models.state.stores import Looked
from models.state.tweet import TweetRecord
from models.state.user import UserState
from streamer.stores.connection import Command, RedisConnection
from streamer.stores.edges import author_sums, counting, sums_of
from streamer.stores.records import RedisTweets, tweet_keys, user_key

#: The record; else 1 if the claim is ours from now on for so many milliseconds, or 0.
_RECORD_OR_CLAIM: Final = """
return redis.call('GET', KEYS[1]) or (redis.call('SET', KEYS[2], 1, 'NX', 'PX', ARGV[1]) and 1 or 0)
"""


class RedisIntake:
    """See `Intake`."""

    def __init__(self, connection: RedisConnection, tweets: RedisTweets) -> None:
        self._redis = connection
        self._tweets = tweets

    def look(
        self, keys: Sequence[int], seconds: float, authors: Sequence[str] = (), users: Sequence[str] = ()
    ) -> Looked:
        """See `Intake.look`."""
        lapse = max(int(seconds * 1000), 1)
        commands: list[Command] = [
            ("EVAL", _RECORD_OR_CLAIM, 2, *tweet_keys(self._tweets.fingerprint, key), lapse) for key in keys
        ]
        commands += map(sums_of, authors)
        commands += [("GET", user_key(user_id)) for user_id in users]
        replies = self._redis.run(commands)
        tweets, sums = replies[: len(keys)], replies[len(keys) : len(keys) + len(authors)]
        states = replies[len(keys) + len(authors) :]
        return Looked(
            [TweetRecord.from_bytes(reply) if isinstance(reply, bytes) else None for reply in tweets],
            [reply == 1 for reply in tweets],
            author_sums(sums),
            [None if data is None else UserState.from_bytes(data) for data in states],
        )

    def put(self, records: Mapping[int, TweetRecord]) -> list[bool]:
        """See `Intake.put`. All are counted at once, and those not at all that turn out to have been there: a
        worker that looked before finds few such. Sent again after an outage, one is counted and not twice.
        """
        commands: list[Command] = []
        for key, record in records.items():
            commands += (self._tweets.setting(key, record), counting(*published(record)))
        fresh = [bool(reply) for reply in self._redis.run(commands)[::2]]
        known = [record for record, new in zip(records.values(), fresh, strict=True) if not new]
        self._redis.run([counting(author, field, -amount) for author, field, amount in map(published, known)])
        return fresh
