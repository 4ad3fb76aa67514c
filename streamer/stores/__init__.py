"""The stores of `models.state.stores` in Redis. Key names and lifetimes: `ops/keys.md`."""

from __future__ import annotations

from models.state.stores import Stores
from streamer.stores.connection import RedisConnection
from streamer.stores.edges import RedisAffinities, RedisAudiences, RedisAuthors
from streamer.stores.intake import RedisIntake
from streamer.stores.notices import ChangeFeed, Changes, Notices
from streamer.stores.records import RedisTastes, RedisTweets, RedisUsers, RedisUserVectors

__all__ = ["ChangeFeed", "Changes", "Notices", "RedisConnection", "redis_stores"]


def redis_stores(connection: RedisConnection, fingerprint: str) -> Stores:
    """Every store on one connection; vectors and tastes are those of the model with this fingerprint."""
    tweets = RedisTweets(connection, fingerprint)
    return Stores(
        tweets,
        RedisUsers(connection),
        RedisUserVectors(connection, fingerprint),
        RedisTastes(connection, fingerprint),
        RedisAudiences(connection),
        RedisAffinities(connection),
        RedisAuthors(connection),
        RedisIntake(connection, tweets),
    )
