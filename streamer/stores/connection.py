"""Redis or Redis Cluster, reached with patience: an outage is waited out, then it ends the process.

Knows nothing of what is stored. Every method is one round trip as long as its input is below `CHUNK` items;
larger ones are cut, so that no single reply holds up Redis's only thread or fills our memory.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, TypeVar

import redis
from redis.backoff import ExponentialBackoff, NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ClusterDownError,
    ClusterError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    TryAgainError,
)
from redis.retry import Retry

from streamer.settings import RedisSettings
from streamer.stage import StageUnavailable
from streamer.stores.writable import mend, refusal

logger = logging.getLogger(__name__)

T = TypeVar("T")
#: A command and its arguments, as they go over the wire.
Command = tuple[bytes | str | int | float, ...]

#: Most commands of one pipeline, and most keys of one MGET.
CHUNK: Final = 4_096
#: Pauses between attempts during an outage: 50 ms, doubling up to this.
_LONGEST_PAUSE_S: Final = 1.0
#: `/readyz` gives a stage one second to answer.
_HEALTH_TIMEOUT_S: Final = 0.8

#: What a server says that cannot serve now but may serve soon: restarting, loading, failing over, full.
_AWAY: Final = (
    redis.ConnectionError,  # BusyLoadingError among them
    redis.TimeoutError,
    ReadOnlyError,
    MasterDownError,
    ClusterDownError,
    ClusterError,
    TryAgainError,
    OutOfMemoryError,
    RedisClusterException,
)
#: How such answers begin where redis-py has no class for them. Before Redis 7, what a command in a script is
#: answered comes behind the script's own text.
_UNABLE: Final = re.compile(r"(Error running script .* -)?(MISCONF|NOREPLICAS|BUSY|READONLY|OOM)\b")
#: Subclasses of those that no waiting mends.
_REFUSED: Final = (AuthenticationError, AuthorizationError, NoPermissionError)


class RedisConnection:
    """A lazy connection: the constructor does not touch the network.

    `outages` counts the times Redis went away: whoever relies on being told of changes compares it.
    Raises `StageUnavailable` from every method when Redis stays away for `settings.retry_s`, refuses the
    login, or `interrupt` was called during an outage.
    """

    def __init__(self, settings: RedisSettings) -> None:
        self.settings = settings
        self.outages = 0
        self._client: Any = None
        self._health_client: Any = None
        self._interrupted = threading.Event()
        self.address = settings.address

    def interrupt(self) -> None:
        """Wait for no outage any more. May be called in any thread."""
        self._interrupted.set()

    def close(self) -> None:
        """Drop the connections; harmless when there are none."""
        for client in (self._client, self._health_client):
            if client is not None:
                client.close()
        self._client = self._health_client = None

    def call(self, what: Callable[[Any], T]) -> T:
        """`what(client)`, again and again while Redis is away: it must be safe to repeat."""
        since: float | None = None
        pause = 0.05
        while True:
            try:
                if self._client is None:
                    self._client = self._connect(self.settings.timeout_s)
                result = what(self._client)
            except _REFUSED as error:
                raise StageUnavailable(
                    f"Redis at {self.address} refuses us ({error}): check redis.url and redis.password"
                ) from error
            except (redis.RedisError, RedisClusterException) as error:
                if not _away(error):
                    raise
                self._leave(self._client)
                now = time.monotonic()
                if since is None:
                    since = now
                    self.outages += 1
                    logger.warning(
                        "Redis at %s is away (%s); waiting up to %g s for it",
                        self.address, error, self.settings.retry_s,
                    )  # fmt: skip
                if now - since >= self.settings.retry_s:
                    advice = mend(error) if isinstance(error, redis.ResponseError) else "start it"
                    raise StageUnavailable(
                        f"Redis at {self.address} stayed away for {now - since:.0f} s ({error}): "
                        f"{advice}, or raise redis.retry_s"
                    ) from error
                if self._interrupted.wait(min(pause, since + self.settings.retry_s - now)):
                    raise StageUnavailable(f"stopped while Redis at {self.address} was away") from error
                pause = min(2 * pause, _LONGEST_PAUSE_S)
            else:
                if since is not None:
                    logger.info("Redis at %s is back after %.1f s", self.address, time.monotonic() - since)
                return result

    def run(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to `commands`, pipelined, not as a transaction. They must be safe to repeat.

        A cluster's client has made dictionaries of hashes, and numbers of cursors.
        """
        at_once = _by_node if self.settings.cluster else _straight
        parts = [self.call(partial(at_once, part)) for part in _parts(commands)]
        return list(chain.from_iterable(parts))

    def get(self, keys: Sequence[str]) -> list[bytes | None]:
        """The values of string keys, None where there is none."""
        # MGET costs 1 us a key, a pipeline of GETs 6 us; a cluster's keys lie on many nodes.
        name = "mget_nonatomic" if self.settings.cluster else "mget"
        found: list[bytes | None] = []
        for part in _parts(keys):
            found += self.call(lambda client, part=part: getattr(client, name)(part))  # type: ignore[misc]
        return found

    def publish(self, channel: str, message: bytes) -> None:
        """Tell the subscribers of `channel`, on whichever node they listen."""
        self.call(lambda client: client.publish(channel, message))

    def subscribe(self, *channels: str) -> Any:
        """A redis-py `PubSub` of `channels`. Raises redis-py's errors: see `Notices`, which handles them."""
        if self._client is None:
            self._client = self._connect(self.settings.timeout_s)
        subscription = self._client.pubsub()
        subscription.subscribe(*channels)
        return subscription

    def healthy(self) -> str | None:
        """None when Redis takes writes within a second, else what is wrong. May be called in any thread."""
        try:
            if self._health_client is None:
                self._health_client = self._connect(_HEALTH_TIMEOUT_S)
            refused = refusal(self._health_client)
        except (redis.RedisError, RedisClusterException) as error:
            return f"Redis at {self.address} does not answer: {error}"
        if refused is None:
            return None
        self._leave(self._health_client)
        return f"Redis at {self.address} takes no writes: {refused}"

    def _leave(self, client: Any) -> None:
        """Have the client connect anew.

        Over an open connection a demoted master would go on refusing; a new one may reach its successor. A
        cluster's client is sent on by the node that was demoted.
        """
        if client is not None and not self.settings.cluster:
            client.close()

    def _connect(self, timeout: float) -> Any:
        config = self.settings.redis_config() | {
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
            "socket_keepalive": True,
            # RESP2 gives a hash as one flat list, which slices into columns: 25,000 fields in 5.5 ms, against
            # 12.7 ms as a dictionary and 18 ms in RESP3.
            "protocol": 2,
            # redis-py would retry on its own, silently and without regard to `interrupt`. In a cluster its
            # retries also refresh the map of nodes, so a few are left to it.
            "retry": Retry(ExponentialBackoff(0.2, 0.02), 3)
            if self.settings.cluster
            else Retry(NoBackoff(), 0),
        }
        if self.settings.cluster:
            return redis.RedisCluster.from_url(**config)
        return redis.Redis.from_url(**config)


def _straight(commands: Sequence[Command], client: Any) -> list[Any]:
    """The replies as they come over the wire.

    redis-py's pipeline looks at each command and each reply for what other users may want of it: 48 commands
    took 748 us, and take 224 over the same connection without.
    """
    connection = client.connection_pool.get_connection()
    try:
        connection.send_packed_command(connection.pack_commands(commands))
        return [connection.read_response() for _ in commands]
    except BaseException:
        connection.disconnect()  # other replies may be on their way
        raise
    finally:
        client.connection_pool.release(connection)


def _by_node(commands: Sequence[Command], client: Any) -> list[Any]:
    """The replies of a cluster, whose client knows where each key is, made of what they are in redis-py."""
    with client.pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = pipeline.execute()
        return replies


def _away(error: Exception) -> bool:
    """Whether the server cannot serve now but may soon."""
    if isinstance(error, _AWAY):
        return True
    # A pipeline puts the command, with ids in it, before the answer.
    answer = str(error).rpartition(" caused error: ")[2]
    return isinstance(error, redis.ResponseError) and _UNABLE.match(answer) is not None


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), CHUNK):
        yield items[start : start + CHUNK]
