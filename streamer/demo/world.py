"""The demo's world and model: small enough to be made while somebody waits, large enough to learn from.

On two cores the world takes 2 s and the training 15 s; it gets to an AUC of about 0.83 where the known
probabilities themselves get to 0.90.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.log import EventLog
from models.progress import Phase, Progress
from models.recipe import ModelConfig, Recipe, TrainingConfig, Transformer
from models.train import TrainResult, train
from models.world import WorldConfig, simulate, write
from streamer.replay.exposures import Exposures

#: No `echo`: retweets published as tweets share a vector, and the demo shows one for each tweet.
WORLD: Final = WorldConfig(users=500, tweets=1_600, follows=20.0, echo=0.0, valid_part=0.25)
#: A BERT from scratch: one layer of width 32 learns as much here as two of 128 in an eighth of the time.
_TEXT: Final = Transformer(layers=1, width=32, max_tokens=24, vocabulary=2_000)


@dataclass(frozen=True)
class DemoWorld:
    """A world on disk. What happens from `split_ms` on is streamed; the model knows what came before."""

    folder: Path
    split_ms: int
    handles: dict[str, str]

    @property
    def log(self) -> EventLog:
        """Its event log."""
        return EventLog(self.folder)

    def shown(self) -> tuple[Exposures, NDArray[np.float32]]:
        """Who is shown what after `split_ms`, and the true probability of each retweet [n]."""
        keys = ["user_id", "tweet_id", "shown_at"]
        valid = pq.read_table(self.folder / "exposures_valid.parquet", columns=[*keys, "retweet"])
        truth = pq.read_table(self.folder / "truth.parquet", columns=[*keys, "retweet"])
        truth = truth.rename_columns([*keys, "probability"])
        rows: pa.Table = valid.join(truth, keys, join_type="inner").combine_chunks()
        labels = rows["retweet"].to_numpy().astype(np.bool_)
        return (
            Exposures(rows["user_id"], rows["tweet_id"], labels),
            rows["probability"].to_numpy().astype(np.float32),
        )


def make(config: WorldConfig, folder: Path, progress: Progress) -> DemoWorld:
    """Simulate a world and write it to `folder`."""
    phase = Phase(progress, "simulate a social network", None, "tweets")
    world = simulate(config, lambda done, _total: phase.to(done))
    write(world, folder)
    phase.done = len(world.tweets)
    phase.end()
    names = zip((user.user_id for user in world.users), world.handles, strict=True)
    return DemoWorld(folder, config.split_ms, {user_id: f"@{handle}" for user_id, handle in names})


def learn(world: DemoWorld, out: Path, progress: Progress, *, seed: int, epochs: int = 2) -> TrainResult:
    """Train the demo's bundle on what happened before `split_ms`."""
    # One thread: torch's threads spin while they wait for each other, and when two cores are shared with
    # anything else, two threads took 140 s an epoch where one takes 10 s.
    # So short a training needs larger steps.
    training = TrainingConfig(seed=seed, epochs=epochs, batch=512, learning_rate=2e-3, threads=1)
    return train(world.folder, out, Recipe(model=ModelConfig(text=_TEXT), training=training), progress)
