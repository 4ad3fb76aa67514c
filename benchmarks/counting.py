"""How fast an agent that does nothing is given records: counted in its process, asked for over a socket.

The clock runs from the first records to the last that came, the first ones not counted. Knows nothing of who
gives them.
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Final

import msgspec

from streamer.local.process import HOST
from streamer.settings import Settings

_TIMEOUT_S: Final = 5.0


class Count(msgspec.Struct):
    """Records taken so far; those after the first call, and the seconds they took."""

    records: int = 0
    timed: int = 0
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Records a second."""
        return self.timed / self.seconds


class Counting:
    """Counts, and answers everybody who connects to the settings' port with the `Count` so far."""

    def __init__(self, settings: Settings) -> None:
        self._count = Count()
        self._first: float | None = None
        self._server = socket.create_server((HOST, settings.http.port))
        threading.Thread(target=self._answer, daemon=True).start()

    def took(self, records: int, now: float) -> None:
        """So many records came at `now` (seconds)."""
        count = self._count
        count.records += records
        if self._first is None:
            self._first = now
        else:
            count.timed += records
            count.seconds = now - self._first

    def _answer(self) -> None:
        while True:
            connection, _ = self._server.accept()
            with connection, suppress(OSError):  # somebody only looked whether we listen
                connection.sendall(msgspec.json.encode(self._count))


def ask(port: int) -> Count:
    """The count so far of the process that listens there."""
    with socket.create_connection((HOST, port), _TIMEOUT_S) as connection:
        return msgspec.json.decode(connection.makefile("rb").read(), type=Count)
