"""Predictions of some tweets as outputs, in the format that the settings ask for.

Knows nothing of how they came about, nor which of them are worth publishing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from streamer.pair_writer import Texts
from streamer.predictions import PredictionEncoder, Readers, ScoredTweet
from streamer.settings import Settings
from streamer.stage import Block, Group


class Answers:
    """Of these tweets, all scored at the same time (ms)."""

    def __init__(
        self, encoder: PredictionEncoder, settings: Settings, tweets: Sequence[ScoredTweet], scored_at: int
    ) -> None:
        self._encoder, self._settings = encoder, settings
        self._tweets, self._at = tweets, scored_at

    def of(
        self,
        shards: NDArray[np.int64],
        readers: Readers,
        tweet_index: NDArray[np.intp],
        slots: NDArray[np.intp],
        probabilities: NDArray[np.float32],
    ) -> Iterator[Group | Block]:
        """Pairs i of tweet `tweet_index[i]` and reader `slots[i]`, who is in `shards[i]`: columns [n].

        Ordered by shard, then by tweet; `probabilities` are [n, heads] in the model's order.
        """
        if self._settings.predictions.format == "pair":
            limit = self._settings.kafka.max_send_batch_bytes
            bodies = self._encoder.pairs(
                self._prefixes,
                tweet_index,
                probabilities,
                readers.keys,
                readers.parts,
                slots,
                shards,
                limit,
            )
            for shard, body, count in bodies:
                yield Block("predictions", shard, body, count, self._at)
            return
        for shard in np.unique(shards).tolist():
            here = slice(*np.searchsorted(shards, [shard, shard + 1]))
            ids, cold = readers.user_ids[slots[here]], readers.cold[slots[here]]
            columns = self._encoder.columns(
                self._tweets, tweet_index[here], probabilities[here], ids, cold, self._at
            )
            keys, values = zip(*columns, strict=True)
            yield Group("predictions", keys, values, shard, self._at)

    @cached_property
    def _prefixes(self) -> Texts:
        return self._encoder.prefixes(self._tweets, self._at)
