"""Tweets as bags of words: TF-IDF, and latent semantic analysis of it. Knows nothing of exposures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer

from models.svd import decompose
from models.text.tokens import clean

#: Handles and hashtags are words of their own, as for the network's tokeniser.
_WORD: Final = r"[@#]?\w+"
_MOST_WORDS: Final = 30_000
_WIDTH: Final = 128


@dataclass(slots=True, frozen=True)
class TextSpace:
    """`words` [v], their inverse document frequencies [v], components [v, k]."""

    words: tuple[str, ...]
    idf: NDArray[np.float32]
    components: NDArray[np.float32]

    @classmethod
    def fit(cls, texts: Sequence[str], seed: int) -> Self:
        """Learn it from texts; words of a single text are left out."""
        vectoriser = _vectoriser(min_df=2, max_features=_MOST_WORDS)
        try:
            rows = vectoriser.fit_transform(map(clean, texts))
        except ValueError:  # no word is in two texts: then similarity of texts has nothing to say
            return cls((), np.zeros(0, np.float32), np.zeros((0, 1), np.float32))
        k = min(_WIDTH, min(rows.shape) - 1)
        if k < 1:
            components = np.ones((rows.shape[1], 1), np.float32)
        else:
            components = decompose(rows, k, seed).components_.T.astype(np.float32)
        words = tuple(vectoriser.get_feature_names_out().tolist())
        return cls(words, vectoriser.idf_.astype(np.float32), components)

    def rows(self, texts: Sequence[str]) -> csr_matrix:
        """TF-IDF rows of unit length [n, v]; of length 0 where no word is known."""
        if not self.words:
            return csr_matrix((len(texts), 0), dtype=np.float32)
        vectoriser = _vectoriser(vocabulary=self.words)
        vectoriser.idf_ = self.idf
        return csr_matrix(vectoriser.transform(map(clean, texts)))

    def vectors(self, rows: csr_matrix) -> NDArray[np.float32]:
        """Vectors of unit length [n, k] of TF-IDF rows."""
        out: NDArray[np.float32] = np.asarray(rows @ self.components, np.float32)
        out /= np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-6)
        return out


def _vectoriser(**settings: object) -> TfidfVectorizer:
    return TfidfVectorizer(token_pattern=_WORD, sublinear_tf=True, dtype=np.float32, **settings)
