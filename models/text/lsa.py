"""Word-piece embeddings from co-occurrence alone: latent semantic analysis of the log's own texts.

A start for the bag encoder where no pretrained encoder is at hand. Knows nothing of networks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer

from models.svd import decompose


def embeddings(
    texts: Sequence[NDArray[np.int32]], vocabulary: int, width: int, seed: int
) -> NDArray[np.float32]:
    """Embeddings [vocabulary, width] whose sum over a text is near its TF-IDF row on `width` components.

    Pieces that no text holds come out as zero, as do those of a single text; those that most hold, near it.
    """
    names = [str(i) for i in range(vocabulary)]  # the library wants words
    vectoriser = TfidfVectorizer(
        analyzer=lambda ids: [names[i] for i in ids.tolist()], vocabulary=names, dtype=np.float32
    )
    rows = vectoriser.fit_transform(texts)
    seen = rows.getnnz(0) > 0
    out = np.zeros((vocabulary, width), np.float32)
    k = min(width, int(seen.sum()) - 1, len(texts) - 1)
    if k < 1:
        return out
    svd = decompose(rows, k, seed)
    # The root of the singular values whitens half-way: topics weigh more alike, and noise stays small.
    scale = np.sqrt(svd.singular_values_[0] / np.maximum(svd.singular_values_, 1e-6))
    out[:, :k] = (vectoriser.idf_ * seen)[:, None] * svd.components_.T * scale
    return out
