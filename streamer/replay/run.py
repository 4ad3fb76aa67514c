"""One replay from beginning to end: workers, state, the period, the figures.

Knows nothing of where Kafka and Redis come from, nor of how figures are shown.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass

import numpy as np
from redis import Redis, RedisCluster

from models.events import Engagement
from models.log import EventLog, Table
from models.metrics import Scores, scores
from models.progress import Phase, Progress
from streamer.client import topics
from streamer.client.connection import admin_client
from streamer.client.publisher import publisher
from streamer.errors import StreamerError
from streamer.local.worker import LocalWorker
from streamer.replay.collector import Collector
from streamer.replay.exposures import Everything, Exposures, Labels, Probabilities
from streamer.replay.windows import Windows
from streamer.settings import Settings

_DAY_MS = 86_400_000


class ReplayError(StreamerError):
    """A replay cannot be done; the message is one line: what, why, what to do."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What to replay: `start_ms` <= time < `end_ms`, in windows of `window_ms`.

    The state before it is loaded in windows of `history_window_ms`, from `history_ms` before on (None: all).
    `frozen` leaves out the period's engagements: what did learning as it went bring?
    """

    start_ms: int
    end_ms: int
    window_ms: int
    history_ms: int | None = None
    history_window_ms: int = _DAY_MS
    frozen: bool = False


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """What came of it. `labels` and `probabilities` [n] are those of the exposures that were predicted."""

    scores: Scores
    labels: Labels
    probabilities: Probabilities
    #: Exposures in the period for which no prediction came: e.g. the user does not follow the author.
    missing: int
    predictions: int
    dead_letters: int
    embeddings_computed: int
    sent: Counter[str]
    seconds: float


def run(
    log: EventLog, exposures: Table | None, plan: Plan, settings: Settings, progress: Progress
) -> Replayed:
    """Replay on the Kafka and Redis of `settings`, whose topics and database must be empty.

    Without `exposures` every prediction counts as shown, and who retweeted is read off the log.
    Raises `ReplayError`, and what workers, Kafka and the log raise.
    """
    settings = _suited(settings)
    _require_empty(settings)
    topics.create(settings)
    everything, chosen = Everything(), None
    if exposures is not None:
        chosen = Exposures.read(exposures, plan.start_ms, plan.end_ms)
        if not len(chosen.labels):
            raise ReplayError(f"{exposures.path} has no exposures between --from and --to")
    sink = everything if chosen is None else chosen
    started = time.monotonic()
    with (
        LocalWorker(settings) as worker,
        Collector(settings, lambda tweet, users, p, _at: sink.add(tweet, users, p)) as collector,
        admin_client(settings) as admin,
        publisher(settings) as sender,
    ):

        def alive() -> None:
            collector.check()
            worker.check()

        windows = Windows(log, settings, admin, sender, alive)
        since = None if plan.history_ms is None else plan.start_ms - plan.history_ms
        before = _count(log, since, plan.start_ms, "tweets", "engagements")
        before += _count(log, None, plan.start_ms, "users", "follows")
        phase = Phase(progress, "state before the period", before, "events")
        windows.load(since, plan.start_ms, plan.history_window_ms, phase)
        phase.end()
        names = ("tweets", "follows", "users", *(() if plan.frozen else ("engagements",)))
        during = _count(log, plan.start_ms, plan.end_ms, *names)
        phase = Phase(progress, "the period", during, "events")
        windows.play(plan.start_ms, plan.end_ms, plan.window_ms, phase, frozen=plan.frozen)
        phase.end()
        collector.finish()
        computed = int(worker.metrics()["streamer_embeddings_computed_total"])
    if chosen is None:
        labels, probabilities = everything.joined(_retweets(log, plan.start_ms))
        missing = 0
    else:
        there = ~np.isnan(chosen.probabilities)
        labels, probabilities = chosen.labels[there], chosen.probabilities[there]
        missing = int((~there).sum())
    if not len(labels):
        raise ReplayError(
            f"none of {missing:,} exposures was predicted: do their users follow the authors, and were "
            "the tweets published between --from and --to?"
        )
    return Replayed(
        scores=scores(labels, probabilities),
        labels=labels,
        probabilities=probabilities,
        missing=missing,
        predictions=collector.count,
        dead_letters=next(
            state.records for state in topics.describe(settings) if state.name == "dead-letters"
        ),
        embeddings_computed=computed,
        sent=windows.sent,
        seconds=time.monotonic() - started,
    )


def _suited(settings: Settings) -> Settings:
    """Everything predicted, a record per tweet and partition, and commits that are not waited for long."""
    return settings.model_copy(
        update={
            "predictions": settings.predictions.model_copy(
                update={"format": "columnar", "min_probability": 0.0, "top_k": 0}
            ),
            "kafka": settings.kafka.model_copy(update={"commit_interval_s": 0.05, "fetch_max_wait_ms": 20}),
            "stages": (),
        }
    )


def _require_empty(settings: Settings) -> None:
    if used := [
        state.full_name for state in topics.describe(settings) if any(p.end for p in state.partitions)
    ]:
        raise ReplayError(
            f"the topics {', '.join(used)} were used before: a replay needs its own; "
            "set another kafka.topic_prefix and kafka.group_prefix, or use --local"
        )
    client = (RedisCluster if settings.redis.cluster else Redis).from_url(**settings.redis.redis_config())
    try:
        keys = client.dbsize()
    finally:
        client.close()
    if keys:
        raise ReplayError(
            f"Redis holds {keys:,} keys: a replay needs an empty database; "
            "put another number at the end of redis.url, or use --local"
        )


def _count(log: EventLog, start_ms: int | None, end_ms: int, *tables: str) -> int:
    return sum(
        batch.num_rows
        for name in tables
        if name in log.tables
        for batch in log.tables[name].batches(start_ms, end_ms)
    )


def _retweets(log: EventLog, start_ms: int) -> list[tuple[str, str]]:
    return [
        (event.user_id, event.tweet_id)
        for _, event in log.events(start_ms, None, tables=("engagements",))
        if isinstance(event, Engagement) and event.action == "retweet"
    ]
