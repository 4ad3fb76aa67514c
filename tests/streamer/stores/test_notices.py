"""What caches hear of changes in Redis, and that they hear when they may have missed some."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import pytest
import redis
from redis.exceptions import SlotNotCoveredError

from models.state import affinity
from models.state.stores import FOLLOWS, Pair
from streamer.local.redis import LocalRedis
from streamer.settings import RedisSettings
from streamer.stores import Changes, Notices, RedisConnection, redis_stores
from tests.streamer.stores.conftest import FINGERPRINT
from tests.streamer.stores.relay import Relay


@pytest.fixture
def notices(connection: RedisConnection) -> Iterator[Notices]:
    notices = Notices(connection, FINGERPRINT)
    yield notices
    notices.close()


def all_heard(notices: Notices, users: int) -> Changes | None:
    """What came, once there are so many users; None as soon as there was a gap."""
    found = Changes()
    deadline = time.monotonic() + 10
    while len(found.users) < users:
        assert time.monotonic() < deadline
        more = notices.poll()
        if more is None:
            return None
        found.users += [user for user in more.users if user != "again"]
        found.audiences += more.audiences
        found.affinities += more.affinities
    return found


def ready(notices: Notices, stores: Any) -> None:
    """Until what is published is heard; before, there is a gap."""
    gaps = 0
    deadline = time.monotonic() + 10
    while (heard := notices.poll()) is None or not heard.users:
        gaps += heard is None
        stores.vectors.put_many({"again": b"x"})
        assert time.monotonic() < deadline
    assert gaps


def test_changed_users_are_told(connection: RedisConnection, notices: Notices) -> None:
    stores = redis_stores(connection, FINGERPRINT)
    ready(notices, stores)
    stores.vectors.put_many({"ü": b"x", 'quo"te': b"x"})
    stores.vectors.put_many({})
    stores.vectors.put_many({"v": b"x"})
    redis_stores(connection, "another model").vectors.put_many({"w": b"x"})
    heard = all_heard(notices, 3)
    assert heard is not None
    assert heard.users == ["ü", 'quo"te', "v"]


def test_changed_edges_are_told(connection: RedisConnection, notices: Notices) -> None:
    stores = redis_stores(connection, FINGERPRINT)
    ready(notices, stores)
    pairs = [Pair("ä", 1, "u"), Pair("ä", 1, "v"), Pair("b", 2, "u")]
    stores.audiences.change((pair, FOLLOWS, True) for pair in pairs)
    stores.audiences.change([])
    stores.affinities.put_many({pairs[2]: affinity.empty()})
    stores.affinities.put_many({})
    stores.vectors.put_many({"last": b"x"})
    heard = all_heard(notices, 1)
    assert heard is not None
    assert heard.audiences == [("ä", 1), ("b", 2)]
    assert heard.affinities == [("b", 2)]


def test_a_lost_connection_is_a_gap(connection: RedisConnection, notices: Notices) -> None:
    stores = redis_stores(connection, FINGERPRINT)
    ready(notices, stores)
    connection.call(lambda client: client.execute_command("CLIENT", "KILL", "TYPE", "pubsub"))
    ready(notices, stores)


def test_an_outage_seen_by_another_call_is_a_gap(connection: RedisConnection, notices: Notices) -> None:
    """A subscription can sleep through its server's restart; the data connection does not."""
    ready(notices, redis_stores(connection, FINGERPRINT))
    connection.outages += 1
    assert notices.poll() is None


class Waited:
    """A subscription whose server answers nobody who does not wait for it."""

    def __init__(self) -> None:
        self.answers = [{"type": "subscribe"}]

    def ping(self) -> None:
        self.answers.append({"type": "pong"})

    def get_message(self, timeout: float) -> dict[str, str] | None:
        return self.answers.pop(0) if timeout and self.answers else None


def test_a_subscription_is_in_force_once_polled(monkeypatch: pytest.MonkeyPatch) -> None:
    connection = RedisConnection(RedisSettings())
    monkeypatch.setattr(connection, "subscribe", lambda *_: Waited())
    notices = Notices(connection, FINGERPRINT)
    assert notices.poll() is None
    assert notices.poll() == Changes()


@pytest.mark.parametrize("error", [redis.TimeoutError("away"), SlotNotCoveredError("slot 7 is nobody's")])
def test_an_outage_met_here_is_a_gap(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    connection = RedisConnection(RedisSettings())
    monkeypatch.setattr(connection, "subscribe", Mock(side_effect=error))
    assert Notices(connection, FINGERPRINT).poll() is None


def test_a_subscription_that_lives_is_no_gap(connection: RedisConnection) -> None:
    now = [0.0]
    notices = Notices(connection, FINGERPRINT, lambda: now[0])
    stores = redis_stores(connection, FINGERPRINT)
    ready(notices, stores)
    for user in "uv":
        stores.vectors.put_many({user: b"x"})
        now[0] += 10.0
        heard = notices.poll()
        assert heard is not None
        assert heard.users[-1:] == [user]
    notices.close()


def test_a_connection_that_was_dropped_silently_is_a_gap(
    redis_server: LocalRedis, connection: RedisConnection
) -> None:
    now = [0.0]
    stores = redis_stores(connection, FINGERPRINT)
    with Relay(redis_server.port) as way:
        reader = RedisConnection(RedisSettings(url=f"redis://127.0.0.1:{way.port}", timeout_s=0.2))
        notices = Notices(reader, FINGERPRINT, lambda: now[0])
        ready(notices, stores)
        way.mute()
        stores.vectors.put_many({"u": b"x"})
        now[0] += 10.0
        assert notices.poll() is None
        ready(notices, stores)
        notices.close()
        reader.close()


def test_over_a_cluster(cluster_server: str) -> None:
    connection = RedisConnection(RedisSettings(url=cluster_server))
    notices = Notices(connection, FINGERPRINT)
    stores = redis_stores(connection, FINGERPRINT)
    ready(notices, stores)
    notices.close()
    connection.close()
