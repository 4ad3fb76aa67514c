"""A record as a consumer hands it over, made by hand."""

from __future__ import annotations

from typing import NamedTuple


class Raw(NamedTuple):
    """See `streamer.stage.Record`."""

    offset: int
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
