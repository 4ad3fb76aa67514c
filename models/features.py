"""Numbers that go into the model beside the text: of tweets, of users, and of (reader, tweet) pairs.

The only place where state becomes features, called by training, evaluation and the stream alike. Knows
nothing of stores or of the network; the scales of the numbers are learned and belong to the bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, log1p, pi, sin
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.elementary import exp2_of, log1p_of
from models.events import Profile, Tweet
from models.state.authors import decayed_counts
from models.state.decay import ACTION_INDEX, DAY, FAST, SLOW
from models.state.stores import FOLLOWED_BACK, FOLLOWS

Floats = NDArray[np.float32]
_T = TypeVar("_T", bound=np.generic)

_KINDS: Final = ("original", "reply", "quote", "retweet")
TWEET_FEATURES: Final = (
    *(f"kind_{kind}" for kind in _KINDS),
    "media", "link", "hashtags", "mentions", "length",
    "hour_sin", "hour_cos", "weekday_sin", "weekday_cos",
    "author_known", "author_verified", "author_followers", "author_following", "author_age",
    "author_tweets", "author_retweets", "author_quotes", "author_replies", "author_likes", "author_hides",
    "author_impressions", "author_retweet_rate",
)  # fmt: skip
PROFILE_FEATURES: Final = ("known", "verified", "followers", "following", "ratio", "age")
PAIR_FEATURES: Final = (
    "follows", "followed_back", "mentioned", "retweeted", "reciprocity",
    "pair_retweets", "pair_replies", "pair_likes", "pair_hides", "pair_impressions", "pair_total",
    "pair_last_day", "pair_last_week", "pair_last_season", "pair_share",
    "user_retweets", "user_replies", "user_likes", "user_impressions", "user_burst", "user_total",
    "user_last_hour", "user_last_day", "user_last_fortnight",
)  # fmt: skip
#: Half-lives as what a second adds to a power of two.
_SLOW: Final = np.float32(-1 / SLOW)
_FAST: Final = np.float32(-1 / FAST)
_AN_HOUR: Final = np.float32(-24 / DAY)
_A_DAY: Final = np.float32(-1 / DAY)
_A_WEEK: Final = np.float32(-1 / (7 * DAY))
_A_FORTNIGHT: Final = np.float32(-1 / (14 * DAY))
_A_SEASON: Final = np.float32(-1 / (60 * DAY))
_RETWEET: Final = ACTION_INDEX["retweet"]
_QUOTE: Final = ACTION_INDEX["quote"]
_REPLY: Final = ACTION_INDEX["reply"]
_LIKE: Final = ACTION_INDEX["like"]
_HIDE: Final = ACTION_INDEX["hide"]
_SEEN: Final = ACTION_INDEX["impression"]


def tweet_features(
    tweets: Sequence[Tweet], authors: Sequence[Profile | None], sums: NDArray[np.float64]
) -> Floats:
    """Features of tweets as they stand when published, float32 [n, len(TWEET_FEATURES)].

    `authors` are profiles (None where unknown), `sums` the authors' forward-decayed sums [n, 7] before it.
    """
    out = np.zeros((len(tweets), len(TWEET_FEATURES)), np.float32)
    for i, (tweet, author) in enumerate(zip(tweets, authors, strict=True)):
        text = tweet.text or ""
        length = len(text) if tweet.text is not None else 4 * len(tweet.text_tokens or ())
        hour = tweet.created_at / 3_600_000 * (2 * pi / 24)
        row = [float(tweet.kind == kind) for kind in _KINDS]
        row += [
            float(bool(tweet.media)),
            float(bool(tweet.links) or "http" in text),
            log1p(len(tweet.hashtags) or text.count("#")),
            log1p(len(tweet.mentions) or text.count("@")),
            log1p(length),
            sin(hour), cos(hour), sin(hour / 7), cos(hour / 7),
        ]  # fmt: skip
        if author is not None:
            age = max(tweet.created_at - author.created_at, 0) / (1000 * DAY) if author.created_at else 0.0
            row += [1.0, float(author.verified), log1p(author.followers), log1p(author.following)]
            row += [log1p(age)]
        out[i, : len(row)] = row
    now = np.array([tweet.created_at // 1000 for tweet in tweets], np.int64)
    counts = decayed_counts(sums, now)
    out[:, -8:-1] = np.log1p(counts)
    out[:, -1] = np.log((counts[:, 1] + counts[:, 2] + 0.5) / (counts[:, 0] + 5.0))
    return out


def profile_features(stats: NDArray[np.void]) -> Floats:
    """Features of user profiles (STATS [n]), float32 [n, len(PROFILE_FEATURES)]; all 0 where unknown."""
    followers, following = (stats[name].astype(np.float32) for name in ("followers", "following"))
    # Years since the landmark rather than the age: a stored vector must not depend on when it was computed.
    years = np.maximum(stats["created_at"].astype(np.float32) - 1.1429e9, 0) / (365 * DAY)
    columns = [
        np.ones(len(stats)),
        stats["verified"],
        np.log1p(followers),
        np.log1p(following),
        np.log1p(followers) - np.log1p(following),
        years,
    ]
    features: Floats = (np.stack(columns, axis=1) * stats["known"][:, None]).astype(np.float32)
    return features


def pair_features(
    now: NDArray[np.int64] | int,
    bits: NDArray[np.uint8],
    affinity: NDArray[np.void],
    habits: NDArray[np.void],
    mentioned: NDArray[np.bool_],
    retweeted: NDArray[np.bool_],
    reciprocity: Floats,
) -> Floats:
    """Features of (reader, tweet) pairs at second `now`, float32 [n, len(PAIR_FEATURES)].

    `bits` are audience bits [n], `affinity` AFFINITY [n] (zeros: none), `habits` HABITS [n], `mentioned`
    whether the tweet names the reader, `retweeted` whether it is a retweet (its vector is its original's, its
    author who retweeted it), `reciprocity` how many of the author's own last engagements are with the reader.
    """
    n = len(bits)
    seconds, out = np.empty(n, np.int64), np.empty((n, len(PAIR_FEATURES)), np.float32)
    seconds[:] = now
    _fill_pairs(
        seconds,
        _whole(bits),
        _whole(affinity),
        _whole(habits),
        _whole(mentioned),
        _whole(retweeted),
        _whole(reciprocity),
        out,
    )
    return out


def _whole(column: NDArray[_T]) -> NDArray[_T]:
    """A column in the one way that the loop is compiled for, whatever it is a part of."""
    return np.require(column, requirements=["C", "W"])


@compiled
def _fill_pairs(
    now: NDArray[np.int64],
    bits: NDArray[np.uint8],
    affinity: NDArray[np.void],
    habits: NDArray[np.void],
    mentioned: NDArray[np.bool_],
    retweeted: NDArray[np.bool_],
    reciprocity: Floats,
    out: Floats,
) -> None:
    """In NumPy's operations, 60 for a few hundred pairs, it took 190 ns a pair and a large part of a call, as
    each lets go of the GIL; here 95 ns.
    """
    # 9 powers of two and 13 logarithms of a pair side by side; 16 fill the registers.
    exponent, power, log = np.zeros(16, np.float32), np.zeros(16, np.float32), np.zeros(16, np.float32)
    for i in range(len(bits)):
        pair, user = affinity[i], habits[i]
        since = _seconds(now[i], pair.newest)
        exponent[0] = since * _SLOW
        since = _seconds(now[i], user.newest)
        exponent[1], exponent[2] = since * _SLOW, since * _FAST
        since = _seconds(now[i], pair.last_positive)
        exponent[3], exponent[4], exponent[5] = since * _A_DAY, since * _A_WEEK, since * _A_SEASON
        since = _seconds(now[i], user.last_positive)
        exponent[6], exponent[7], exponent[8] = since * _AN_HOUR, since * _A_DAY, since * _A_FORTNIGHT
        for j in range(16):
            power[j] = exp2_of(exponent[j])

        counts, factor = pair.counts, power[0]
        pair_retweets, pair_likes = (counts[_RETWEET] + counts[_QUOTE]) * factor, counts[_LIKE] * factor
        log[0] = reciprocity[i]
        log[1], log[2], log[3] = pair_retweets, counts[_REPLY] * factor, pair_likes
        log[4], log[5], log[6] = counts[_HIDE] * factor, counts[_SEEN] * factor, pair.total
        counts, factor = user.counts, power[1]
        user_retweets, user_likes = (counts[_RETWEET] + counts[_QUOTE]) * factor, counts[_LIKE] * factor
        log[7], log[8], log[9] = user_retweets, counts[_REPLY] * factor, user_likes
        log[10], log[11], log[12] = counts[_SEEN] * factor, user.burst * power[2], user.total
        for j in range(16):
            log[j] = log1p_of(log[j])

        out[i, 0] = (bits[i] & FOLLOWS) != 0
        out[i, 1] = (bits[i] & FOLLOWED_BACK) != 0
        out[i, 2] = mentioned[i]
        out[i, 3] = retweeted[i]
        for j in range(7):
            out[i, 4 + j] = log[j]
        ever = np.float32(pair.last_positive > 0)
        for j in range(3):
            out[i, 11 + j] = ever * power[3 + j]
        out[i, 14] = (pair_retweets + pair_likes) / (np.float32(1) + user_retweets + user_likes)
        for j in range(6):
            out[i, 15 + j] = log[7 + j]
        ever = np.float32(user.last_positive > 0)
        for j in range(3):
            out[i, 21 + j] = ever * power[6 + j]


@compiled
def _seconds(now: int, then: np.uint32) -> np.float32:
    """That have gone by: none where it is yet to come (a late request)."""
    return np.float32(max(now - np.int64(then), np.int64(0)))
