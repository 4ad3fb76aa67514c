"""Audiences, affinities and author counts in Redis: hashes, so that one reply brings a whole audience.

Knows nothing of who reads them. Key names and lifetimes: `ops/keys.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.state import affinity
from models.state.affinity import AFFINITY
from models.state.stores import AUTHOR_FIELDS, Pair
from streamer.stores.connection import Command, RedisConnection

#: Pub/sub channels of changed audiences and affinities; a message is a MessagePack list of (author, shard).
AUDIENCE_CHANNEL: Final = "audiences"
AFFINITY_CHANNEL: Final = "affinities"
#: Sets or clears bits of hash values that are one byte: ARGV is field, bit, 1 or 0, and so on. EVAL rather
#: than EVALSHA: redis-py's cluster pipeline refuses the latter, and Redis caches the compiled script anyway.
_CHANGE_BITS: Final = """
for i = 1, #ARGV, 3 do
  local old = redis.call('HGET', KEYS[1], ARGV[i])
  local value = old and string.byte(old) or 0
  local mask = tonumber(ARGV[i + 1])
  if ARGV[i + 2] == '1' then value = bit.bor(value, mask) else value = bit.band(value, bit.bnot(mask)) end
  if value ~= 0 then redis.call('HSET', KEYS[1], ARGV[i], string.char(value))
  elseif old then redis.call('HDEL', KEYS[1], ARGV[i]) end
end
"""
#: Most changes of one script call: about 2 ms of Redis's time, and far below Lua's limit on ARGV.
_CHANGES: Final = 1_000
_NO_AFFINITY: Final = bytes(AFFINITY.itemsize)
#: Fields asked for per HSCAN.
_SCAN: Final = 2_048
#: Which server process answers: its run id, or nil where INFO is not allowed. In a script, because only a
#: command with a key goes to that key's node of a cluster.
_PROCESS: Final = """
local info = redis.pcall('INFO', 'server')
return type(info) == 'string' and string.match(info, 'run_id:(%w+)')
"""


class RedisAudiences:
    """See `AudienceStore`. Changes are told on `AUDIENCE_CHANNEL`."""

    def __init__(self, connection: RedisConnection) -> None:
        self._redis = connection

    def sizes(self, authors: Sequence[tuple[str, int]]) -> NDArray[np.int64]:
        """See `AudienceStore.sizes`."""
        replies = self._redis.run([("HLEN", _audience(*author)) for author in authors])
        return np.array(replies, np.int64)

    def get(self, authors: Sequence[tuple[str, int]]) -> list[tuple[list[str], NDArray[np.uint8]]]:
        """See `AudienceStore.get`."""
        replies = self._redis.run([("HGETALL", _audience(*author)) for author in authors])
        return [_edges(reply) for reply in replies]

    def scan(self, author_id: str, shard: int) -> Iterator[tuple[list[str], NDArray[np.uint8]]]:
        """See `AudienceStore.scan`. When another server process answers, it begins again.

        A cursor is a place in the order of a hash table, which each process seeds anew: after a restart or a
        failover in the middle, 30,067 of 40,000 entries came. `outages` alone would not tell, as redis-py
        replaces a connection that was closed between two calls silently.
        """
        key, cursor = _audience(author_id, shard), 0
        begun: tuple[bytes | None, int] | None = None
        while True:
            # The process is asked last: a slot that moves to another node between the two must be noticed.
            commands: list[Command] = [("HSCAN", key, cursor, "COUNT", _SCAN), ("EVAL", _PROCESS, 1, key)]
            (following, found), process = self._redis.run(commands)
            answered = (process, self._redis.outages)
            if cursor and answered != begun:
                cursor = 0
                continue
            begun, cursor = answered, int(following)
            if found:
                yield _edges(found)
            if not cursor:
                return

    def bits(self, pairs: Sequence[Pair]) -> NDArray[np.uint8]:
        """See `AudienceStore.bits`."""
        found = _hmget(self._redis, _audience, pairs)
        return np.frombuffer(b"".join([value or b"\0" for value in found]), np.uint8)

    def change(self, changes: Iterable[tuple[Pair, int, bool]]) -> None:
        """See `AudienceStore.change`. Repeating it is harmless: a bit's last value wins."""
        changes = list(changes)
        arguments: dict[str, list[str | int]] = {}
        for (author, shard, user), bit, on in changes:
            arguments.setdefault(_audience(author, shard), []).extend((user, bit, int(on)))
        commands: list[Command] = [
            ("EVAL", _CHANGE_BITS, 1, key, *values[start : start + 3 * _CHANGES])
            for key, values in arguments.items()
            for start in range(0, len(values), 3 * _CHANGES)
        ]
        self._redis.run(commands)
        _tell(self._redis, AUDIENCE_CHANNEL, (pair[:2] for pair, _, _ in changes))


