"""Parts of the judged exposures that a figure over all may hide: by author, reader, language and kind.

Knows nothing of probabilities.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.dataset import Dataset
from models.features import TWEET_FEATURES

_KINDS: Final = [name for name in TWEET_FEATURES if name.startswith("kind_")]
#: Languages with figures of their own; the others are taken together.
_LANGUAGES: Final = 8


class Segment(NamedTuple):
    """`rows` bool [n] says which exposures belong to it."""

    group: str
    name: str
    rows: NDArray[np.bool_]


def segments(dataset: Dataset) -> Iterator[Segment]:
    """Every segment that holds an exposure; a group that does not divide the exposures is left out."""
    shown = dataset.exposures["tweet"]
    tweets, index = np.unique(shown, return_inverse=True)
    features = dataset.tweets["features"][tweets]

    def feature(name: str) -> NDArray[np.float32]:
        column: NDArray[np.float32] = features[:, TWEET_FEATURES.index(name)][index]
        return column

    followers = feature("author_followers")
    edges = np.quantile(followers, [0.2, 0.4, 0.6, 0.8])
    fifth = np.searchsorted(edges, followers, side="right")
    limits = np.expm1(np.concatenate([[followers.min()], edges, [followers.max()]]))
    sizes = [f"{i + 1}/5: {_short(limits[i])} to {_short(limits[i + 1])}" for i in range(5)]
    yield from _divided("followers", fifth, sizes)
    yield from _divided("reader", dataset.exposures["cold"], ["known", "cold: nothing known of them"])
    cold_author = (feature("author_tweets") == 0).astype(np.int64)
    yield from _divided("author", cold_author, ["known", "cold: their first tweet"])
    kinds = np.stack([feature(name) for name in _KINDS], axis=1).argmax(1)
    yield from _divided("kind", kinds, [name.removeprefix("kind_") for name in _KINDS])
    found = [language or "unknown" for language in dataset.languages(tweets)]
    counts = Counter(dict.fromkeys(found, 0))
    for name, count in zip(found, np.bincount(index, minlength=len(tweets)).tolist(), strict=True):
        counts[name] += count
    names = [name for name, _ in counts.most_common(_LANGUAGES)]
    places = {name: i for i, name in enumerate(names)}
    languages = np.array([places.get(name, len(names)) for name in found])[index]
    yield from _divided("language", languages, [*names, "others"])


def _divided(group: str, index: NDArray[np.integer[Any]], names: list[str]) -> Iterator[Segment]:
    present = np.unique(index)
    if len(present) > 1:
        for i in present.tolist():
            yield Segment(group, names[i], index == i)


def _short(number: float) -> str:
    """1234567 as 1.2M."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.0f}"
