"""What is kept of a tweet: its vector, terms, author, time and mentions, one packed record a tweet.

Knows nothing of the text, which is not kept, nor of the encoder behind the vector.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

_VERSION: Final = 3
_HEADER: Final = struct.Struct("<BBBHQ")  # version, whether a retweet, mentions, dimensions, created_at (ms)
#: Mentions kept; a tweet naming more users than this is spam.
MAX_MENTIONS: Final = 50
#: Terms kept.
TERMS: Final = 16
_NO_TERMS: Final = np.zeros(TERMS, np.uint16)
_NO_TERMS.flags.writeable = False


@dataclass(slots=True, frozen=True)
class TweetRecord:
    """`vector` is float16 [d]; d is 0 in a log that is replayed before there is a model.

    `terms` are its hashed terms uint16 [TERMS], the heaviest first, 0 where there are fewer. A `retweet` has
    vector and terms of its original, the rest is its own.
    """

    author_id: str
    created_at: int
    mentions: tuple[str, ...]
    vector: NDArray[np.float16]
    terms: NDArray[np.uint16] = field(default_factory=lambda: _NO_TERMS)
    retweet: bool = False

    def to_bytes(self) -> bytes:
        """Header; author id and mentions, each behind its length (uint16); little-endian vector, terms."""
        names = [name.encode() for name in (self.author_id, *self.mentions[:MAX_MENTIONS])]
        parts = [_HEADER.pack(_VERSION, self.retweet, len(names) - 1, len(self.vector), self.created_at)]
        for name in names:
            parts += (struct.pack("<H", len(name)), name)
        parts.append(self.vector.astype("<f2", copy=False).tobytes())
        parts.append(self.terms.astype("<u2", copy=False).tobytes())
        return b"".join(parts)

    @classmethod
    def from_bytes(cls, data: bytes) -> TweetRecord:
        """The inverse of `to_bytes`. Raises ValueError for another version or a torn record."""
        try:
            version, retweet, mentions, dimensions, created_at = _HEADER.unpack_from(data)
            if version != _VERSION:
                raise ValueError("a tweet record has another version: it was not written by this release")
            at, names = _HEADER.size, []
            for _ in range(mentions + 1):
                (length,) = struct.unpack_from("<H", data, at)
                names.append(data[at + 2 : at + 2 + length].decode())
                at += 2 + length
            if len(data) != at + 2 * (dimensions + TERMS):
                raise ValueError(f"a tweet record of {len(data)} bytes is torn")
            vector = np.frombuffer(data, "<f2", dimensions, at)
            found = np.frombuffer(data, "<u2", TERMS, at + 2 * dimensions)
        except (struct.error, UnicodeDecodeError) as error:
            raise ValueError(f"a tweet record of {len(data)} bytes is torn") from error
        return cls(names[0], created_at, tuple(names[1:]), vector, found, bool(retweet))
