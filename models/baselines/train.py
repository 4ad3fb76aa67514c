"""Trains a baseline from an event log: the same replay, the same held-out tail as for the network.

Knows nothing of terminals (see `models.progress`).
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.baselines.baseline import Baseline
from models.baselines.columns import Columns, columns_of, texts_in_use
from models.baselines.encodings import Encodings, earlier, keys_of
from models.baselines.learners import Kind, Learner, Logistic, Trees
from models.baselines.texts import TextSpace
from models.calibrate import fit_curve
from models.calibration import Curve
from models.cores import cores
from models.dataset import UNKNOWN, Dataset, sampling_weights
from models.events import HEADS
from models.log import EventLog, open_exposures
from models.losses import losses_of, nothing_to_learn
from models.manifest import BASELINE, expect_room
from models.metrics import Scores, scores
from models.progress import Phase, Progress, silent
from models.recipe import TrainingConfig
from models.replay import replay
from models.train import TrainResult, training_exposures

#: Texts from which words and components are learned.
_SAMPLE = 200_000


def train_baseline(
    log: Path,
    out: Path,
    kind: Kind,
    progress: Progress = silent,
    *,
    exposures: Path | None = None,
    training: TrainingConfig | None = None,
) -> TrainResult:
    """Train on the log's `exposures_train` (or its only exposures) and write the baseline to `out`.

    Of `training` it takes the seed, the held-out share, the calibration and the threads. `epochs` of the
    result are trees, or iterations. Raises `LogError` where the log can't be used, `BaselineError` where
    LightGBM is not there, `BundleError` where `out` holds a network's bundle.
    """
    start = time.monotonic()
    expect_room(out, BASELINE)
    training = training or TrainingConfig()
    events = EventLog(log)
    table = open_exposures(exposures) if exposures else training_exposures(events)
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".training-", dir=out) as folder:
        dataset = replay(events, table, Path(folder), progress)
        baseline, held_out = fit_baseline(dataset, kind, training, progress)
        losses = losses_of(dataset)
    fingerprint = baseline.save(out)
    return TrainResult(
        bundle=out,
        fingerprint=fingerprint,
        heads=baseline.heads,
        epochs=baseline.learner.steps,
        seconds=time.monotonic() - start,
        held_out=held_out,
        skipped=losses.skipped,
        rejected=losses.rejected,
        warnings=losses.warnings(),
    )


def fit_baseline(
    dataset: Dataset, kind: Kind, training: TrainingConfig, progress: Progress = silent
) -> tuple[Baseline, dict[str, Scores]]:
    """Train on a replayed dataset; returns held-out figures by head too, as `models.train.fit` does.

    The last `held_out` share stops, chooses and calibrates. Where nobody recorded retweets in it, or it is
    empty, there are no figures and the curve is the identity.
    """
    n = len(dataset.exposures)
    labels, weights = targets(dataset)
    train = slice(0, n - int(n * training.held_out))
    tail = slice(train.stop, n if weights[train.stop :].any() else train.stop)
    if "retweet" not in dataset.heads(train):
        raise nothing_to_learn(dataset, train.stop)
    columns, space, encodings = learnt_columns(dataset, labels, weights, training.seed, progress)
    learner = _fit(kind, columns, labels, weights, train, tail, training, progress)
    curve, held_out = Curve(), {}
    if tail.stop > tail.start:
        logits = learner.logits(columns.part(tail))
        curve = fit_curve(training.calibration, logits, labels[tail], weights[tail])
        held_out = {"retweet": scores(labels[tail], curve.probabilities(logits), weights[tail])}
    metrics = {"held_out": {head: figures.plain() for head, figures in held_out.items()}}
    return Baseline(kind, space, encodings, learner, curve, metrics), held_out


def targets(dataset: Dataset) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Whether each exposure ended in a retweet, and its weight: 0 where nobody recorded it.

    The weights undo the sampling of negatives, so that probabilities are the world's.
    """
    labels = dataset.exposures["labels"]
    mine = labels[:, HEADS.index("retweet")]
    known = (mine != UNKNOWN).astype(np.float64)
    weights = sampling_weights(dataset.exposures)
    return mine == 1, known if weights is None else weights * known


def learnt_columns(
    dataset: Dataset,
    labels: NDArray[np.bool_],
    weights: NDArray[np.float64],
    seed: int,
    progress: Progress = silent,
) -> tuple[Columns, TextSpace, Encodings]:
    """Columns of the training exposures, and what is needed to compute them for others."""
    used = dataset.tweets_in_use()
    phase = Phase(progress, "learn words", None, "texts")
    space = TextSpace.fit(texts_in_use(dataset, used[:: max(len(used) // _SAMPLE, 1)][:_SAMPLE]), seed)
    phase.end()
    keys = keys_of(dataset, slice(None))
    encodings = Encodings.fit(keys, labels, weights)
    encoded = earlier(keys, labels, weights, dataset.exposures["shown_at"].astype(np.int64), encodings.base)
    return columns_of(dataset, space, encoded, progress), space, encodings


def _fit(
    kind: Kind,
    columns: Columns,
    labels: NDArray[np.bool_],
    weights: NDArray[np.float64],
    train: slice,
    tail: slice,
    training: TrainingConfig,
    progress: Progress,
) -> Learner:
    threads = training.threads or cores()
    if kind == "logistic":
        return Logistic.fit(columns, labels, weights, train, tail, training.seed, threads, progress)
    return Trees.fit(kind, columns, labels, weights, train, tail, training.seed, threads, progress)
