"""One demo from beginning to end. Every wait in it has an end, and what it starts ends with it.

Knows nothing of terminals: it reports progress, and calls back while it streams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from models.metrics import Scores, scores
from models.progress import Phase, Progress
from models.world import WorldConfig
from streamer.client import topics
from streamer.client.connection import admin_client
from streamer.client.lag import wait_until_done
from streamer.client.pace import Pace
from streamer.client.publisher import publisher
from streamer.demo.live import Live
from streamer.demo.world import DemoWorld, learn, make
from streamer.local.mock_broker import API_VERSION, MockBroker
from streamer.local.redis import LocalRedis
from streamer.local.worker import LocalWorker
from streamer.replay.collector import Collector
from streamer.replay.windows import PATIENCE_S, TOPIC_OF, Windows
from streamer.settings import KafkaSettings, PredictionSettings, RedisSettings, Settings

#: Loading what happened before the stream: windows of three days, of which each takes 0.5 s.
_WINDOW_MS = 3 * 86_400_000
#: The rest of the world takes at least so long: the mock broker hands out a partition's batches one
#: by one, so workers cannot catch up by taking many records at once, as they do with a real one.
_WHOLE_S = 60.0
#: Called again and again while streaming, with the share of the stream that is published.
Tick = Callable[[Live, float], None]


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What the demo showed. `tweets` counts all that were published, `streamed` those of the live part.

    `model` judges what was predicted, `bayes` the true probabilities, on the same exposures. `cut_short` when
    it was interrupted.
    """

    tweets: int
    streamed: int
    engagements: int
    embeddings_computed: int
    predictions: int
    dead_letters: int
    model: Scores | None
    bayes: Scores | None
    latency_ms: dict[str, float | None]
    cut_short: bool


def run(config: WorldConfig, folder: Path, seconds: float, progress: Progress, tick: Tick) -> Summary:
    """Make a world and a model in `folder`, stream for `seconds`, and sum up.

    Ctrl-C while it streams ends the stream early; at any other time it ends the demo (`KeyboardInterrupt`).
    Raises `StreamerError` and `LocalServerError`, one line each, when something fails.
    """
    world = make(config, folder / "world", progress)
    bundle = learn(world, folder / "bundle", progress, seed=config.seed).bundle
    exposures, truth = world.shown()
    live = Live(exposures, world.handles)
    phase = Phase(progress, "start broker, Redis, worker", 3, "servers")
    with _stack(bundle) as settings, LocalWorker(settings, threads=1) as worker:
        phase.to(3)
        sent, cut_short = _stream(world, live, settings, worker, seconds, progress, tick)
        computed = int(worker.metrics()["streamer_embeddings_computed_total"])
        buried = next(state.records for state in topics.describe(settings) if state.name == "dead-letters")
    p = exposures.probabilities
    there = ~np.isnan(p)
    judged = there.any()
    return Summary(
        tweets=sent,
        streamed=live.tweets,
        engagements=live.engagements,
        embeddings_computed=computed,
        predictions=live.predictions,
        dead_letters=buried,
        model=scores(exposures.labels[there], p[there]) if judged else None,
        bayes=scores(exposures.labels[there], truth[there]) if judged else None,
        latency_ms=live.latency_ms(),
        cut_short=cut_short,
    )


@contextmanager
def _stack(bundle: Path) -> Iterator[Settings]:
    """A broker and a Redis with nothing in them, and the settings that lead there."""
    with MockBroker() as broker, LocalRedis() as redis:
        settings = Settings.load().model_copy(
            update={
                "kafka": KafkaSettings(
                    bootstrap=broker.bootstrap,
                    api_version=API_VERSION,
                    isolation_level="read_uncommitted",
                    # This broker sleeps through the whole wait when there is nothing to fetch.
                    fetch_max_wait_ms=10,
                    commit_interval_s=0.1,
                ),
                "redis": RedisSettings(url=redis.url),
                "predictions": PredictionSettings(),
                "bundle": bundle,
                "stages": (),
            }
        )
        topics.create(settings)
        yield settings


def _stream(
    world: DemoWorld,
    live: Live,
    settings: Settings,
    worker: LocalWorker,
    seconds: float,
    progress: Progress,
    tick: Tick,
) -> tuple[int, bool]:
    """Load the past, stream the rest; returns the tweets published, and whether it was cut short."""
    log, cut_short = world.log, False
    with (
        admin_client(settings) as admin,
        publisher(settings) as sender,
        Collector(settings, live.arrived) as collector,
    ):

        def alive() -> None:
            collector.check()
            worker.check()

        past = Windows(log, settings, admin, sender, alive)
        phase = Phase(progress, "load what happened so far", None, "events")
        past.load(None, world.split_ms, _WINDOW_MS, phase)
        phase.end()
        events = list(log.events(world.split_ms))
        rate = len(events) / max(seconds, _WHOLE_S)
        events = events[: round(rate * seconds)]
        pace = Pace(rate=rate)
        try:
            for number, (_, event) in enumerate(events, 1):
                pace.wait()
                live.publishing(event)
                sender.send(TOPIC_OF[type(event)], event)
                alive()
                tick(live, number / len(events))
        except KeyboardInterrupt:
            cut_short = True
        sender.flush()
        wait_until_done(admin, settings, ("follows", "users", "embed", "score"), PATIENCE_S, alive)
        collector.finish()
    return past.sent["tweets"] + live.tweets, cut_short
