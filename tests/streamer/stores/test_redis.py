"""What only Redis does: keys and lifetimes, outages."""

from __future__ import annotations

import fnmatch
import logging
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis

from models.state import affinity
from models.state.authors import published
from models.state.stores import AUTHOR_FIELDS, FOLLOWS, Pair
from models.state.tweet import TweetRecord
from models.state.user import UserState
from streamer.local.redis import LocalRedis
from streamer.settings import RedisSettings
from streamer.stage import StageUnavailable
from streamer.stores import RedisConnection, redis_stores
from streamer.stores import connection as store_connection
from streamer.stores.edges import AFFINITY_CHANNEL, AUDIENCE_CHANNEL
from tests.streamer.stores.relay import Relay

FINGERPRINT = "0123456789abcdef"
KEYS_MD = Path(__file__).parents[3] / "ops" / "keys.md"


def fill(connection: RedisConnection) -> None:
    """Use every method that writes."""
    stores = redis_stores(connection, FINGERPRINT)
    stores.intake.look([1], 60)
    stores.tweets.put_new({1: TweetRecord("a", 0, (), np.zeros(2, np.float16)), 2**63 + 1: _tweet()})
    stores.tweets.keep([2**63 + 1])
    stores.users.put_many({"u": UserState()})
    stores.vectors.put_many({"u": b"x"})
    stores.tastes.put_many({"u": b"y"})
    stores.audiences.change([(Pair("a", 0, "u"), FOLLOWS, True)])
    stores.affinities.put_many({Pair("a", 0, "u"): affinity.empty()})
    stores.authors.add([("a", "tweets", 1.0)])


def _tweet() -> TweetRecord:
    return TweetRecord("a", 0, (), np.zeros(2, np.float16))


def lifetimes(connection: RedisConnection) -> dict[str, int]:
    """Every key there is, with its time to live in seconds (-1: for ever)."""

    def ask(client: Any) -> dict[str, int]:
        return {key.decode(): client.ttl(key) for key in client.scan_iter()}

    return connection.call(ask)


def test_keys_and_lifetimes_are_as_documented(redis_url: str) -> None:
    settings = RedisSettings(url=redis_url, tweet_ttl_s=100, engaged_tweet_ttl_s=200, user_ttl_s=300)
    connection = RedisConnection(settings)
    fill(connection)
    found = lifetimes(connection)
    connection.close()
    assert found == {
        "claim:0123456789ab:{1}": 60,
        "tweet:0123456789ab:{1}": 100,
        "tweet:0123456789ab:{x8000000000000001}": 200,
        "user:u": 300,
        "vector:0123456789ab:u": 300,
        "taste:0123456789ab:u": 300,
        "audience:a:0": -1,
        "affinity:a:0": 300,
        "author:a": -1,
    }
    documented = re.findall(r"^\| `([^`]+)` \|", KEYS_MD.read_text(), re.M)
    channels = ["vectors:0123456789ab", AUDIENCE_CHANNEL, AFFINITY_CHANNEL]
    patterns = [re.sub(r"\{\w+\}", "*", key) for key in documented]
    for key in found:
        assert any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns), key
    for pattern in patterns:
        assert any(fnmatch.fnmatchcase(key, pattern) for key in [*found, *channels]), pattern


@pytest.mark.parametrize(
    ("tweet", "engaged", "kept"),
    [(0, 50, -1), (100, 0, -1), (100, 50, 50)],
    ids=["all", "engaged", "neither"],
)
def test_zero_keeps_for_ever(redis_url: str, tweet: int, engaged: int, kept: int) -> None:
    connection = RedisConnection(
        RedisSettings(url=redis_url, tweet_ttl_s=tweet, engaged_tweet_ttl_s=engaged, user_ttl_s=0)
    )
    fill(connection)
    found = lifetimes(connection)
    connection.close()
    assert found["tweet:0123456789ab:{x8000000000000001}"] == kept
    assert found["tweet:0123456789ab:{1}"] == (tweet or -1)
    assert found["user:u"] == found["affinity:a:0"] == -1
    assert found["vector:0123456789ab:u"] == found["taste:0123456789ab:u"] == -1


