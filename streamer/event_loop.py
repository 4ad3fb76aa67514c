"""The worker's event loop: uvloop, and what aiokafka needs to live on it. Knows nothing of the worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import aiokafka.conn
import uvloop
from aiokafka.conn import AIOKafkaConnection, CloseReason
from aiokafka.errors import KafkaConnectionError


class Connection(AIOKafkaConnection):
    """A connection that fails as Kafka connections do, on uvloop too.

    A write to a socket that has just been lost is an `OSError`, or dropped, on asyncio's own loop, but a
    `RuntimeError` on uvloop's. aiokafka does not expect that, and its task that keeps the metadata fresh died
    of it: one outage in five left a stage without an answer from Kafka until the watchdog ended the worker.
    """

    def send(self, *args: Any, **kwargs: Any) -> Any:
        """See `AIOKafkaConnection.send`. Raises `KafkaConnectionError` when the socket is gone."""
        with self._lost():
            return super().send(*args, **kwargs)

    def _send_sasl_token(self, *args: Any, **kwargs: Any) -> Any:
        with self._lost():
            return super()._send_sasl_token(*args, **kwargs)

    @contextmanager
    def _lost(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self.close(reason=CloseReason.CONNECTION_BROKEN)
            raise KafkaConnectionError(f"Connection at {self.host}:{self.port} broken: {error}") from error


def install() -> None:
    """Use uvloop for the loops made from now on.

    asyncio's own let go of the GIL at every send and wake-up, and queue for it behind all other threads: at a
    quarter of the capacity, predictions then took 67 to 105 ms in the median instead of 43 to 72.
    """
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    aiokafka.conn.AIOKafkaConnection = Connection  # what `create_conn` makes
