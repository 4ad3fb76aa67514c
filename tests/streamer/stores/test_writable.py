"""A Redis that answers but takes no writes is not ready, and nothing is written to find out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from streamer.local.redis import LocalRedis
from streamer.settings import RedisSettings
from streamer.stage import StageUnavailable
from streamer.stores import RedisConnection
from streamer.stores.writable import mend, refusal
from tests.streamer.processes import eventually
from tests.streamer.stores.relay import Relay


def replica(client: Any, _: Path) -> None:
    client.replicaof("127.0.0.1", 9)


def full(client: Any, _: Path) -> None:
    client.config_set("maxmemory", 1)


def lonely(client: Any, _: Path) -> None:
    client.config_set("min-replicas-to-write", 1)


def diskless(client: Any, folder: Path) -> None:
    """A snapshot can't take the place of a folder."""
    (folder / "dump.rdb").mkdir()
    client.config_set("save", "3600 1")
    client.bgsave()
    eventually(lambda: client.info("persistence")["rdb_last_bgsave_status"] == "err", 10, "failed snapshot")


def powerless(client: Any, _: Path) -> None:
    client.acl_setuser("default", categories=["-@write"])


@pytest.mark.redis
@pytest.mark.parametrize(
    ("state", "reason", "remedy"),
    [
        (replica, "You can't write against a read only replica", "point redis.url at its master"),
        (full, "command not allowed when used memory > 'maxmemory'", "CONFIG SET maxmemory"),
        (lonely, "NOREPLICAS Not enough good replicas to write", "min-replicas-to-write"),
        (diskless, "MISCONF Redis is configured to save RDB snapshots", "see its log"),
        (powerless, "no permissions to run the 'setrange' command", "ACL SETUSER"),
    ],
)
def test_what_refuses_writes_is_not_ready(
    state: Callable[[Any, Path], None], reason: str, remedy: str
) -> None:
    with LocalRedis() as server, redis.Redis.from_url(server.url) as client:
        connection = RedisConnection(RedisSettings(url=server.url))
        assert connection.healthy() is None
        state(client, server.data_dir)
        told = connection.healthy() or ""
        assert told.startswith(f"Redis at {server.address} takes no writes: ")
        assert reason in told
        refused = refusal(client)
        assert refused is not None
        assert remedy in mend(refused)
        connection.close()


@pytest.mark.redis
@pytest.mark.parametrize(
    ("state", "remedy"),
    [(replica, "point redis.url at its master"), (full, "maxmemory"), (lonely, "start its replicas")],
)
def test_a_refusal_that_lasts_ends_in_what_to_do(state: Callable[[Any, Path], None], remedy: str) -> None:
    with LocalRedis() as server, redis.Redis.from_url(server.url) as client:
        connection = RedisConnection(RedisSettings(url=server.url, retry_s=0.3))
        state(client, server.data_dir)
        with pytest.raises(StageUnavailable, match=f"{remedy}.*, or raise redis.retry_s"):
            connection.run([("SET", "key", b"value")])
        connection.close()


def test_asking_changes_nothing(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("user:0", b"somebody", ex=1_000)
        before = client.info("persistence")["rdb_changes_since_last_save"]
        assert refusal(client) is None
        assert client.get("user:0") == b"somebody"
        client.delete("user:0")
        assert refusal(client) is None
        assert client.dbsize() == 0
        assert client.info("persistence")["rdb_changes_since_last_save"] == before + 1


@pytest.mark.redis
def test_ready_again_at_the_successor_of_a_demoted_master() -> None:
    with LocalRedis() as old, LocalRedis() as new, Relay(old.port) as way:
        connection = RedisConnection(RedisSettings(url=f"redis://127.0.0.1:{way.port}"))
        assert connection.healthy() is None
        with redis.Redis.from_url(old.url) as demoted:
            demoted.replicaof("127.0.0.1", new.port)
        way.target = new.port
        assert "read only" in (connection.healthy() or "")
        assert connection.healthy() is None
        connection.close()


@pytest.fixture
def masters(cluster_server: str) -> Iterator[list[Any]]:
    with redis.RedisCluster.from_url(cluster_server.partition("?")[0]) as cluster:
        clients = [node.redis_connection for node in cluster.get_primaries()]
        yield clients
        for client in clients:
            client.config_set("maxmemory", 0)


@pytest.mark.redis
def test_each_master_of_a_cluster_has_to_take_them(cluster_server: str, masters: list[Any]) -> None:
    connection = RedisConnection(RedisSettings(url=cluster_server))
    assert len(masters) == 3
    for master in masters:
        assert connection.healthy() is None
        master.config_set("maxmemory", 1)
        assert "takes no writes: command not allowed when used memory" in (connection.healthy() or "")
        master.config_set("maxmemory", 0)
    connection.close()
