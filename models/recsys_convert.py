"""Turn RecSys Challenge TSV files into an event log, once, and an event log into such a file.

The files are larger than memory and in no order; logs are sorted and name each tweet and user once. So rows
are sorted piecewise into runs on disk, and the runs merged a slice of the key at a time.

Knows nothing of how lines are parsed (`models.recsys`) or tables written (`models.log`).
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as pads
import pyarrow.parquet as pq

from models.log import BATCH_ROWS, LogWriter
from models.read_report import ReadReport
from models.recsys import TWEET_TYPES, Progress, read_recsys

#: Rows sorted in memory at a time (a run), so the rows of a slice of the merge as well, about.
_RUN_ROWS = 500_000
#: Every so many rows of a run, its key is noted, to cut slices of equal size.
_SAMPLE_EVERY = 1_000


@dataclass(slots=True)
class ConvertReport:
    """What a conversion wrote, by table, and what it could not read, by file."""

    written: dict[str, int] = field(default_factory=dict)
    read: dict[str, ReadReport] = field(default_factory=dict)


def convert(
    files: Path | str | Mapping[str, Path | str],
    out: Path | str,
    *,
    strict: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> ConvertReport:
    """Write the event log `out` from TSV files: one, or one for each part, as {"train": ..., "valid": ...}.

    | here | there |
    |---|---|
    | tweets | each tweet_id once; links are `present_links`, `present_domains` are dropped |
    | users | each author and reader once, with the profile of the latest tweet they occur with |
    | engagements | the four timestamps, in ms |
    | exposures_PART | a row each, shown when the tweet was written (nobody recorded when it was seen) |
    | follows | `engagee_follows_engager`: the *author* follows the reader; dated 0, as the file has no date |

    Whether the reader follows the author is not in the format: no such follow is written. Files without
    labels give no exposures and no engagements. Unreadable rows are counted; with `strict` the first raises
    `LogError`, as does a file that is missing or of another format, or a log in `out` without `overwrite`.
    """
    parts = {"train": files} if isinstance(files, Path | str) else dict(files)
    report = ConvertReport()
    with (
        LogWriter(out, overwrite=overwrite) as log,
        tempfile.TemporaryDirectory(prefix=".convert-", dir=out) as scratch,
    ):
        tables = {name: _Sorter(Path(scratch) / name, key) for name, key in _KEYS.items()}
        exposures = {
            part: _Sorter(Path(scratch) / f"exposures_{part}", ["shown_at"], distinct=False) for part in parts
        }
        for part, path in parts.items():
            read = report.read[str(path)] = ReadReport(strict)
            for batch in read_recsys(path, read, progress=progress):
                for name, rows in _tables(batch).items():
                    tables[name].add(rows)
                if _labelled(batch):
                    exposures[part].add(_exposures(batch))
        for name, sorter in tables.items():
            for batch in sorter.merged():
                log.write_batch(name, batch)
        for part, sorter in exposures.items():
            for batch in sorter.merged():
                log.write_batch(f"exposures_{part}", batch)
    report.written = dict(log.rows)
    return report


#: What each table is sorted by; all of it together tells its rows apart.
_KEYS = {
    "users": ["user_id"],
    "follows": ["author_id", "follower_id"],
    "tweets": ["created_at", "tweet_id"],
    "engagements": ["at", "user_id", "tweet_id", "action"],
}
_ACTIONS = {
    "retweet": "retweet_timestamp",
    "like": "like_timestamp",
    "reply": "reply_timestamp",
    "quote": "retweet_with_comment_timestamp",
}


def _tables(rows: pa.RecordBatch) -> dict[str, pa.Table]:
    """Split rows into the four tables of events; times become milliseconds."""
    author, reader = rows["engaged_with_user_id"], rows["enaging_user_id"]
    written = _ms(rows["tweet_timestamp"])
    kinds = pc.index_in(pc.utf8_lower(rows["tweet_type"]), pa.array(list(TWEET_TYPES)))
    tweets = {
        "tweet_id": rows["tweet_id"],
        "author_id": author,
        "created_at": written,
        "text_tokens": rows["text_tokens"],
        "language": rows["language"],
        "kind": pa.array(list(TWEET_TYPES.values())).take(kinds),
        "hashtags": rows["hashtags"],
        "links": rows["present_links"],
        "media": rows["present_media"],
    }
    profiles = [
        {
            "user_id": rows[f"{who}_user_id"],
            "followers": rows[f"{who}_user_follower_count"],
            "following": rows[f"{who}_user_following_count"],
            "verified": rows[f"{who}_user_is_verified"],
            "created_at": _ms(rows[f"{who}_user_account_creation"]),
            "seen_at": written,
        }
        for who in ("engaged_with", "enaging")
    ]
    follows = pa.table({"follower_id": author, "author_id": reader}).filter(rows["engagee_follows_engager"])
    count = follows.num_rows
    follows = follows.append_column("action", [pa.array(["follow"] * count, pa.string())])
    follows = follows.append_column("at", [pa.array(np.zeros(count, dtype=np.int64))])
    tables = {
        "tweets": pa.table(tweets),
        "users": pa.concat_tables([pa.table(profile) for profile in profiles]),
        "follows": follows,
    }
    if not _labelled(rows):
        return tables
    engagements = []
    for action, column in _ACTIONS.items():
        did = pc.is_valid(rows[column])
        acted = pa.table({"user_id": reader, "tweet_id": rows["tweet_id"], "at": _ms(rows[column])}).filter(
            did
        )
        action_column = pa.array([action] * acted.num_rows, pa.string())
        engagements.append(acted.add_column(2, "action", [action_column]))
    tables["engagements"] = pa.concat_tables(engagements)
    return tables


def _labelled(rows: pa.RecordBatch) -> bool:
    return _ACTIONS["retweet"] in rows.schema.names


def _exposures(rows: pa.RecordBatch) -> pa.Table:
    columns = {
        "user_id": rows["enaging_user_id"],
        "tweet_id": rows["tweet_id"],
        "shown_at": _ms(rows["tweet_timestamp"]),
    }
    return pa.table(columns | {action: pc.is_valid(rows[column]) for action, column in _ACTIONS.items()})


def _ms(seconds: pa.Array) -> pa.Array:
    return pc.multiply(seconds, 1000)


class _Sorter:
    """Sort more rows than fit in memory, and keep the last of those with equal keys.

    Rows are equal when all `keys` are; the last is the one with the greatest `seen_at`, a column that is
    dropped in the end. Runs and slices are cut by the first key.
    """

    def __init__(self, folder: Path, keys: list[str], *, distinct: bool = True) -> None:
        self._folder = folder
        self._keys = keys
        self._distinct = distinct
        self._buffer: list[pa.Table] = []
        self._buffered = 0
        self._runs = 0
        self._samples: list[Any] = []

    def add(self, rows: pa.Table) -> None:
        """Take in rows of any order."""
        self._buffer.append(rows)
        self._buffered += rows.num_rows
        if self._buffered >= _RUN_ROWS:
            self._spill()

    def _spill(self) -> None:
        rows = self._tidy(pa.concat_tables(self._buffer))
        self._buffer, self._buffered = [], 0
        self._folder.mkdir(exist_ok=True)
        pq.write_table(rows, self._folder / f"{self._runs}.parquet", row_group_size=BATCH_ROWS)
        self._runs += 1
        self._samples += rows[self._keys[0]].take(np.arange(0, rows.num_rows, _SAMPLE_EVERY)).to_pylist()

    def _tidy(self, rows: pa.Table) -> pa.Table:
        order = [*self._keys, *(["seen_at"] if "seen_at" in rows.column_names else [])]
        rows = rows.sort_by([(key, "ascending") for key in order]).combine_chunks()
        if not self._distinct or rows.num_rows < 2:
            return rows
        changes = [pc.not_equal(rows[key][1:], rows[key][:-1]) for key in self._keys]
        last = np.logical_or.reduce([change.to_numpy() for change in changes])
        return rows.filter(pa.array(np.append(last, True)))

    def merged(self) -> Iterator[pa.RecordBatch]:
        """Yield all rows in order."""
        for rows in self._slices():
            columns = [name for name in rows.column_names if name != "seen_at"]
            yield from rows.select(columns).to_batches(BATCH_ROWS)

    def _slices(self) -> Iterator[pa.Table]:
        if not self._runs:
            if self._buffer:
                yield self._tidy(pa.concat_tables(self._buffer))
            return
        if self._buffer:
            self._spill()
        runs = pads.dataset(self._folder)
        key = pads.field(self._keys[0])
        cuts = sorted(set(sorted(self._samples)[:: _RUN_ROWS // _SAMPLE_EVERY]))[1:]
        for low, high in zip([None, *cuts], [*cuts, None], strict=True):
            within = pads.scalar(True)
            if low is not None:
                within &= key >= low
            if high is not None:
                within &= key < high
            yield self._tidy(runs.to_table(filter=within))
