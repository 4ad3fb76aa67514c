"""How good probabilities are. All functions take labels bool [n], probabilities [n], and weights [n] or None.

Knows nothing of models. Where labels are of one class only, what can't be said is NaN.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

Labels = NDArray[np.bool_]
Floats = NDArray[np.float32] | NDArray[np.float64]


def log_loss(labels: Labels, p: Floats, weights: Floats | None = None) -> float:
    """Mean of -log of the probability given to what happened, in nats. Probabilities are clipped at 1e-7."""
    p = np.clip(np.asarray(p, np.float64), 1e-7, 1 - 1e-7)
    return float(np.average(-np.where(labels, np.log(p), np.log1p(-p)), weights=weights))


def rce(labels: Labels, p: Floats, weights: Floats | None = None) -> float:
    """Relative cross entropy, 100 · (1 - LL / LL of the base rate): 0 is the base rate's, 100 perfect.

    Depends on how negatives were sampled: compare only on the same exposures.
    """
    return 100.0 * (1.0 - nrce(labels, p, weights))


def nrce(labels: Labels, p: Floats, weights: Floats | None = None) -> float:
    """Normalised cross entropy, LL / LL of the base rate: lower is better, 1 is the base rate."""
    base = float(np.average(labels, weights=weights))
    if base in (0.0, 1.0):
        return float("nan")
    return log_loss(labels, p, weights) / log_loss(labels, np.full(len(labels), base), weights)


def ece(labels: Labels, p: Floats, weights: Floats | None = None, bins: int = 15) -> float:
    """Expected calibration error over `bins` bins of equal count: mean |predicted - observed|."""
    predicted, observed, mass = reliability(labels, p, weights, bins)
    return float(np.average(np.abs(predicted - observed), weights=mass))


def reliability(
    labels: Labels, p: Floats, weights: Floats | None = None, bins: int = 15
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Mean probability, observed rate and weight of each of up to `bins` bins of equal count."""
    weights = np.ones(len(p)) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(p, kind="stable")
    parts = [part for part in np.array_split(order, bins) if len(part)]
    mass = np.array([weights[part].sum() for part in parts])
    predicted = np.array(
        [np.average(np.asarray(p, np.float64)[part], weights=weights[part]) for part in parts]
    )
    observed = np.array([np.average(labels[part], weights=weights[part]) for part in parts])
    return predicted, observed, mass


@dataclass(slots=True, frozen=True)
class Scores:
    """The figures of one set of exposures; `positives` is their count, unweighted."""

    exposures: int
    positives: int
    auc: float
    average_precision: float
    rce: float
    nrce: float
    ece: float

    def plain(self) -> dict[str, float | int | None]:
        """For JSON: NaN as None."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


def scores(labels: Labels, p: Floats, weights: Floats | None = None) -> Scores:
    """All of them. AUC and average precision are NaN where labels are of one class."""
    both = bool(labels.any()) and not bool(labels.all())
    return Scores(
        exposures=len(labels),
        positives=int(labels.sum()),
        auc=float(roc_auc_score(labels, p, sample_weight=weights)) if both else float("nan"),
        average_precision=float(average_precision_score(labels, p, sample_weight=weights))
        if both
        else float("nan"),
        rce=rce(labels, p, weights),
        nrce=nrce(labels, p, weights),
        ece=ece(labels, p, weights) if len(labels) else float("nan"),
    )


@dataclass(slots=True, frozen=True)
class Decisions:
    """Acting on every probability of at least `threshold`: NaN where there is nothing to divide by."""

    threshold: float
    accuracy: float
    precision: float
    recall: float
    f1: float

    def plain(self) -> dict[str, float | None]:
        """For JSON: NaN as None."""
        return {name: None if value != value else value for name, value in asdict(self).items()}


def decisions(labels: Labels, p: Floats, weights: Floats | None = None, threshold: float = 0.5) -> Decisions:
    """How often such decisions are right. What few retweet is rarely above one half, however good `p` is."""
    mass = np.ones(len(labels)) if weights is None else np.asarray(weights, np.float64)
    chosen = np.asarray(p, np.float64) >= threshold
    hit, said, true = (float(mass[rows].sum()) for rows in (chosen & labels, chosen, labels))
    nan = float("nan")
    return Decisions(
        threshold=threshold,
        accuracy=float(np.average(chosen == labels, weights=mass)) if len(labels) else nan,
        precision=hit / said if said else nan,
        recall=hit / true if true else nan,
        f1=2 * hit / (said + true) if said + true else nan,
    )