class RedisAffinities:
    """See `AffinityStore`. Changes are told on `AFFINITY_CHANNEL`."""

    def __init__(self, connection: RedisConnection) -> None:
        self._redis = connection
        self._lifetime_s = connection.settings.user_ttl_s

    def get(self, authors: Sequence[tuple[str, int]]) -> list[tuple[list[str], NDArray[np.void]]]:
        """See `AffinityStore.get`."""
        replies = self._redis.run([("HGETALL", _affinity(*author)) for author in authors])
        return [(users, affinity.decode(values)) for users, values in map(_columns, replies)]

    def get_many(self, pairs: Sequence[Pair]) -> NDArray[np.void]:
        """See `AffinityStore.get_many`."""
        found = _hmget(self._redis, _affinity, pairs)
        return affinity.decode([value or _NO_AFFINITY for value in found]).copy()

    def put_many(self, records: Mapping[Pair, NDArray[np.void]]) -> None:
        """See `AffinityStore.put_many`."""
        fields: dict[str, list[bytes | str]] = {}
        for (author, shard, user), record in records.items():
            assert record.dtype == AFFINITY
            fields.setdefault(_affinity(author, shard), []).extend((user, record.tobytes()))
        commands: list[Command] = [("HSET", key, *values) for key, values in fields.items()]
        if self._lifetime_s:
            commands += [("EXPIRE", key, self._lifetime_s) for key in fields]
        self._redis.run(commands)
        _tell(self._redis, AFFINITY_CHANNEL, (pair[:2] for pair in records))


class RedisAuthors:
    """See `AuthorStore`."""

    def __init__(self, connection: RedisConnection) -> None:
        self._redis = connection

    def get_many(self, author_ids: Sequence[str]) -> NDArray[np.float64]:
        """See `AuthorStore.get_many`."""
        return author_sums(self._redis.run(list(map(sums_of, author_ids))))

    def add(self, increments: Iterable[tuple[str, str, float]]) -> None:
        """See `AuthorStore.add`. A reply lost in an outage may count its events twice: a decayed count's
        small error, against a lock for every author.
        """
        sums: dict[tuple[str, str], float] = {}
        for author, field, amount in increments:
            sums[author, field] = sums.get((author, field), 0.0) + amount
        self._redis.run([counting(author, field, amount) for (author, field), amount in sums.items()])


def sums_of(author_id: str) -> Command:
    """Asks for an author's sums."""
    return "HMGET", f"author:{author_id}", *AUTHOR_FIELDS


def counting(author_id: str, field: str, amount: float) -> Command:
    """Adds to one of an author's sums."""
    return "HINCRBYFLOAT", f"author:{author_id}", field, amount


def author_sums(replies: Iterable[list[bytes | None]]) -> NDArray[np.float64]:
    """What was replied to `sums_of`, [n, len(AUTHOR_FIELDS)]."""
    rows = [[float(value or 0) for value in reply] for reply in replies]
    return np.array(rows, np.float64).reshape(-1, len(AUTHOR_FIELDS))


def _audience(author_id: str, shard: int) -> str:
    return f"audience:{author_id}:{shard}"


def _affinity(author_id: str, shard: int) -> str:
    return f"affinity:{author_id}:{shard}"


def _columns(reply: list[bytes] | dict[bytes, bytes]) -> tuple[list[str], list[bytes]]:
    """A hash as its fields and its values; a cluster's client insists on dictionaries."""
    if isinstance(reply, dict):
        return list(map(bytes.decode, reply)), list(reply.values())
    return list(map(bytes.decode, reply[::2])), reply[1::2]


def _tell(connection: RedisConnection, channel: str, places: Iterable[tuple[str, int]]) -> None:
    """Tell those who cache them that these changed, now that it can be read."""
    distinct = list(dict.fromkeys(places))
    if distinct:
        connection.publish(channel, msgspec.msgpack.encode(distinct))


def _edges(reply: list[bytes] | dict[bytes, bytes]) -> tuple[list[str], NDArray[np.uint8]]:
    users, values = _columns(reply)
    return users, np.frombuffer(b"".join(values), np.uint8)


def _hmget(
    connection: RedisConnection, key: Callable[[str, int], str], pairs: Sequence[Pair]
) -> list[bytes | None]:
    """The hash values of `pairs`, in their order: one HMGET for each author and shard."""
    places: dict[tuple[str, int], list[int]] = {}
    for place, pair in enumerate(pairs):
        places.setdefault(pair[:2], []).append(place)
    replies = connection.run(
        [("HMGET", key(*author), *[pairs[place][2] for place in where]) for author, where in places.items()]
    )
    if len(places) == 1:
        return list(replies[0])
    found = np.empty(len(pairs), object)
    found[list(chain.from_iterable(places.values()))] = list(chain.from_iterable(replies))
    values: list[bytes | None] = found.tolist()
    return values
