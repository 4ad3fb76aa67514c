"""Prediction records, built by the hundred thousand.

A struct and an encoder call for each record cost 0.8 us; here the parts that a tweet's or a user's records
share are encoded once, numbers are written a column at a time, and one join makes all records of a chunk.
Tests decode every shape of record with the contract's struct. Knows nothing of stores or partitions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.events import PredictionColumns
from streamer.settings import PredictionSettings

#: Objects (str or bytes), one for each pair.
Objects = NDArray[np.object_]

#: Users in one columnar record: at 128 characters an id, still below a Kafka record's 1 MB.
_COLUMN_USERS: Final = 4_096
#: A probability's significant digits, and the powers of ten that round to them. Exact literals: a quotient by
#: `10.0 ** k` is not always the float nearest to the decimal, and would be written with 17 digits.
_DIGITS: Final = 5
_POWERS: Final = np.array([float(f"1e{k}") for k in range(20)])
#: Characters of the fingerprint in a record's id.
_MODEL_CHARS: Final = 8

_encoder = msgspec.json.Encoder()


class ScoredTweet(NamedTuple):
    """What the records of one tweet share."""

    tweet_id: str
    author_id: str
    created_at: int


class PredictionEncoder:
    """Encodes in one of the two formats. A model's heads may be any that include `retweet`."""

    def __init__(self, settings: PredictionSettings, heads: Sequence[str], fingerprint: str) -> None:
        self._settings = settings
        self._retweet = heads.index("retweet")
        self._others = [(head, column) for column, head in enumerate(heads) if head != "retweet"]
        self._fingerprint = fingerprint

    def user_part(self, user_id: str, cold: bool) -> str:
        """What all pair records of a user share: the rest of the id, then the user. Worth caching."""
        # Without colons and in between two of them, the user cannot be mistaken for a part of the tweet's id.
        plain = user_id.replace("%", "%25").replace(":", "%3A")
        flag = ',"cold":true' if cold else ""
        model = self._fingerprint[:_MODEL_CHARS]
        return f'{_inside(plain)}:{model}","user_id":{_text(user_id)}{flag},"retweet":'

    def selected(self, tweet_index: NDArray[np.intp], probabilities: NDArray[np.float32]) -> NDArray[np.intp]:
        """Positions of the pairs to publish: `min_probability`, then `top_k` of each tweet, in order."""
        retweet = probabilities[:, self._retweet]
        chosen = np.flatnonzero(retweet >= self._settings.min_probability)
        k = self._settings.top_k
        if not k or not len(chosen):
            return chosen
        order = chosen[np.lexsort((-retweet[chosen], tweet_index[chosen]))]
        tweets = tweet_index[order]
        starts = np.flatnonzero(np.r_[True, tweets[1:] != tweets[:-1]])
        rank = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
        return np.sort(order[rank < k])

    def pairs(
        self,
        tweets: Sequence[ScoredTweet],
        tweet_index: NDArray[np.intp],
        probabilities: NDArray[np.float32],
        user_parts: Objects,
        scored_at: int,
    ) -> list[bytes]:
        """A record (`Prediction`) for each pair i of `tweets[tweet_index[i]]` and `user_parts[i]`.

        `probabilities` are [n, heads] in the model's order.
        """
        n = len(tweet_index)
        if not n:
            return []
        prefixes = np.array(
            [
                f'{{"tweet_id":{_text(t.tweet_id)},"author_id":{_text(t.author_id)},'
                f'"model":{_text(self._fingerprint)},"created_at":{t.created_at},"scored_at":{scored_at},'
                f'"id":"{_inside(t.tweet_id)}:'
                for t in tweets
            ],
            object,
        )
        width = 4 + 2 * len(self._others)
        flat: list[Any] = [None] * (n * width)
        flat[0::width] = prefixes[tweet_index].tolist()
        flat[1::width] = user_parts.tolist()
        flat[2::width] = _numbers(probabilities[:, self._retweet])
        for at, (head, column) in enumerate(self._others):
            flat[3 + 2 * at :: width] = [f',"{head}":'] * n
            flat[4 + 2 * at :: width] = _numbers(probabilities[:, column])
        # JSON has no raw line feed: strings escape theirs.
        flat[width - 1 :: width] = ["}\n"] * n
        return "".join(flat).encode().split(b"\n")[:-1]

    def columns(
        self,
        tweets: Sequence[ScoredTweet],
        tweet_index: NDArray[np.intp],
        probabilities: NDArray[np.float32],
        user_ids: Objects,
        cold: NDArray[np.bool_],
        scored_at: int,
    ) -> Iterator[tuple[bytes, bytes]]:
        """Key (the tweet id) and value (`PredictionColumns`) of each tweet's pairs, all of one partition.

        `tweet_index` is ascending.
        """
        bounds = np.searchsorted(tweet_index, np.arange(len(tweets) + 1)).tolist()
        for tweet, low, high in zip(tweets, bounds, bounds[1:], strict=False):
            for start in range(low, high, _COLUMN_USERS):
                part = slice(start, min(start + _COLUMN_USERS, high))
                users = user_ids[part].tolist()
                rounded = _rounded(probabilities[part])
                record = PredictionColumns(
                    # Delivered again for the same users, it has the same id.
                    id=f"{tweet.tweet_id}:{crc32(chr(0).join(users).encode()):08x}:"
                    f"{self._fingerprint[:_MODEL_CHARS]}",
                    tweet_id=tweet.tweet_id,
                    author_id=tweet.author_id,
                    users=users,
                    retweet=rounded[:, self._retweet].tolist(),
                    cold=cold[part].tolist(),
                    model=self._fingerprint,
                    created_at=tweet.created_at,
                    scored_at=scored_at,
                    **{head: rounded[:, column].tolist() for head, column in self._others},
                )
                yield tweet.tweet_id.encode(), _encoder.encode(record)


def _text(text: str) -> str:
    return _encoder.encode(text).decode()


def _inside(text: str) -> str:
    return _text(text)[1:-1]


def _rounded(values: NDArray[np.float32]) -> NDArray[np.float64]:
    """To `_DIGITS` significant digits, as the floats whose shortest notation has no more."""
    wide = values.astype(np.float64)
    places = (_DIGITS - 1) - np.floor(np.log10(np.maximum(wide, 1e-15))).astype(np.intp)
    scale = _POWERS[np.clip(places, 0, len(_POWERS) - 1)]
    rounded: NDArray[np.float64] = np.rint(wide * scale) / scale
    return rounded


def _numbers(values: NDArray[np.float32]) -> list[str]:
    """As JSON. msgspec writes a float in 30 ns, Python's repr takes 200."""
    return _encoder.encode(_rounded(values).tolist())[1:-1].decode().split(",")
