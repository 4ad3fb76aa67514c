"""What the words of a profile tell of how its owner leans, before he or she has engaged with anything.

Ridge regression of readers' mean taste vectors on the words of their profiles, each reader weighed by how
reliable the mean is; what that leaves unexplained of a direction, judged on readers who were not learned
from, is how far readers still differ along it. So a profile stands for some engagements: none where it
tells nothing (empirical Bayes; Efron and Morris 1973).

Apart from what serves, which does without the libraries that learn. Knows nothing of networks.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import Ridge

from models.state.user import WORD_BUCKETS
from models.text.tastes import Tastes

#: Readers whose profiles must have a word.
_FEWEST: Final = 10
#: How far a single word moves a leaning, beside how far readers differ: a quarter of that variance.
_PENALTY: Final = 4.0
#: Readers still differ by so much of their variance at the least.
_LEAST: Final = 0.02


def learn_leanings(
    tastes: Tastes, words: NDArray[np.uint16], means: NDArray[np.float64], count: NDArray[np.integer]
) -> Tastes:
    """`tastes` with what words tell: of readers [r] with profile words [r, m], 0 for none, the mean taste
    vectors [r, w] of `count` [r] engagements each. Unchanged where words tell nothing.
    """
    there = words > 0
    told = csr_matrix(
        (np.ones(int(there.sum())), (np.nonzero(there)[0], words[there])), shape=(len(words), WORD_BUCKETS)
    )
    told.sum_duplicates()
    told.data[:] = 1.0
    usual = np.flatnonzero(told.getnnz(0) >= _FEWEST)
    spread = tastes.spread.astype(np.float64)
    if not len(usual) or not spread.any():
        return tastes
    told = told[:, usual]
    size = spread[spread > 0].mean()
    weights = size * count / (1 + size * count)
    half = np.arange(len(words)) % 2 == 0
    rest = means.copy()
    for some, others in ((half, ~half), (~half, half)):
        rest[others] -= told[others] @ _fitted(told[some], means[some], weights[some])
    before, after = (_variance(some, count, weights) for some in (means, rest))
    # Where readers do not differ, there is nothing that words could tell.
    left = np.divide(after, before, out=np.ones(len(spread)), where=(spread > 0) & (before > 0))
    left = left.clip(_LEAST, 1.0)
    found = np.zeros((WORD_BUCKETS, len(spread)), np.float32)
    found[usual] = _fitted(told, means, weights) * (left < 1)
    return tastes._replace(words=found, spread=(spread * left).astype(np.float32))


def _fitted(
    told: csr_matrix, means: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What each word tells, [words, w]."""
    ridge = Ridge(_PENALTY, fit_intercept=False, solver="sparse_cg").fit(told, means, weights)
    out: NDArray[np.float64] = np.atleast_2d(ridge.coef_).T
    return out


def _variance(
    means: NDArray[np.float64], count: NDArray[np.integer], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of what readers' means [r, w] stand for, about 0: what chance adds to each mean is taken off."""
    chance = 1 / count[:, None]
    out: NDArray[np.float64] = (weights[:, None] * (means**2 - chance)).sum(0) / weights.sum()
    return out.clip(0)
