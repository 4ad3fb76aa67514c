"""How far figures would move had other tweets been judged: a bootstrap by tweets.

Whole tweets are drawn, with all who were shown them: what a tweet does to one reader it does to others, so
exposures are no independent draws, and intervals that took them for such would be too narrow. All models are
judged on the same draws, so that differences between them can be read too. Knows nothing of models.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.metrics import Floats, Labels

#: Not the ECE: its errors add up when tweets are drawn again, so that all draws may lie above the figure.
FIGURES: Final = ("auc", "average_precision", "rce", "nrce")
Interval = tuple[float, float]

_RESAMPLES: Final = 500
#: Exposures that are gone through in all: keeps 10M exposures to 50 draws and a few minutes.
_BUDGET: Final = 500_000_000


def resampled(
    labels: Labels,
    p: Floats,
    weights: Floats | None,
    clusters: NDArray[np.integer[Any]],
    seed: int = 0,
    resamples: int | None = None,
) -> NDArray[np.float64]:
    """FIGURES of each draw of as many clusters as there are, float64 [resamples, 4]; NaN of one class.

    The same seed and clusters give the same draws.
    """
    n = len(labels)
    count = resamples or int(np.clip(_BUDGET // max(n, 1), 50, _RESAMPLES))
    order = np.argsort(p, kind="stable")[::-1]
    p = np.asarray(p, np.float64)[order]
    mass = np.ones(n) if weights is None else np.asarray(weights, np.float64)[order]
    names, index = np.unique(clusters, return_inverse=True)
    index = index[order]
    happened = labels[order]
    clipped = np.clip(p, 1e-7, 1 - 1e-7)
    losses = -np.where(happened, np.log(clipped), np.log1p(-clipped)) * mass
    ends = np.append(np.flatnonzero(np.diff(p)), n - 1)  # the last of each group of equal probabilities
    rng = np.random.default_rng(seed)
    out = np.full((count, len(FIGURES)), np.nan)
    for i in range(count):
        times = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))[index]
        w = mass * times
        acted = w * happened
        total, positive = w.sum(), acted.sum()
        if not 0 < positive < total:
            continue
        hits = np.cumsum(acted)[ends]
        misses = np.cumsum(w - acted)[ends]
        before_hits, before_misses = np.append(0.0, hits[:-1]), np.append(0.0, misses[:-1])
        out[i, 0] = ((misses - before_misses) * (hits + before_hits) / 2).sum() / positive / misses[-1]
        shown = hits + misses
        precision = np.divide(hits, shown, out=np.zeros_like(hits), where=shown > 0)
        out[i, 1] = ((hits - before_hits) * precision).sum() / positive
        base = positive / total
        entropy = -(base * np.log(base) + (1 - base) * np.log1p(-base))
        out[i, 3] = (losses * times).sum() / total / entropy
        out[i, 2] = 100.0 * (1.0 - out[i, 3])
    return out


def intervals(draws: NDArray[np.float64], level: float = 0.95) -> dict[str, Interval]:
    """Percentile intervals of `resampled` draws, or of differences of such; figures that are NaN left out."""
    out = {}
    for i, name in enumerate(FIGURES):
        values = draws[:, i][np.isfinite(draws[:, i])]
        if len(values):
            low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
            out[name] = (float(low), float(high))
    return out