def test_two_models_do_not_share_vectors(connection: RedisConnection) -> None:
    one, other = redis_stores(connection, "a" * 16), redis_stores(connection, "b" * 16)
    one.tweets.put_new({1: _tweet()})
    one.vectors.put_many({"u": b"x"})
    one.users.put_many({"u": UserState()})
    assert other.tweets.get_many([1]) == [None]
    assert other.vectors.get_many(["u"]) == [None]
    assert other.users.get_many(["u"])[0] is not None


def test_more_than_one_round_trip_takes(connection: RedisConnection) -> None:
    stores = redis_stores(connection, FINGERPRINT)
    users = {f"u{i}": str(i).encode() for i in range(10_000)}
    stores.vectors.put_many(users)
    assert stores.vectors.get_many(list(users)) == list(users.values())


def test_a_claim_lapses(connection: RedisConnection) -> None:
    stores = redis_stores(connection, FINGERPRINT)
    assert stores.intake.look([1], 0.001).ours == [True]
    deadline = time.monotonic() + 10
    while stores.intake.look([1], 0.001).ours != [True]:
        assert time.monotonic() < deadline


def test_what_is_sent_again_is_counted_once(
    connection: RedisConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis did it, and went away before it answered."""
    straight, calls = store_connection._straight, iter(range(10))

    def lose_the_first_reply(*args: Any) -> list[Any]:
        replies = straight(*args)
        if next(calls) == 0:
            raise redis.ConnectionError
        return replies

    monkeypatch.setattr(store_connection, "_straight", lose_the_first_reply)
    stores = redis_stores(connection, FINGERPRINT)
    stores.intake.put({1: _tweet(), 2: _tweet()})
    assert connection.outages == 1
    once = 2 * published(_tweet())[2]
    assert stores.authors.get_many(["a"])[0, AUTHOR_FIELDS.index("tweets")] == pytest.approx(once)


class TestOutage:
    @pytest.fixture
    def server(self) -> Iterator[LocalRedis]:
        with LocalRedis(appendonly=True) as server:
            yield server

    def test_is_waited_out_with_a_line_each_way(
        self, server: LocalRedis, caplog: pytest.LogCaptureFixture
    ) -> None:
        connection = RedisConnection(RedisSettings(url=server.url, timeout_s=2))
        stores = redis_stores(connection, FINGERPRINT)
        stores.vectors.put_many({"u": b"before"})
        server.kill()
        caplog.set_level(logging.INFO, logger="streamer.stores")
        answers: list[list[bytes | None]] = []
        asking = threading.Thread(target=lambda: answers.append(stores.vectors.get_many(["u"])))
        asking.start()
        deadline = time.monotonic() + 10
        while not caplog.messages:
            assert time.monotonic() < deadline
        server.start()
        asking.join(20)
        assert answers == [[b"before"]]
        assert connection.outages == 1
        away, back = caplog.messages
        assert f"Redis at {server.address} is away" in away
        assert "is back after" in back
        connection.close()

    def test_that_lasts_ends_in_one_clear_line(self, server: LocalRedis) -> None:
        server.kill()
        connection = RedisConnection(RedisSettings(url=server.url, retry_s=0.3))
        with pytest.raises(
            StageUnavailable, match=r"stayed away for .* s .*: start it, or raise redis.retry_s"
        ):
            redis_stores(connection, FINGERPRINT).users.get_many(["u"])
        assert "does not answer" in (connection.healthy() or "")
        connection.close()

    def test_does_not_hold_up_a_stop(self, server: LocalRedis) -> None:
        server.kill()
        connection = RedisConnection(RedisSettings(url=server.url, retry_s=600))
        connection.interrupt()
        with pytest.raises(StageUnavailable, match="stopped while"):
            redis_stores(connection, FINGERPRINT).users.get_many(["u"])
        connection.close()


class TestUnable:
    """A server that answers, but cannot serve now."""

    @pytest.mark.parametrize(
        "answer",
        [
            "MISCONF Redis is configured to save RDB snapshots, but is currently not able to.",
            "NOREPLICAS Not enough good replicas to write.",
            "BUSY Redis is busy running a script.",
            "Error running script (call to f_12): @user_script:9: @user_script: 9: -OOM command not allowed",
            "Command # 1 (SET user:u x) of pipeline caused error: MISCONF Errors writing to the AOF file",
        ],
    )
    def test_is_waited_for(self, answer: str) -> None:
        connection, answers = self.server(redis.ResponseError(answer), "OK")
        assert connection.call(lambda _: _next(answers)) == "OK"
        assert connection.outages == 1

    @pytest.mark.parametrize(
        "answer",
        [
            "WRONGTYPE Operation against a key holding the wrong kind of value",
            "BUSYKEY Target key name already exists.",
            "Command # 1 (GET user:MISCONF u) of pipeline caused error: WRONGTYPE Operation against a key",
            "Command # 1 (GET caused error: OOM) of pipeline caused error: WRONGTYPE Operation against a key",
        ],
    )
    def test_a_mistake_of_ours_is_not(self, answer: str) -> None:
        connection, answers = self.server(redis.ResponseError(answer))
        with pytest.raises(redis.ResponseError, match=r"WRONGTYPE|BUSYKEY"):
            connection.call(lambda _: _next(answers))

    def test_a_mistake_leaves_no_reply_for_the_next(self) -> None:
        with LocalRedis() as server:
            connection = RedisConnection(RedisSettings(url=server.url, retry_s=5))
            with pytest.raises(redis.ResponseError, match="WRONGTYPE"):
                connection.run([("SET", "text", "1"), ("HLEN", "text"), ("GET", "text"), ("GET", "nothing")])
            assert connection.run([("GET", "text"), ("GET", "nothing")]) == [b"1", None]
            assert connection.outages == 0
            connection.close()

    def server(self, *answers: object) -> tuple[RedisConnection, Iterator[object]]:
        """Nothing is sent to it."""
        return RedisConnection(RedisSettings(url="redis://127.0.0.1:9", retry_s=600)), iter(answers)

    @pytest.mark.parametrize("command", ["SET", "EVAL", "GET"])
    def test_a_demoted_master_is_left_for_its_successor(self, command: str) -> None:
        commands: dict[str, tuple[str | int, ...]] = {
            "SET": ("SET", "k", "v"),
            "EVAL": ("EVAL", "return redis.call('SET', KEYS[1], 'v')", 1, "k"),
            "GET": ("GET", "k"),
        }
        with LocalRedis() as old, LocalRedis() as new, Relay(old.port) as way:
            connection = RedisConnection(RedisSettings(url=f"redis://127.0.0.1:{way.port}", retry_s=3))
            assert connection.run([("SET", "k", "v")]) == [b"OK"]
            with redis.Redis.from_url(old.url) as demoted:
                demoted.config_set("replica-serve-stale-data", "no" if command == "GET" else "yes")
                demoted.replicaof("127.0.0.1", new.port)
            way.target = new.port
            connection.run([commands[command]])
            assert connection.outages == 1
            with redis.Redis.from_url(new.url) as successor:
                assert successor.info("commandstats")[f"cmdstat_{command.lower()}"]["calls"] == 1
            connection.close()


def _next(answers: Iterator[object]) -> object:
    answer = next(answers)
    if isinstance(answer, Exception):
        raise answer
    return answer


def test_a_refused_login_is_not_waited_for() -> None:
    with LocalRedis(password="secret") as server:
        for url, word in ((server.url, None), (server.url.replace("secret", "wrong"), "refuses us")):
            connection = RedisConnection(RedisSettings(url=url, retry_s=600))
            if word is None:
                assert connection.healthy() is None
                fill(connection)
            else:
                with pytest.raises(StageUnavailable, match=word) as caught:
                    fill(connection)
                assert "wrong" not in str(caught.value)
            connection.close()
        bare = RedisConnection(RedisSettings(url=f"redis://{server.address}/0", retry_s=600))
        with pytest.raises(StageUnavailable, match=r"redis\.password"):
            fill(bare)
        bare.close()
