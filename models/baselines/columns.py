"""Exposures as the columns that baselines learn from: what the network's features say, target encodings, and
how like the tweet is to what its reader engaged with.

Knows nothing of learners.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, vstack

from models.baselines.encodings import ENCODINGS
from models.baselines.texts import TextSpace
from models.dataset import Dataset
from models.features import PAIR_FEATURES, PROFILE_FEATURES, TWEET_FEATURES, profile_features
from models.progress import Phase, Progress

Floats = NDArray[np.float32]

_COMPONENTS: Final = 32
_LIKENESS: Final = tuple(f"{kind}_{how}" for kind in ("lsa", "words") for how in ("max", "top3", "mean"))
COLUMNS: Final = (
    *PAIR_FEATURES,
    *(f"tweet_{name}" for name in TWEET_FEATURES),
    *(f"profile_{name}" for name in PROFILE_FEATURES),
    "tweet_age",
    *_LIKENESS,
    *(f"lsa_{i}" for i in range(_COMPONENTS)),
    *ENCODINGS,
)
_CHUNK: Final = 16_384


@dataclass(slots=True, frozen=True)
class Columns:
    """`dense` float32 [n, len(COLUMNS)]; `words` are TF-IDF rows of the tweets [n, v]."""

    dense: Floats
    words: csr_matrix

    def part(self, rows: slice) -> Columns:
        """Some of the exposures."""
        return Columns(self.dense[rows], self.words[rows])


def texts_in_use(dataset: Dataset, rows: NDArray[np.int64]) -> list[str]:
    """Texts of tweets; foreign token ids as words of their own, which is all that a bag of words asks for."""
    return [t if isinstance(t, str) else " ".join(map(str, t)) for t in dataset.texts(rows)]


def columns_of(dataset: Dataset, space: TextSpace, encoded: Floats, progress: Progress) -> Columns:
    """All columns of the dataset's exposures, `encoded` [n, len(ENCODINGS)] being the last of them."""
    used = dataset.tweets_in_use()
    place = np.zeros(len(dataset.tweets), np.int64)
    place[used] = np.arange(len(used))
    parts, vectors = [], np.empty((len(used), space.components.shape[1]), np.float32)
    phase = Phase(progress, "texts", len(used), "tweets")
    for start in range(0, len(used), _CHUNK):
        part = space.rows(texts_in_use(dataset, used[start : start + _CHUNK]))
        vectors[start : start + _CHUNK] = space.vectors(part)
        parts.append(part)
        phase.to(min(start + _CHUNK, len(used)))
    words = csr_matrix(vstack(parts, format="csr"))
    n = len(dataset.exposures)
    dense = np.zeros((n, len(COLUMNS)), np.float32)
    shown = np.empty(n, np.int64)
    first = len(PAIR_FEATURES) + len(TWEET_FEATURES) + len(PROFILE_FEATURES)
    like = slice(first + 1, first + 1 + len(_LIKENESS))
    phase = Phase(progress, "columns", n, "exposures")
    order = np.argsort(dataset.exposures["user"], kind="stable")  # a reader's exposures share a history
    for start in range(0, n, _CHUNK):
        chosen = order[start : start + _CHUNK]
        part = dataset.exposures[chosen]
        tweets = dataset.tweets[part["tweet"]]
        users, of = np.unique(part["user"], return_inverse=True)
        readers = dataset.users[users]
        shown[chosen] = place[part["tweet"]]
        age = np.maximum(part["shown_at"] - tweets["created_at"], 0) / 3_600_000
        dense[chosen, :first] = np.concatenate(
            [part["features"], tweets["features"], profile_features(readers["snapshot"]["stats"])[of]], 1
        )
        dense[chosen, first] = np.log1p(age)
        histories = [place[rows[rows >= 0]] for rows in readers["rows"]]
        dense[chosen, like] = _likeness(words, vectors, shown[chosen], of, histories)
        k = min(_COMPONENTS, vectors.shape[1])
        dense[chosen, like.stop : like.stop + k] = vectors[shown[chosen], :k]
        phase.to(min(start + _CHUNK, n))
    dense[:, -len(ENCODINGS) :] = encoded
    return Columns(dense, words[shown])


def _likeness(
    words: csr_matrix,
    vectors: Floats,
    shown: NDArray[np.int64],
    users: NDArray[np.int64],
    histories: list[NDArray[np.int64]],
) -> Floats:
    """Cosines of tweets [n] to their readers' histories, [n, len(_LIKENESS)]; `users` [n] ascend."""
    out = np.zeros((len(shown), len(_LIKENESS)), np.float32)
    ends = np.searchsorted(users, np.arange(len(histories) + 1))
    for i, history in enumerate(histories):
        if not len(history):
            continue
        rows = slice(ends[i], ends[i + 1])
        tweets = shown[rows]
        out[rows, :3] = _summary(vectors[tweets] @ vectors[history].T)
        out[rows, 3:] = _summary((words[tweets] @ words[history].T).toarray())
    return out


def _summary(cosines: Floats) -> Floats:
    best = -np.sort(-cosines, axis=1)[:, :3]
    out: Floats = np.stack([best[:, 0], best.mean(1), cosines.mean(1)], axis=1)
    return out
