"""Whether a Redis takes writes, asked with one that changes nothing.

Its role would not tell: a master refuses them too, when it is full, can't save or misses its replicas.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import redis
from redis.exceptions import NoPermissionError, OutOfMemoryError, ReadOnlyError

#: So many keys lie on every master of a cluster, but for one with hardly any slots.
_KEYS: Final = 1_000


def refusal(client: Any) -> redis.ResponseError | None:
    """How a write is refused (by any master of a cluster), or None where writes are taken.

    Raises redis-py's other errors, as when nothing answers.
    """
    try:
        for key in _keys(client):
            client.setrange(key, 0, b"")  # leaves the key as it is, there or not
    except redis.ResponseError as error:
        return error
    return None


def _keys(client: Any) -> Iterable[str]:
    """One key for each master. They are of a kind that we write: an ACL may allow no others."""
    if not isinstance(client, redis.RedisCluster):
        return ["user:0"]
    node_of: Any = client.get_node_from_key  # redis-py does not type it
    return {node_of(key).name: key for key in (f"user:{i}" for i in range(_KEYS))}.values()


def mend(refused: redis.ResponseError) -> str:
    """What to do about it, for people."""
    match refused:
        case ReadOnlyError():
            return "point redis.url at its master (REPLICAOF NO ONE if this is to be the master)"
        case OutOfMemoryError():
            return "CONFIG SET maxmemory to more, or maxmemory-policy to volatile-ttl (drops tweets first)"
        case NoPermissionError():
            return "let its user write the keys in ops/keys.md (ACL SETUSER)"
    if "NOREPLICAS" in str(refused):  # behind the command, where it was one of a pipeline
        return "start its replicas, or CONFIG SET min-replicas-to-write to fewer"
    return "see its log: is the disk full, or its folder not writable?"
