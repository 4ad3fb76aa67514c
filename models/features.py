"""Numbers that go into the model beside the text: of tweets, of users, and of (reader, tweet) pairs.

The only place where state becomes features, called by training, evaluation and the stream alike. Knows
nothing of stores or of the network; the scales of the numbers are learned and belong to the bundle.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import cos, log1p, pi, sin
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.events import Profile, Tweet
from models.state.authors import decayed_counts
from models.state.decay import ACTION_INDEX, DAY, FAST, SLOW, decayed
from models.state.stores import FOLLOWED_BACK, FOLLOWS

Floats = NDArray[np.float32]

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
    retweet, quote = ACTION_INDEX["retweet"], ACTION_INDEX["quote"]
    reply, like = ACTION_INDEX["reply"], ACTION_INDEX["like"]
    hide, seen = ACTION_INDEX["hide"], ACTION_INDEX["impression"]
    pair = decayed(affinity["counts"], affinity["newest"], now, SLOW)
    user = decayed(habits["counts"], habits["newest"], now, SLOW)
    burst = decayed(habits["burst"][:, None], habits["newest"], now, FAST)[:, 0]
    pair_retweets = pair[:, retweet] + pair[:, quote]
    user_retweets = user[:, retweet] + user[:, quote]
    out = np.empty((len(bits), len(PAIR_FEATURES)), np.float32)
    out[:, 0] = (bits & FOLLOWS) != 0
    out[:, 1] = (bits & FOLLOWED_BACK) != 0
    out[:, 2] = mentioned
    out[:, 3] = retweeted
    out[:, 4] = np.log1p(reciprocity)
    counts = (pair_retweets, pair[:, reply], pair[:, like], pair[:, hide], pair[:, seen], affinity["total"])
    for column, count in enumerate(counts, start=5):
        np.log1p(count, out=out[:, column])
    for column, days in enumerate((1, 7, 60), start=11):
        out[:, column] = _freshness(affinity["last_positive"], now, days * DAY)
    out[:, 14] = (pair_retweets + pair[:, like]) / (1.0 + user_retweets + user[:, like])
    counts = (user_retweets, user[:, reply], user[:, like], user[:, seen], burst, habits["total"])
    for column, count in enumerate(counts, start=15):
        np.log1p(count, out=out[:, column])
    for column, seconds in enumerate((DAY / 24, DAY, 14 * DAY), start=21):
        out[:, column] = _freshness(habits["last_positive"], now, seconds)
    return out


def _freshness(last: NDArray[np.uint32], now: NDArray[np.int64] | int, half_life: float) -> Floats:
    """2**(-age/half_life) of a time in seconds; 0 where it never happened."""
    age = np.maximum(np.asarray(now, np.int64) - last.astype(np.int64), 0)
    out: Floats = np.where(last > 0, np.exp2(-age / half_life), 0.0).astype(np.float32)
    return out
