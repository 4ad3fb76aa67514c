"""Prediction records, built by the hundred thousand.

What a tweet's or a user's records share is encoded once; `streamer.pair_writer` puts it together.
Tests decode every shape of record with the contract's struct. Knows nothing of stores or partitions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.events import PredictionColumns
from streamer.pair_writer import DIGITS, Texts, texts, write
from streamer.settings import PredictionSettings

#: Objects (str or bytes), one for each pair.
Objects = NDArray[np.object_]

#: Users in one columnar record: at 128 characters an id, of 6 bytes each at worst (`\u0001`), and 60 bytes
#: of numbers, still below a Kafka record's 1 MB.
_COLUMN_USERS: Final = 1_024
#: The powers of ten that round to `DIGITS` digits. Exact literals: a quotient by `10.0 ** k` is not always
#: the float nearest to the decimal, and would be written with 17 digits.
_POWERS: Final = np.array([float(f"1e{k}") for k in range(20)])
#: Characters of the fingerprint in a record's id.
_MODEL_CHARS: Final = 8

_encoder = msgspec.json.Encoder()


class ScoredTweet(NamedTuple):
    """What the records of one tweet share."""

    tweet_id: str
    author_id: str
    created_at: int


class Readers(NamedTuple):
    """Whom predictions may be of: columns, by slot. `keys` are the ids' bytes, `parts` what
    `PredictionEncoder.user_part` made of them.
    """

    user_ids: Objects
    cold: NDArray[np.bool_]
    keys: Texts
    parts: Texts


class PredictionEncoder:
    """Encodes in one of the two formats. A model's heads may be any that include `retweet`."""

    def __init__(self, settings: PredictionSettings, heads: Sequence[str], fingerprint: str) -> None:
        self._settings = settings
        self._retweet = heads.index("retweet")
        self._others = [(head, column) for column, head in enumerate(heads) if head != "retweet"]
        self._fingerprint = fingerprint
        self._order = [self._retweet, *(column for _, column in self._others)]
        self._labels = texts([b"", *(f',"{head}":'.encode() for head, _ in self._others), b"}"])

    def user_part(self, user_id: str, cold: bool) -> bytes:
        """What all pair records of a user share: the rest of the id, then the user. Worth caching."""
        # Without colons and in between two of them, the user cannot be mistaken for a part of the tweet's id.
        plain = user_id.replace("%", "%25").replace(":", "%3A")
        flag = ',"cold":true' if cold else ""
        model = self._fingerprint[:_MODEL_CHARS]
        return f'{_inside(plain)}:{model}","user_id":{_text(user_id)}{flag},"retweet":'.encode()

    def readers(self, user_ids: Objects, cold: NDArray[np.bool_]) -> Readers:
        """These users [n], at slots 0 to n - 1."""
        users = user_ids.tolist()
        parts = list(map(self.user_part, users, cold.tolist()))
        return Readers(user_ids, cold, texts([user.encode() for user in users]), texts(parts))

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

    def prefixes(self, tweets: Sequence[ScoredTweet], scored_at: int) -> Texts:
        """What all pair records of each tweet share. A tweet may be there several times."""
        made = {tweet: self._prefix(tweet, scored_at) for tweet in dict.fromkeys(tweets)}
        return texts([made[tweet] for tweet in tweets])

    def _prefix(self, tweet: ScoredTweet, scored_at: int) -> bytes:
        return (
            f'{{"tweet_id":{_text(tweet.tweet_id)},"author_id":{_text(tweet.author_id)},'
            f'"model":"{self._fingerprint}","created_at":{tweet.created_at},"scored_at":{scored_at},'
            f'"id":"{_inside(tweet.tweet_id)}:'
        ).encode()

    def pairs(
        self,
        prefixes: Texts,
        tweet_index: NDArray[np.intp],
        probabilities: NDArray[np.float32],
        keys: Texts,
        user_parts: Texts,
        slots: NDArray[np.intp],
        partitions: NDArray[np.int64],
        batch_bytes: int,
    ) -> list[tuple[int, memoryview, int]]:
        """A record (`Prediction`) for each pair i of tweet `tweet_index[i]` and user `slots[i]`.

        `prefixes` are those of the tweets, `keys` user ids and `user_parts` what `user_part` made of them;
        `probabilities` are [n, heads] in the model's order. As bodies of batches: see `pair_writer.write`.
        """
        ordered, users, labels = probabilities[:, self._order], user_parts, self._labels
        return write(prefixes, keys, users, labels, tweet_index, slots, ordered, partitions, batch_bytes)

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
    """To `DIGITS` significant digits, as the floats whose shortest notation has no more."""
    wide = values.astype(np.float64)
    places = (DIGITS - 1) - np.floor(np.log10(np.maximum(wide, 1e-15))).astype(np.intp)
    scale = _POWERS[np.clip(places, 0, len(_POWERS) - 1)]
    rounded: NDArray[np.float64] = np.rint(wide * scale) / scale
    return rounded
