"""Write a simulated world as an event log, with its truth in side files.

Knows nothing of how a world comes about.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.events import HEADS
from models.log import BATCH_ROWS, EventLog, Format, LogWriter
from models.recsys_write import write_recsys
from models.world.generate import World
from models.world.network import NEVER
from models.world.optimum import describe


def write(
    world: World,
    path: Path | str,
    file_format: Format = "parquet",
    *,
    recsys: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write `world` to the folder `path` and return the summary that `world.json` holds.

    | file | what |
    |---|---|
    | tweets, engagements, follows, users | the event log |
    | exposures_train, exposures_valid | split by time only, at `world.json`'s `split_ms` |
    | truth.parquet | the true probability of each action for each exposure; models must not read it |
    | world.json | configuration, sizes, base rates, Bayes optimum on the validation exposures |
    | recsys_train.tsv, recsys_valid.tsv | with `recsys`: the exposures in the RecSys Challenge 2020 format |
    | recsys_train.vocab.txt, ... | and the vocabulary of its text tokens, a line per id |

    Raises `LogError` when the folder holds an event log and `overwrite` is not set.
    """
    path = Path(path)
    exposures = _Exposures(world)
    with LogWriter(path, file_format, overwrite=overwrite) as log:
        for user in world.users:
            log.write(user)
        for batch in _follows(world):
            log.write_batch("follows", batch)
        for tweet in sorted(world.tweets, key=lambda tweet: tweet.created_at):
            log.write(tweet)
        for batch in _engagements(world, exposures):
            log.write_batch("engagements", batch)
        for part, rows in exposures.parts().items():
            for i in range(0, len(rows), BATCH_ROWS):
                log.write_batch(f"exposures_{part}", exposures.labels(rows[i : i + BATCH_ROWS], part))
    with pq.ParquetWriter(path / "truth.parquet", _TRUTH, compression="zstd") as truth:
        for i in range(0, len(exposures.user), BATCH_ROWS):
            truth.write_batch(exposures.truth(slice(i, i + BATCH_ROWS)))
    summary = {
        "config": asdict(world.config),
        "split_ms": world.config.split_ms,
        "end_ms": world.config.end_ms,
        **describe(world),
    }
    if recsys:
        log_written = EventLog(path)
        for part, table in log_written.exposures.items():
            write_recsys(log_written, table, path / f"recsys_{part}.tsv")
    (path / "world.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    return summary


_TRUTH = pa.schema(
    [("user_id", pa.string()), ("tweet_id", pa.string()), ("shown_at", pa.int64())]
    + [(head, pa.float32()) for head in HEADS]
)


class _Exposures:
    """The exposures of a world as Arrow columns, ids looked up a batch at a time."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.user, self.tweet = world.behaviour.user, world.behaviour.tweet
        self._user_ids = pa.array([user.user_id for user in world.users])
        self._tweet_ids = pa.array([tweet.tweet_id for tweet in world.tweets])

    def ids(self, rows: NDArray[np.int64] | slice) -> list[pa.Array]:
        """Return the columns user_id and tweet_id."""
        user, tweet = pa.array(self.user[rows]), pa.array(self.tweet[rows])
        return [self._user_ids.take(user), self._tweet_ids.take(tweet)]

    def parts(self) -> dict[str, NDArray[np.int64]]:
        """Row numbers for training (idle ones thinned out to `keep_rate`) and for validation."""
        world = self._world
        valid = world.behaviour.shown_at >= world.config.split_ms
        kept = ~valid
        if world.config.keep_rate < 1:
            luck = np.random.default_rng([world.config.seed, 1]).random(len(valid))
            kept &= world.behaviour.acted.any(axis=1) | (luck < world.config.keep_rate)
        return {"train": np.flatnonzero(kept), "valid": np.flatnonzero(valid)}

    def labels(self, rows: NDArray[np.int64], part: str) -> pa.RecordBatch:
        """Exposures with what came of them."""
        behaviour, rate = self._world.behaviour, self._world.config.keep_rate
        names = ["user_id", "tweet_id", "shown_at", *HEADS]
        columns = [*self.ids(rows), pa.array(behaviour.shown_at[rows])]
        columns += [pa.array(behaviour.acted[rows, head]) for head in range(len(HEADS))]
        if part == "train" and rate < 1:
            names.append("keep_rate")
            columns.append(pa.array(np.full(len(rows), rate)))
        return pa.record_batch(columns, names=names)

    def truth(self, rows: slice) -> pa.RecordBatch:
        """Exposures with the true probabilities."""
        behaviour = self._world.behaviour
        columns = [*self.ids(rows), pa.array(behaviour.shown_at[rows])]
        columns += [pa.array(behaviour.probability[rows, head]) for head in range(len(HEADS))]
        return pa.record_batch(columns, schema=_TRUTH)


def _follows(world: World) -> Iterator[pa.RecordBatch]:
    """Follows and unfollows by time; those from before the world begins are at 0."""
    network = world.network
    begins, ends = np.arange(len(network.author)), np.flatnonzero(network.end != NEVER)
    edge = np.concatenate([begins, ends])
    at = np.concatenate([network.start, network.end[ends]])
    stopped = np.arange(len(edge)) >= len(begins)
    ids = pa.array([user.user_id for user in world.users])
    actions = pa.array(["follow", "unfollow"])
    order = np.argsort(at, kind="stable")
    for i in range(0, len(order), BATCH_ROWS):
        rows = order[i : i + BATCH_ROWS]
        columns = [
            ids.take(pa.array(network.follower[edge[rows]])),
            ids.take(pa.array(network.author[edge[rows]])),
            actions.take(pa.array(stopped[rows].astype(np.int8))),
            pa.array(at[rows]),
        ]
        yield pa.record_batch(columns, names=["follower_id", "author_id", "action", "at"])


def _engagements(world: World, exposures: _Exposures) -> Iterator[pa.RecordBatch]:
    """What users did, by time."""
    behaviour = world.behaviour
    row, action = np.nonzero(behaviour.acted)
    hidden = np.flatnonzero(behaviour.hidden)
    at = np.concatenate([behaviour.acted_at[row, action], behaviour.acted_at[hidden, 0]])
    row = np.concatenate([row, hidden])
    action = np.concatenate([action, np.full(len(hidden), len(HEADS))])
    actions = pa.array([*HEADS, "hide"])
    order = np.argsort(at, kind="stable")
    for i in range(0, len(order), BATCH_ROWS):
        rows = order[i : i + BATCH_ROWS]
        columns = [*exposures.ids(row[rows]), actions.take(pa.array(action[rows])), pa.array(at[rows])]
        yield pa.record_batch(columns, names=["user_id", "tweet_id", "action", "at"])
