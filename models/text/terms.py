"""The telling words of a text, as hashed terms.

Vectors blur names, places and hashtags that one text in a thousand has; whether a reader engaged with the
very same words before (`models.text.coverage`) is worth 3 points of RCE on a real log, beside vectors.
Knows nothing of readers or of networks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import chain
from typing import Final
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from models.state.tweet import TERMS
from models.text.tokens import clean

Terms = NDArray[np.uint16]

#: Words are hashed into 1..BUCKETS-1; 4,096 buckets lose half of the gain, 65,536 nothing.
BUCKETS: Final = 1 << 16

_WORD: Final = re.compile(r"[#@]?\w+")
#: Words in more of the texts than this say nothing.
_COMMON: Final = 0.2
#: Texts taken at once: all of their words are in memory, of the longest texts 300 kB each.
_TOGETHER: Final = 256
#: Words that are longer are not remembered: who writes them could fill the memory.
_LONGEST: Final = 32


def learn_weights(texts: Sequence[str]) -> NDArray[np.float32]:
    """Inverse document frequencies [BUCKETS] of a log's texts; 0 for bucket 0 and for common words."""
    flat = np.fromiter(chain.from_iterable(map(_buckets, texts)), np.uint16)
    counts = np.bincount(flat, minlength=BUCKETS)
    weights = np.log((1 + len(texts)) / (1 + counts))
    weights[counts > _COMMON * len(texts)] = 0
    weights[0] = 0
    return weights.astype(np.float32)


def terms_of(texts: Sequence[str], weights: NDArray[np.float32]) -> Terms:
    """Terms uint16 [n, TERMS] of texts, the heaviest first, 0 where there are fewer."""
    out = np.zeros((len(texts), TERMS), np.uint16)
    for start in range(0, len(texts), _TOGETHER):
        part = slice(start, start + _TOGETHER)
        _fill(out[part], texts[part], weights)
    return out


def _fill(out: Terms, texts: Sequence[str], weights: NDArray[np.float32]) -> None:
    found = [_buckets(text) for text in texts]
    counts = np.fromiter(map(len, found), np.intp, len(found))
    flat = np.fromiter(chain.from_iterable(found), np.uint16, int(counts.sum()))
    row = np.repeat(np.arange(len(texts)), counts)
    rank = np.arange(len(flat)) - np.repeat(counts.cumsum() - counts, counts)
    weight = weights[flat]
    order = np.lexsort((-weight, row))  # equal weights stay in the order of the words
    kept = (rank < TERMS) & (weight[order] > 0)
    out[row[kept], rank[kept]] = flat[order[kept]]


def _buckets(text: str) -> dict[int, None]:
    """Distinct buckets in the order of the words."""
    return dict.fromkeys(map(_bucket, _WORD.findall(clean(text).lower())))


def _bucket(word: str) -> int:
    return _known_bucket(word) if len(word) <= _LONGEST else _hashed(word)


def _hashed(word: str) -> int:
    return 1 + crc32(word.encode()) % (BUCKETS - 1)


_known_bucket: Final = lru_cache(1 << 16)(_hashed)
