"""Which user vectors changed: what a cache in front of Redis must forget.

Polled by the thread that also reads the vectors, never by one of its own. So no notice can slip between a
read and its entry in the cache: a change that the read missed is told after the read.
Knows nothing of the cache.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
import redis

from streamer.stores.connection import RedisConnection
from streamer.stores.records import vector_channel


class ChangedUsers(Protocol):
    """Where a cache hears of changed user vectors."""

    def poll(self) -> list[str] | None:
        """Ids since the last poll; None when some may have been missed."""


class Notices:
    """Ids of users whose vectors were replaced. Redis forgets a notice nobody heard, so a gap says `None`."""

    def __init__(self, connection: RedisConnection, fingerprint: str) -> None:
        self._redis = connection
        self._channel = vector_channel(fingerprint)
        self._subscription: Any = None
        self._outages = 0

    def poll(self) -> list[str] | None:
        """Ids told since the last poll, without waiting; None when some may have been missed.

        Never raises for an outage: it says None, and the read that follows meets the outage.
        """
        gap = self._outages != self._redis.outages
        self._outages = self._redis.outages
        if gap:
            # A subscription can outlive its server without noticing; a new one costs nothing.
            self.close()
        ids: list[str] = []
        try:
            if self._subscription is None:
                self._subscription = self._redis.subscribe(self._channel)
            while (message := self._subscription.get_message(timeout=0)) is not None:
                if message["type"] == "message":
                    ids += msgspec.msgpack.decode(message["data"], type=list[str])
                elif message["type"] == "subscribe":
                    # The first one, or redis-py reconnected: only from here on nothing is missed.
                    gap = True
        except redis.RedisError:
            self.close()
            gap = True
        return None if gap else ids

    def close(self) -> None:
        """Unsubscribe; the next poll subscribes anew."""
        if self._subscription is not None:
            self._subscription.close()
            self._subscription = None
