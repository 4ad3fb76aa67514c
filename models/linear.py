"""Logistic regressions of standardised inputs, for a network to begin as.

Knows nothing of networks, nor of what the inputs are.
"""

from __future__ import annotations

import warnings
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

Floats = NDArray[np.float32]

#: Of the normal prior of each weight: one for logs of any size. On draws of 1,000, 3,000 and 9,000 exposures
#: of a real log 0.03 was level or a point of RCE worse, 0.003 was 1.5 to 4 worse, 0.001 and 0.1 up to 13.
_VARIANCE: Final = 0.01
#: Of L-BFGS: a start need not be exact.
_ITERATIONS: Final = 300


class Linear(NamedTuple):
    """Logits as `weights` float32 [heads, inputs] and `bias` float32 [heads]."""

    weights: Floats
    bias: Floats


def fit_linear(inputs: Floats, labels: Floats, weights: Floats) -> Linear:
    """The likeliest of `inputs` [n, inputs], for `labels` 0 or 1 [n, heads] with `weights` [n, heads].

    A head whose labels are all alike has no weights, and a bias of that share, within 1e-6 to 1/2.
    """
    found = Linear(
        np.zeros((labels.shape[1], inputs.shape[1]), np.float32), np.zeros(labels.shape[1], np.float32)
    )
    for i, (label, weight) in enumerate(zip(labels.T, weights.T, strict=True)):
        known = weight > 0
        if len(np.unique(label[known])) < 2:
            share = np.clip(label[known].mean() if known.any() else 0.5, 1e-6, 0.5)
            found.bias[i] = np.log(share / (1 - share))
            continue
        model = LogisticRegression(C=_VARIANCE, max_iter=_ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(inputs[known], label[known], sample_weight=weight[known])
        found.weights[i], found.bias[i] = model.coef_[0], model.intercept_[0]
    return found
