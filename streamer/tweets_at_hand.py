"""Tweets that were embedded or asked for lately, in the memory of this process: its stages share them.

Where one worker embeds and scores, the scorer asks Redis for hardly any tweet. Bounded: when full, all are
forgotten. Records never change, so none is ever out of date. Knows nothing of where they are kept for good.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from models.state.tweet import TweetRecord

_MOST: Final = 16_384


class TweetsAtHand:
    """Records by `id_key`, of one model. May be used by several threads at a time."""

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._records: dict[int, TweetRecord] = {}

    def get_many(self, keys: Iterable[int]) -> dict[int, TweetRecord]:
        """Those that are at hand."""
        records = self._records
        return {key: record for key in keys if (record := records.get(key)) is not None}

    def put(self, records: Mapping[int, TweetRecord]) -> None:
        """Keep these, as long as there is room."""
        if len(self._records) + len(records) > self._most:
            self._records = {}
        self._records.update(records)
