"""The backends that the contract suite runs over: memory, one Redis, and a cluster of three."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from models.state.memory import memory_stores
from models.state.stores import Stores
from streamer.settings import RedisSettings
from streamer.stores import RedisConnection, redis_stores

FINGERPRINT = "0123456789abcdef"


@pytest.fixture
def connection(redis_url: str) -> Iterator[RedisConnection]:
    """A connection to the shared, emptied Redis."""
    connection = RedisConnection(RedisSettings(url=redis_url))
    yield connection
    connection.close()


@pytest.fixture(
    params=[
        "memory",
        pytest.param("redis", marks=pytest.mark.redis),
        pytest.param("cluster", marks=pytest.mark.redis),
    ]
)
def stores(request: pytest.FixtureRequest) -> Iterator[Stores]:
    """Empty stores, of each kind in turn."""
    if request.param == "memory":
        yield memory_stores()
        return
    url = request.getfixturevalue("redis_url" if request.param == "redis" else "cluster_server")
    connection = RedisConnection(RedisSettings(url=url))
    connection.call(lambda client: client.flushall())
    yield redis_stores(connection, FINGERPRINT)
    connection.close()
