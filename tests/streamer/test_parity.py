"""The same log through Kafka, workers and Redis, and through offline evaluation: the same probabilities."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.evaluate import evaluate_dataset, validation_exposures
from models.log import EventLog
from models.progress import silent
from models.replay import replay
from models.serving import ServingModel
from models.world import SIZES, simulate, write
from streamer.replay.run import Plan, run
from streamer.settings import KafkaSettings, RedisSettings, Settings
from tests.models.tiny import tiny_bundle

if TYPE_CHECKING:
    from streamer.local.kafka import LocalKafka

WORLD = replace(SIZES["small"], tweets=120, follows=12.0, valid_part=0.3)
#: Promised are 1e-3, for any model. This one's probabilities lie close together (0.03 about 0.5), and what
#: was measured is 5e-6: the five digits of a prediction.
TOLERANCE = 1e-4


def offline(bundle: Path, log: Path, folder: Path) -> NDArray[np.float32]:
    """Retweet probabilities [n] of the validation exposures, in their order."""
    events = EventLog(log)
    exposures = validation_exposures(events)
    dataset = replay(events, exposures, folder)
    assert len(dataset.exposures) == exposures.rows, "an exposure was left out"
    model = ServingModel.load(bundle, "cpu")
    return evaluate_dataset(model, dataset)[:, model.heads.index("retweet")]


def without_later_engagements(log: Path, copy: Path) -> Path:
    """The log as it would be if nobody did anything from the split on."""
    shutil.copytree(log, copy)
    table = pq.read_table(log / "engagements.parquet")
    pq.write_table(table.filter(pc.field("at") < WORLD.split_ms), copy / "engagements.parquet")
    return copy


def test_the_stream_gives_what_evaluation_gives(
    kafka: LocalKafka, redis_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    bundle, log = tmp_path / "bundle", tmp_path / "log"
    tiny_bundle(bundle)
    write(simulate(WORLD), log)
    events = EventLog(log)
    settings = Settings(
        kafka=KafkaSettings(bootstrap=kafka.bootstrap, topic_prefix=topic_prefix, group_prefix=topic_prefix),
        redis=RedisSettings(url=redis_url),
        bundle=bundle,
        device="cpu",
    )
    # A millisecond at a time: each tweet sees all that came before it, as evaluation has it.
    day = 86_400_000
    plan = Plan(start_ms=WORLD.split_ms, end_ms=WORLD.end_ms + day, window_ms=1, history_window_ms=1)
    replayed = run(events, validation_exposures(events), plan, settings, silent)
    assert (replayed.missing, replayed.dead_letters) == (0, 0)

    expected = offline(bundle, log, tmp_path / "expected")
    assert len(replayed.probabilities) == len(expected) > 300
    difference = np.abs(replayed.probabilities - expected)
    assert difference.max() < TOLERANCE

    # Who lags behind would be seen: without the engagements of the period itself, much comes out otherwise.
    frozen = offline(bundle, without_later_engagements(log, tmp_path / "frozen"), tmp_path / "unmoved")
    assert expected.std() > 100 * TOLERANCE
    assert (np.abs(expected - frozen) > 10 * TOLERANCE).mean() > 0.2
    assert np.abs(expected - frozen).max() > 100 * TOLERANCE
