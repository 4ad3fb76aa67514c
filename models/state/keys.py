"""Fixed-width keys for opaque string ids.

Knows nothing of who stores what. Ids are strings in every contract; histories refer to tweets by 64-bit keys
and to authors by 32-bit ones, which keeps a history item at 17 bytes.
"""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

_TOP_BIT = 1 << 63
_MASK = (1 << 64) - 1


def id_key(identifier: str) -> int:
    """The 64-bit key of an id: a canonical decimal below 2**63 itself, else a hash with the top bit set.

    Twitter's snowflakes map to themselves, so two of them never collide; other ids collide with a
    probability of about n²/2**64 for n ids.
    """
    if identifier.isascii() and identifier.isdigit() and (identifier[0] != "0" or identifier == "0"):
        value = int(identifier)
        if value < _TOP_BIT:
            return value
    digest = blake2b(identifier.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") | _TOP_BIT


def key_name(key: int) -> str:
    """A 64-bit key as it stands in a store's key: decimal where it is the id itself, else `x` and hex."""
    return f"x{key:016x}" if key & _TOP_BIT else str(key)


def short_key(identifier: str) -> int:
    """A well-mixed 32-bit key of an id (splitmix64's finaliser over `id_key`); never 0, which is unknown."""
    z = id_key(identifier)
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return ((z ^ (z >> 31)) >> 32) or 1


def word_buckets(words: list[str], buckets: int, limit: int) -> NDArray[np.uint16]:
    """Hash up to `limit` distinct words into 1..buckets-1, padded with 0. Returns uint16 [limit]."""
    out = np.zeros(limit, np.uint16)
    for i, word in enumerate(dict.fromkeys(words[: 4 * limit])):
        if i == limit:
            break
        digest = blake2b(word.lower().encode(), digest_size=4).digest()
        out[i] = 1 + int.from_bytes(digest, "little") % (buckets - 1)
    return out
