"""Vectors of tweets by who cares for their words, and how a reader leans among them.

Vectors are sums over a tweet's terms and are never trained, so that sums of them can be kept
(`models.state.taste`). Knows nothing of networks, nor of how the vectors of terms and of profiles' words are
learned (`models.text.learn_tastes`, `models.text.learn_leanings`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.state.taste import means
from models.state.user import WORD_BUCKETS
from models.text.terms import BUCKETS, Terms

Floats = NDArray[np.float32]


class Tastes(NamedTuple):
    """`terms` [BUCKETS, w] are the terms' vectors, `center` [w] is what is taken off, `spread` [w] how far
    readers with like profiles differ along each number, where each one's tweets have a variance of 1; `words`
    [WORD_BUCKETS, w] is what each word of a profile adds to how its owner leans.
    """

    terms: Floats
    center: Floats
    spread: Floats
    words: Floats

    def of_tweets(self, terms: Terms) -> Floats:
        """Vectors [n, w] of tweets with terms [n, t]; 0 for those without any."""
        return np.where((terms > 0).any(1, keepdims=True), sums(terms, self.terms) - self.center, 0.0)

    def leanings(self, tastes: NDArray[np.void], words: NDArray[np.uint16]) -> Floats:
        """How readers with tastes [n] and profile words [n, m] lean, [n, w]: the mean of what they engaged
        with, drawn towards what their profiles tell where little is known, or where readers do not differ
        much.
        """
        return self._drawn(tastes, 0, self.words[words].sum(1))

    def features(self, tastes: NDArray[np.void], leanings: Floats) -> Floats:
        """Readers with tastes [n] as numbers [n, 2 · w + 2]: their `leanings` [n, w], the mean of what they
        were shown or hid, drawn towards 0, and the sizes of both groups of `models.state.taste`.
        """
        shown = self._drawn(tastes, 1, np.float32(0))
        return np.concatenate([leanings, shown, np.log1p(tastes["counts"])], axis=1)

    def _drawn(self, tastes: NDArray[np.void], group: int, towards: Floats | np.float32) -> Floats:
        mean, count = means(tastes, group)
        known = count[:, None] * self.spread
        out: Floats = (mean * known + towards) / (1 + known)
        return out


def no_tastes(width: int) -> Tastes:
    """Where nothing can be learned: nobody leans anywhere."""
    return Tastes(
        *(np.zeros(shape, np.float32) for shape in ((BUCKETS, width), width, width, (WORD_BUCKETS, width)))
    )


def sums(terms: Terms, vectors: Floats) -> Floats:
    """Sums [n, w] of the vectors of terms [n, t], over the root of how many there are; 0 is no term."""
    out = np.zeros((len(terms), vectors.shape[1]), np.float32)
    _add_up(terms, vectors, out)
    return out


@compiled
def _add_up(terms: Terms, vectors: Floats, out: Floats) -> None:
    for i in range(len(terms)):
        count = 0
        for j in range(terms.shape[1]):
            term = terms[i, j]
            if term:
                count += 1
                for k in range(vectors.shape[1]):
                    out[i, k] += vectors[term, k]
        root = np.sqrt(np.float32(max(count, 1)))
        for k in range(vectors.shape[1]):
            out[i, k] /= root
