"""Latent semantic analysis's decomposition, as everything here that learns from counts takes it.

Knows nothing of what rows and columns are.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import spmatrix
from sklearn.decomposition import TruncatedSVD


def decompose(rows: spmatrix, k: int, seed: int, *, passes: int = 3) -> TruncatedSVD:
    """The first `k` components of sparse rows (Halko et al. 2011, randomised), fitted.

    Rows that are all alike have no variance to explain, which is nothing to warn of.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        return TruncatedSVD(k, n_iter=passes, random_state=seed).fit(rows)
