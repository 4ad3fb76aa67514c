"""Judges models on exposures of an event log: the same replay, the same serving code as the stream.

Knows nothing of terminals, nor of plots (`models.report`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.baselines.baseline import Baseline
from models.bootstrap import intervals, resampled
from models.dataset import UNKNOWN, Dataset, sampling_weights
from models.events import HEADS, Tweet
from models.figures import Compared, Metrics, SegmentFigures
from models.histories import depth
from models.log import JUDGE, EventLog, LogError, Table, choose_exposures, open_exposures
from models.losses import losses_of
from models.manifest import BASELINE, Seal
from models.metrics import decisions, scores
from models.progress import Phase, Progress, silent
from models.replay import replay
from models.segments import segments
from models.serving import ServingModel
from models.text.bank import TermTable, texts_of
from models.text.coverage import HISTORY_TERMS

_TEXTS = 2_048
_PAIRS = 65_536


class Judged(Protocol):
    """What can be judged: a bundle or a baseline."""

    @property
    def heads(self) -> tuple[str, ...]:
        """The actions it gives probabilities of."""

    @property
    def fingerprint(self) -> str:
        """Of its contents."""

    def check(self, tweet: Tweet) -> str | None:
        """Why it can't read a tweet, or None."""

    def probabilities(self, dataset: Dataset, progress: Progress = silent) -> NDArray[np.float32]:
        """Probabilities [n, heads] of the exposures of a dataset whose tweets it can read."""


def evaluate(
    bundle: Path,
    log: Path,
    exposures: Path | None = None,
    report: Path | None = None,
    progress: Progress = silent,
    device: str = "auto",
    *,
    compare: Sequence[Path] = (),
) -> Metrics:
    """Judge `bundle` on `exposures` (default: the log's `exposures_valid`), and others beside it.

    Exposures to a tweet that one of them can't read are left out, for all to be judged on the same. `report`
    is a folder for a page of plots and tables. Raises `BundleError`, `BaselineError`, `LogError`,
    `DeviceError`.
    """
    names = _names([bundle, *compare])
    models = [load_model(path, device) for path in (bundle, *compare)]
    events = EventLog(log)
    table = open_exposures(exposures) if exposures else validation_exposures(events)

    def check(tweet: Tweet) -> str | None:
        return next((problem for model in models if (problem := model.check(tweet))), None)

    with tempfile.TemporaryDirectory(prefix="evaluate-") as folder:
        dataset = replay(events, table, Path(folder), progress, check)
        if not len(dataset.exposures):
            lost = losses_of(dataset).largest()
            raise LogError(f"{table.path}: none of its exposures can be judged with {log}{lost}")
        p = [model.probabilities(dataset, progress) for model in models]
        metrics = metrics_of(models[0], dataset, p[0], list(zip(names[1:], models[1:], p[1:], strict=True)))
        if report is not None:
            from models.report import write_report

            labels, mine, weights = labelled(dataset, p[0], "retweet", models[0].heads)
            others = {
                name: labelled(dataset, q, "retweet", model.heads)[1]
                for name, model, q in zip(names[1:], models[1:], p[1:], strict=True)
            }
            write_report(
                report, metrics.retweet, labels, mine, weights, metrics=metrics, others=others, name=names[0]
            )
    return metrics


def load_model(path: Path, device: str = "auto") -> Judged:
    """A bundle or a baseline, whichever the folder holds. Raises BundleError and BaselineError."""
    if Seal.read(path).kind == BASELINE:
        return Baseline.load(path)
    return _Network(ServingModel.load(path, device))


@dataclass(slots=True, frozen=True)
class _Network:
    """A bundle, as something that can be judged."""

    model: ServingModel

    @property
    def heads(self) -> tuple[str, ...]:
        return self.model.heads

    @property
    def fingerprint(self) -> str:
        return self.model.fingerprint

    def check(self, tweet: Tweet) -> str | None:
        return self.model.check(tweet)

    def probabilities(self, dataset: Dataset, progress: Progress = silent) -> NDArray[np.float32]:
        return evaluate_dataset(self.model, dataset, progress)


def _names(paths: Sequence[Path]) -> list[str]:
    """Folder names; whole paths where two are alike."""
    short = [path.resolve().name for path in paths]
    return [str(path) if short.count(name) > 1 else name for path, name in zip(paths, short, strict=True)]


def validation_exposures(log: EventLog) -> Table:
    """The exposures to judge on. Raises LogError where it is not clear which."""
    return choose_exposures(log, JUDGE, "judge on")


