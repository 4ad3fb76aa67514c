"""Audiences in Redis that are read in parts."""

from __future__ import annotations

from typing import Any

from models.state.stores import FOLLOWS, Pair
from streamer.local.redis import LocalRedis
from streamer.settings import RedisSettings
from streamer.stores import RedisConnection
from streamer.stores.edges import RedisAudiences


class TestScan:
    """The server changes under the cursor."""

    users = frozenset(f"u{i}" for i in range(20_000))

    def put(self, connection: RedisConnection) -> RedisAudiences:
        audiences = RedisAudiences(connection)
        audiences.change((Pair("star", 0, user), FOLLOWS, True) for user in self.users)
        return audiences

    def test_a_restart_in_the_middle_hides_nobody(self) -> None:
        with LocalRedis(appendonly=True) as server:
            connection = RedisConnection(RedisSettings(url=server.url))
            parts = self.put(connection).scan("star", 0)
            found = set(next(parts)[0])
            server.kill()
            server.start()
            assert found.union(*(users for users, _ in parts)) == self.users
            connection.close()

    def test_an_outage_in_the_middle_hides_nobody_where_info_is_not_allowed(self) -> None:
        with LocalRedis(appendonly=True) as server:
            connection = RedisConnection(RedisSettings(url=server.url))
            parts = self.put(connection).scan("star", 0)
            connection.call(lambda client: client.acl_setuser("default", commands=["-info"]))
            found = set(next(parts)[0])
            server.kill()
            server.start()
            connection.call(lambda client: client.acl_setuser("default", commands=["-info"]))
            connection.outages += 1
            assert found.union(*(users for users, _ in parts)) == self.users
            connection.close()

    def test_a_slot_that_moves_in_the_middle_hides_nobody(self, cluster_server: str) -> None:
        connection = RedisConnection(RedisSettings(url=cluster_server))
        parts = self.put(connection).scan("star", 0)
        found = set(next(parts)[0])
        connection.call(lambda client: _move(client, "audience:star:0"))
        assert found.union(*(users for users, _ in parts)) == self.users
        connection.close()


def _move(cluster: Any, key: str) -> None:
    """Give the key's slot to another node, with that key only."""
    slot, source = cluster.keyslot(key), cluster.get_node_from_key(key)
    target = next(node for node in cluster.get_primaries() if node != source)
    names = {
        node: cluster.execute_command("CLUSTER MYID", target_nodes=node).decode() for node in (source, target)
    }
    for node, state in ((target, "IMPORTING"), (source, "MIGRATING")):
        other = source if node == target else target
        cluster.get_redis_connection(node).execute_command("CLUSTER SETSLOT", slot, state, names[other])
    cluster.get_redis_connection(source).execute_command("MIGRATE", target.host, target.port, key, 0, 10_000)
    for node in (target, source):
        cluster.get_redis_connection(node).execute_command("CLUSTER SETSLOT", slot, "NODE", names[target])
