"""A user's state: profile, habits and the last engagements, one packed record a user.

Knows nothing of vectors: histories refer to tweets by key, and what a model makes of them is its own affair.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.events import Profile
from models.state.decay import ACTION_INDEX, ACTIONS, FAST, SLOW, bump
from models.state.keys import word_buckets

#: How many of the last engagements are kept. 32 items are 544 bytes.
HISTORY: Final = 32
#: Profile words (interests, then description) are hashed into this many buckets; up to 12 are kept.
WORD_BUCKETS: Final = 4096
WORDS: Final = 12
_VERSION: Final = 1

#: One engagement of a history: 17 bytes. `author` is 0 where the tweet was never seen.
ITEM: Final = np.dtype([("tweet", "<u8"), ("author", "<u4"), ("at", "<u4"), ("action", "u1")])

#: Everything about a user but the history. `counts` and `burst` stand at second `newest`.
STATS: Final = np.dtype(
    [
        ("counts", "<f4", (len(ACTIONS),)),
        ("burst", "<f4"),
        ("newest", "<u4"),
        ("last_positive", "<u4"),
        ("total", "<u4"),
        ("followers", "<u4"),
        ("following", "<u4"),
        ("created_at", "<u4"),
        ("verified", "u1"),
        ("known", "u1"),
        ("words", "<u2", (WORDS,)),
    ]
)

#: Actions that enter the history. Impressions are only counted: they would push everything else out.
_REMEMBERED: Final = frozenset({"retweet", "quote", "reply", "like", "hide"})
POSITIVE: Final = _REMEMBERED - {"hide"}


@dataclass(slots=True)
class UserState:
    """`stats` is STATS [1]; `items` is ITEM [0..HISTORY], oldest first."""

    stats: NDArray[np.void] = field(default_factory=lambda: np.zeros(1, STATS))
    items: NDArray[np.void] = field(default_factory=lambda: np.zeros(0, ITEM))

    def set_profile(self, profile: Profile) -> None:
        """Replace what is known of the profile."""
        row = self.stats[0]
        row["known"] = 1
        row["followers"] = min(profile.followers, 0xFFFFFFFF)
        row["following"] = min(profile.following, 0xFFFFFFFF)
        row["verified"] = profile.verified
        row["created_at"] = profile.created_at // 1000
        words = list(profile.interests) + profile.description.split()
        row["words"] = word_buckets(words, WORD_BUCKETS, WORDS)

    def clear_profile(self) -> None:
        """Forget the profile, not the behaviour."""
        row = self.stats[0]
        for name in ("known", "followers", "following", "verified", "created_at", "words"):
            row[name] = 0

    def profile(self) -> Profile | None:
        """The numbers of the profile, times in whole seconds; None when it is not known."""
        row = self.stats[0]
        if not row["known"]:
            return None
        return Profile(
            followers=int(row["followers"]),
            following=int(row["following"]),
            verified=bool(row["verified"]),
            created_at=1000 * int(row["created_at"]),
        )

    def engage(self, tweet: int, author: int, action: str, at: int) -> bool:
        """Remember an engagement with tweet key `tweet` by author short key `author` at second `at`.

        False, and nothing changes, when the same action on the same tweet is still in the history. A late
        event is put where its time says; one older than a full history is counted but not kept.
        """
        code = ACTION_INDEX[action]
        if action in _REMEMBERED:
            if bool(np.any((self.items["tweet"] == tweet) & (self.items["action"] == code))):
                return False
            position = int(np.searchsorted(self.items["at"], at, side="right"))
            items = np.empty(len(self.items) + 1, ITEM)  # numpy concatenates records ten times as slowly
            items[:position] = self.items[:position]
            items[position] = tweet, author, at, code
            items[position + 1 :] = self.items[position:]
            self.items = items[-HISTORY:]
        row = self.stats[0]
        newest = int(row["newest"])
        burst = np.array([row["burst"]], np.float32)
        bump(burst, 0, newest, at, FAST, weight=float(action in POSITIVE))
        row["burst"] = burst[0]
        bump(row["counts"], code, newest, at, SLOW)
        row["newest"] = max(newest, at)
        if action in POSITIVE:
            row["last_positive"] = max(int(row["last_positive"]), at)
            row["total"] = int(row["total"]) + 1
        return True

    def to_bytes(self) -> bytes:
        """Version byte, stats, items: all little-endian."""
        return bytes([_VERSION]) + self.stats.tobytes() + self.items.tobytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> UserState:
        """The inverse of `to_bytes`. Raises ValueError for another version or a torn record."""
        if not data or data[0] != _VERSION:
            raise ValueError("a user record has another version: it was not written by this release")
        if len(data) < 1 + STATS.itemsize or (len(data) - 1 - STATS.itemsize) % ITEM.itemsize:
            raise ValueError(f"a user record of {len(data)} bytes is torn")
        stats = np.frombuffer(data, STATS, count=1, offset=1).copy()
        return cls(stats, np.frombuffer(data, ITEM, offset=1 + STATS.itemsize).copy())