def evaluate_dataset(
    model: ServingModel, dataset: Dataset, progress: Progress = silent
) -> NDArray[np.float32]:
    """Probabilities [n, heads] of the exposures, through vectors rounded as the stream stores them."""
    used = dataset.tweets_in_use(model.history)
    place = np.full(len(dataset.tweets) + 1, -1, np.int64)  # the last for row -1, a tweet nobody knows
    place[used] = np.arange(len(used))
    vectors = np.zeros((len(used), model.dimensions), np.float16)
    with tempfile.TemporaryDirectory(prefix="tastes-") as folder:  # mapped until this returns
        file = Path(folder) / "tastes.bin"
        table = TermTable.of(dataset, model.tokens, model.bundle.network, file, progress=progress)
    terms = table.rows
    phase = Phase(progress, "embed", len(used), "tweets")
    for start in range(0, len(used), _TEXTS):
        rows = used[start : start + _TEXTS]
        texts = model.text_vectors(texts_of(dataset, model.tokens, rows))
        tweets = dataset.tweets[rows]
        vectors[start : start + len(rows)] = model.tweet_vectors(
            texts, tweets["author"], np.ascontiguousarray(tweets["features"])
        )
        phase.to(start + len(rows))
    out = np.empty((len(dataset.exposures), len(model.heads)), np.float32)
    phase = Phase(progress, "score", len(out), "exposures")
    for start in range(0, len(out), _PAIRS):
        part = dataset.exposures[start : start + _PAIRS]
        users, slots = np.unique(part["user"], return_inverse=True)
        readers = dataset.users[users]
        m = depth(readers["snapshot"], model.history)
        items = readers["rows"][:, :m]
        records = model.user_records(
            readers["snapshot"],
            vectors[place[items]],
            items >= 0,
            terms[items, :HISTORY_TERMS],
            table.readers[users],
            readers["reader"],
        )
        rows_ = model.user_rows(len(users))
        rows_.set(np.arange(len(users)), records, np.zeros(len(users), np.uint32))
        tweets, index = np.unique(part["tweet"], return_inverse=True)
        features = np.ascontiguousarray(part["features"])
        out[start : start + len(part)] = model.score(
            vectors[place[tweets]], terms[tweets], index, rows_, slots, features
        )
        phase.to(start + len(part))
    return out


def labelled(
    dataset: Dataset,
    p: NDArray[np.float32],
    head: str,
    heads: tuple[str, ...],
    rows: NDArray[np.bool_] | None = None,
) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.float64] | None]:
    """Labels, probabilities and weights of one head where it is known.

    Weights undo the sampling of negatives; None where all were kept.
    """
    labels = dataset.exposures["labels"]
    known = labels[:, HEADS.index(head)] != UNKNOWN
    if rows is not None:
        known = known & rows
    weights = sampling_weights(dataset.exposures[known])
    return labels[known, HEADS.index(head)] == 1, p[known, heads.index(head)], weights


def metrics_of(
    model: Judged | ServingModel,
    dataset: Dataset,
    p: NDArray[np.float32],
    others: Sequence[tuple[str, Judged, NDArray[np.float32]]] = (),
) -> Metrics:
    """The figures of probabilities p [n, heads]; `others` are names, models and probabilities beside it."""
    recorded = dataset.exposures["labels"]
    present = [h for h in model.heads if (recorded[:, HEADS.index(h)] != UNKNOWN).any()]
    if "retweet" not in present:
        raise LogError("no exposure says whether it was retweeted: nothing to judge by")
    heads = {head: scores(*labelled(dataset, p, head, model.heads)) for head in present}
    labels, mine, weights = labelled(dataset, p, "retweet", model.heads)
    tweets = dataset.exposures["tweet"][recorded[:, HEADS.index("retweet")] != UNKNOWN]
    draws = resampled(labels, mine, weights, tweets)
    compared = []
    for name, other, q in others:
        labels, theirs, weights = labelled(dataset, q, "retweet", other.heads)
        drawn = resampled(labels, theirs, weights, tweets)
        compared.append(
            Compared(
                name=name,
                model=other.fingerprint,
                retweet=scores(labels, theirs, weights),
                intervals=intervals(drawn),
                difference=intervals(draws - drawn),
            )
        )
    losses = losses_of(dataset)
    return Metrics(
        retweet=heads["retweet"],
        intervals=intervals(draws),
        decisions=decisions(labels, mine, weights),
        heads=heads,
        segments=list(_segments(model.heads, dataset, p)),
        compared=compared,
        skipped=losses.skipped,
        rejected=losses.rejected,
        warnings=losses.warnings(),
        model=model.fingerprint,
        baseline=isinstance(model, Baseline),
    )


def _segments(heads: tuple[str, ...], dataset: Dataset, p: NDArray[np.float32]) -> Iterator[SegmentFigures]:
    for group, name, rows in segments(dataset):
        labels, mine, weights = labelled(dataset, p, "retweet", heads, rows)
        if len(labels):
            yield SegmentFigures(
                group=group,
                name=name,
                scores=scores(labels, mine, weights),
                predicted=float(np.average(mine.astype(np.float64), weights=weights)),
                observed=float(np.average(labels, weights=weights)),
            )
