"""Vectors of tweets by who cares for their words, and how a reader leans among them.

Vectors are sums over a tweet's terms and are never trained, so that sums of them can be kept
(`models.state.taste`). Knows nothing of networks, nor of how the terms' vectors are learned
(`models.text.learn_tastes`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.compiled import compiled
from models.state.taste import means
from models.text.terms import BUCKETS, Terms

Floats = NDArray[np.float32]


class Tastes(NamedTuple):
    """`terms` [BUCKETS, w] are the terms' vectors, `center` [w] is what is taken off, `spread` [w] how far
    readers differ along each number, where each one's tweets have a variance of 1.
    """

    terms: Floats
    center: Floats
    spread: Floats

    def of_tweets(self, terms: Terms) -> Floats:
        """Vectors [n, w] of tweets with terms [n, t]; 0 for those without any."""
        return np.where((terms > 0).any(1, keepdims=True), sums(terms, self.terms) - self.center, 0.0)

    def leanings(self, tastes: NDArray[np.void], group: int = 0) -> Floats:
        """How readers with tastes [n] lean, [n, w]: the mean of what they engaged with, or of the other group
        of `models.state.taste`, drawn towards 0 where little is known, or where readers do not differ much.
        """
        mean, count = means(tastes, group)
        known = count[:, None] * self.spread
        out: Floats = mean * known / (1 + known)
        return out

    def features(self, tastes: NDArray[np.void]) -> Floats:
        """Readers with tastes [n] as numbers [n, 2 · w + 2]: both groups' leanings and their sizes."""
        leanings = [self.leanings(tastes, group) for group in (0, 1)]
        return np.concatenate([*leanings, np.log1p(tastes["counts"])], axis=1)


def no_tastes(width: int) -> Tastes:
    """Where nothing can be learned: nobody leans anywhere."""
    return Tastes(np.zeros((BUCKETS, width), np.float32), *np.zeros((2, width), np.float32))


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
