"""Judges a bundle on exposures of an event log: the same replay, the same serving code as the stream.

Knows nothing of terminals, nor of plots (`models.report`).
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.dataset import UNKNOWN, Dataset
from models.events import HEADS
from models.features import TWEET_FEATURES
from models.log import EventLog, LogError, Table, open_exposures
from models.metrics import Scores, scores
from models.progress import Phase, Progress, silent
from models.replay import replay
from models.serving import ServingModel
from models.state.vector import HISTORY_TERMS
from models.text.bank import TermTable, texts_of

_TEXTS = 2_048
_PAIRS = 65_536


class Metrics(msgspec.Struct, kw_only=True):
    """`retweet` is what counts; `heads` has every action with labels, `quintiles` retweets by author size.

    `skipped` counts exposures that could not be judged, by reason.
    """

    retweet: Scores
    heads: dict[str, Scores]
    quintiles: list[Scores]
    cold: Scores | None
    skipped: dict[str, int]
    model: str


def evaluate(
    bundle: Path,
    log: Path,
    exposures: Path | None = None,
    report: Path | None = None,
    progress: Progress = silent,
    device: str = "auto",
) -> Metrics:
    """Judge `bundle` on `exposures` (default: the log's `exposures_valid`). `report` is a folder for plots.

    Raises `BundleError` and `LogError`.
    """
    model = ServingModel.load(bundle, device)
    events = EventLog(log)
    table = open_exposures(exposures) if exposures else validation_exposures(events)
    with tempfile.TemporaryDirectory(prefix="evaluate-") as folder:
        dataset = replay(events, table, Path(folder), progress)
        if not len(dataset.exposures):
            raise LogError(f"{table.path}: none of its {table.rows} exposures can be judged with {log}")
        p = evaluate_dataset(model, dataset, progress)
        metrics = metrics_of(model, dataset, p)
    if report is not None:
        from models.report import write_report

        write_report(report, metrics.retweet, *labelled(dataset, p, "retweet", model.heads))
    return metrics


def validation_exposures(log: EventLog) -> Table:
    """The exposures to judge on. Raises LogError where it is not clear which."""
    for name in ("valid", "validation", "test", ""):
        if name in log.exposures:
            return log.exposures[name]
    if len(log.exposures) == 1:
        return next(iter(log.exposures.values()))
    found = ", ".join(table.path.name for table in log.exposures.values()) or "none"
    raise LogError(f"{log.path} has no exposures_valid (found: {found}): say which exposures to judge on")


def evaluate_dataset(
    model: ServingModel, dataset: Dataset, progress: Progress = silent
) -> NDArray[np.float32]:
    """Probabilities [n, heads] of the exposures, through vectors rounded as the stream stores them."""
    used = dataset.tweets_in_use()
    place = np.full(len(dataset.tweets) + 1, -1, np.int64)  # the last for row -1, a tweet nobody knows
    place[used] = np.arange(len(used))
    vectors = np.zeros((len(used), model.dimensions), np.float16)
    terms = TermTable.of(dataset, model.tokens, model.term_weights).rows
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
        m = int(readers["snapshot"]["count"].max(initial=0))
        items = readers["rows"][:, :m]
        records = model.user_records(
            readers["snapshot"], vectors[place[items]], items >= 0, terms[items, :HISTORY_TERMS]
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
    rates = dataset.exposures["keep_rate"][known].astype(np.float64)
    nothing = ~(labels[known] == 1).any(1)
    weights = np.where(nothing, 1.0 / rates, 1.0) if (rates < 1).any() else None
    return labels[known, HEADS.index(head)] == 1, p[known, heads.index(head)], weights


def metrics_of(model: ServingModel, dataset: Dataset, p: NDArray[np.float32]) -> Metrics:
    """The figures of probabilities p [n, heads]."""
    labels = dataset.exposures["labels"]
    present = [h for h in model.heads if (labels[:, HEADS.index(h)] != UNKNOWN).any()]
    if "retweet" not in present:
        raise LogError("no exposure says whether it was retweeted: nothing to judge by")
    heads = {head: scores(*labelled(dataset, p, head, model.heads)) for head in present}
    followers = dataset.tweets["features"][
        dataset.exposures["tweet"], TWEET_FEATURES.index("author_followers")
    ]
    edges = np.quantile(followers, [0.2, 0.4, 0.6, 0.8])
    quintile = np.searchsorted(edges, followers, side="right")
    cold = dataset.exposures["cold"] == 1
    return Metrics(
        retweet=heads["retweet"],
        heads=heads,
        quintiles=[
            scores(*labelled(dataset, p, "retweet", model.heads, quintile == i))
            for i in range(5)
            if (quintile == i).any()
        ],
        cold=scores(*labelled(dataset, p, "retweet", model.heads, cold)) if cold.any() else None,
        skipped=dataset.info["skipped"],
        model=model.fingerprint,
        baseline=isinstance(model, Baseline),
    )
