"""Event logs: a folder of `tweets`, `engagements`, `follows`, `users` and `exposures*`, read and written.

Each table is one `.parquet` or `.jsonl` file in the shape of the public contracts; only `tweets` must be
there. Memory stays bounded by a batch for tables that are sorted by time, as those written here are; an
unsorted Parquet table is sorted in memory, an unsorted JSONL file by an index of line offsets.

Knows nothing of Kafka, features or models, nor of other formats (`models.recsys`, `models.x_api`).
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, NamedTuple, Self

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.events import HEADS, Engagement, Follow, Tweet, User
from models.log_columns import (
    Event,
    Exposure,
    LogError,
    conform,
    drop_invalid,
    schema_of,
    to_batch,
    to_structs,
)

__all__ = ["BATCH_ROWS", "Event", "EventLog", "Exposure", "LogError", "LogWriter", "Table", "open_exposures"]

Format = Literal["parquet", "jsonl"]

#: Rows of a record batch by default: large enough for Arrow, small enough for memory.
BATCH_ROWS = 65_536
#: Rows turned into structs at a time. More is slower: Python's garbage collector walks all that are alive.
_STRUCT_ROWS = 4_096
#: Rows buffered per table by the writer, hence the size of a Parquet row group.
_GROUP_ROWS = 65_536


class _Kind(NamedTuple):
    """What a table holds. The order of the kinds breaks ties of time when tables are merged."""

    struct: type[msgspec.Struct]
    time: str
    schema: pa.Schema


_KINDS = {
    # A profile counts as known from the beginning unless the column `updated_at` says when.
    "users": _Kind(User, "updated_at", schema_of(User).append(pa.field("updated_at", pa.int64()))),
    "follows": _Kind(Follow, "at", schema_of(Follow)),
    "tweets": _Kind(Tweet, "created_at", schema_of(Tweet)),
    "engagements": _Kind(Engagement, "at", schema_of(Engagement)),
    "exposures": _Kind(Exposure, "shown_at", schema_of(Exposure)),
}


class Table:
    """One file of an event log.

    `rows` is its number of rows, `columns` the names it has, `rejected` counts the rows skipped during the
    latest pass by reason. Raises `LogError` when the file can't be read, is empty or lacks a column.
    """

    def __init__(self, path: Path, kind: _Kind) -> None:
        self.path = path
        self.rejected: Counter[str] = Counter()
        self._kind = kind
        self.rows, self.columns = self._describe()
        if not self.rows:
            raise LogError(f"{path} is empty: it has no rows")
        missing = [f.name for f in kind.schema if not f.nullable and f.name not in self.columns]
        if kind.struct is Tweet and not {"text", "text_tokens"} & set(self.columns):
            missing.append("text (or text_tokens)")
        if missing:
            raise LogError(f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}")

    @property
    def heads(self) -> tuple[str, ...]:
        """The actions that an exposures table has labels for, in the order of `HEADS`."""
        return tuple(head for head in HEADS if head in self.columns)

    def batches(
        self, start_ms: int | None = None, end_ms: int | None = None, *, rows: int = BATCH_ROWS
    ) -> Iterator[pa.RecordBatch]:
        """Yield record batches with all columns of the contract, in time order, start <= time < end.

        Rows without an id or a sensible time are counted in `rejected` and left out.
        """
        self.rejected.clear()
        return self._batches(start_ms, end_ms, rows)

    def events(self, start_ms: int | None = None, end_ms: int | None = None) -> Iterator[tuple[int, Any]]:
        """Yield (time, validated struct) in time order, start <= time < end; count the rest in `rejected`."""
        self.rejected.clear()
        return self._events(start_ms, end_ms)

    def _describe(self) -> tuple[int, tuple[str, ...]]:
        raise NotImplementedError

    def _batches(self, start: int | None, end: int | None, rows: int) -> Iterator[pa.RecordBatch]:
        raise NotImplementedError

    def _events(self, start: int | None, end: int | None) -> Iterator[tuple[int, Any]]:
        raise NotImplementedError


class _ParquetTable(Table):
    def _describe(self) -> tuple[int, tuple[str, ...]]:
        self._sorted: bool | None = None
        with self._open() as file:
            return file.metadata.num_rows, tuple(file.schema_arrow.names)

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except (pa.ArrowException, OSError) as error:
            raise LogError(f"{self.path} is not a readable Parquet file: {_first_line(error)}") from None

    def _batches(self, start: int | None, end: int | None, rows: int) -> Iterator[pa.RecordBatch]:
        time = self._kind.time
        for raw in self._raw(start, end, rows):
            batch = drop_invalid(
                conform(raw, self._kind.schema, str(self.path)), self._kind.schema, time, self.rejected
            )
            if start is not None or end is not None:
                times = pc.fill_null(batch.column(time), 0)
                inside = pa.array(np.ones(batch.num_rows, dtype=bool))
                if start is not None:
                    inside = pc.greater_equal(times, start)
                if end is not None:
                    inside = pc.and_(inside, pc.less(times, end))
                batch = batch.filter(inside)
            if batch.num_rows:
                yield batch

    def _raw(self, start: int | None, end: int | None, rows: int) -> Iterator[pa.RecordBatch]:
        columns = [name for name in self._kind.schema.names if name in self.columns]
        with self._open() as file:
            if self._is_sorted(file):
                groups = [i for i in range(file.num_row_groups) if self._overlaps(file, i, start, end)]
                yield from file.iter_batches(rows, row_groups=groups, columns=columns)
                return
            table = file.read(columns=columns)
        order = pc.sort_indices(table, sort_keys=[(self._kind.time, "ascending")])
        for i in range(0, len(order), rows):
            yield from table.take(order.slice(i, rows)).combine_chunks().to_batches()

    def _is_sorted(self, file: pq.ParquetFile) -> bool:
        if self._sorted is None:
            last, self._sorted = -(2**63), True
            names = [self._kind.time] if self._kind.time in self.columns else []
            for raw in file.iter_batches(BATCH_ROWS, columns=names) if names else ():
                times = conform(raw, self._kind.schema, str(self.path)).column(self._kind.time)
                values = times.drop_null().to_numpy()
                if len(values) and (values[0] < last or bool((np.diff(values) < 0).any())):
                    self._sorted = False
                    break
                last = values[-1] if len(values) else last
        return self._sorted

    def _overlaps(self, file: pq.ParquetFile, group: int, start: int | None, end: int | None) -> bool:
        """Whether the statistics of a row group allow a time in [start, end)."""
        if self._kind.time not in self.columns:
            return True
        column = file.metadata.row_group(group).column(file.schema_arrow.names.index(self._kind.time))
        return True if not column.is_stats_set else True

    def _events(self, start: int | None, end: int | None) -> Iterator[tuple[int, Any]]:
        struct, time = self._kind.struct, self._kind.time
        for batch in self._batches(start, end, _STRUCT_ROWS):
            times = pc.fill_null(batch.column(time), 0).to_pylist()
            for at, event in zip(times, to_structs(batch, struct, self.rejected), strict=True):
                if event is not None:
                    yield at, event
