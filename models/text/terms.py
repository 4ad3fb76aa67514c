"""The telling words of a text, as hashed terms.

Vectors blur names, places and hashtags that one text in a thousand has; whether a reader engaged with the
very same words before (`models.text.coverage`) is worth 3 points of RCE on a real log, beside vectors.
Knows nothing of readers or of networks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
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


def learn_weights(texts: Sequence[str]) -> NDArray[np.float32]:
    """Inverse document frequencies [BUCKETS] of a log's texts; 0 for bucket 0 and for common words."""
    counts = np.zeros(BUCKETS, np.int64)
    for text in texts:
        counts[list(_buckets(text))] += 1
    weights = np.log((1 + len(texts)) / (1 + counts))
    weights[counts > _COMMON * len(texts)] = 0
    weights[0] = 0
    return weights.astype(np.float32)


def terms_of(texts: Sequence[str], weights: NDArray[np.float32]) -> Terms:
    """Terms uint16 [n, TERMS] of texts, the heaviest first, 0 where there are fewer."""
    out = np.zeros((len(texts), TERMS), np.uint16)
    for row, text in zip(out, texts, strict=True):
        found = np.fromiter(_buckets(text), np.uint16)
        weight = weights[found]
        order = np.argsort(-weight, kind="stable")[:TERMS]
        kept = found[order][weight[order] > 0]
        row[: len(kept)] = kept
    return out


def _buckets(text: str) -> dict[int, None]:
    """Distinct buckets in the order of the words."""
    words = dict.fromkeys(_WORD.findall(clean(text).lower()))
    return dict.fromkeys(1 + crc32(word.encode()) % (BUCKETS - 1) for word in words)
