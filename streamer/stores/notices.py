"""What changed in Redis: what a cache in front of it must forget.

Polled by the thread that also reads the records, never by one of its own. So no notice can slip between a
read and its entry in the cache: a change that the read missed is told after the read.
Knows nothing of the cache.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec
import redis
from redis.exceptions import RedisClusterException

from streamer.stores.connection import RedisConnection
from streamer.stores.edges import AFFINITY_CHANNEL, AUDIENCE_CHANNEL
from streamer.stores.records import vector_channel

#: Every so often a ping proves the subscription alive, which costs a round trip: its silence may be that of a
#: connection that a firewall or a load balancer dropped, which neither end is told of.
_PROOF_S: Final = 10.0


class Changes(msgspec.Struct):
    """User ids whose vectors changed, and (author, shard) of audiences and affinities; any may come twice."""

    users: list[str] = []
    audiences: list[tuple[str, int]] = []
    affinities: list[tuple[str, int]] = []


class ChangeFeed(Protocol):
    """Where a cache hears of changes."""

    def poll(self) -> Changes | None:
        """Changes since the last poll; None when some may have been missed."""


class Notices:
    """Changes as the stores tell them. Redis forgets a notice nobody heard, so a gap says `None`.

    `clock` gives seconds that never go back.
    """

    def __init__(
        self, connection: RedisConnection, fingerprint: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._redis = connection
        self._users = vector_channel(fingerprint)
        self._clock = clock
        self._subscription: Any = None
        self._proven = -math.inf
        self._outages = 0

    def poll(self) -> Changes | None:
        """Told since the last poll; None when some may have been missed.

        Does not wait, except for the answer to a ping: when it subscribed, and every `_PROOF_S` seconds, for
        `timeout_s` at most.
        Never raises for an outage: it says None, and the read that follows meets the outage.
        """
        gap = self._outages != self._redis.outages
        self._outages = self._redis.outages
        if gap:
            # A subscription can outlive its server without noticing; a new one costs nothing.
            self.close()
        changes = Changes()
        try:
            if self._subscription is None:
                channels = (self._users, AUDIENCE_CHANNEL, AFFINITY_CHANNEL)
                self._subscription = self._redis.subscribe(*channels)
                self._proven = -math.inf
            if asked := self._clock() - self._proven >= _PROOF_S:
                self._subscription.ping()
            answer_s = self._redis.settings.timeout_s
            while (message := self._subscription.get_message(timeout=answer_s if asked else 0)) is not None:
                if message["type"] == "message":
                    self._note(message["channel"].decode(), message["data"], changes)
                elif message["type"] == "subscribe":
                    # The first one, or redis-py reconnected: only from here on nothing is missed.
                    gap = True
                elif message["type"] == "pong":
                    asked, self._proven = False, self._clock()
            if asked:
                self.close()
                gap = True
        except (redis.RedisError, RedisClusterException):
            self.close()
            gap = True
        return None if gap else changes

    def _note(self, channel: str, data: bytes, changes: Changes) -> None:
        if channel == self._users:
            changes.users += msgspec.msgpack.decode(data, type=list[str])
        else:
            known = changes.audiences if channel == AUDIENCE_CHANNEL else changes.affinities
            known += msgspec.msgpack.decode(data, type=list[tuple[str, int]])

    def close(self) -> None:
        """Unsubscribe; the next poll subscribes anew."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
