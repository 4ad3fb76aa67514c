"""One table of an event log: a Parquet or JSONL file, read in time order and validated.

Memory stays bounded by a batch where the rows are sorted by time, as those written by `models.log` are. Other
Parquet files, or folders of them, are sorted in memory, a JSONL file by an index of its line offsets.

Knows nothing of folders, nor of how tables belong together (`models.log` does).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from codecs import BOM_UTF8
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, BinaryIO, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from models.events import HEADS, Engagement, Follow, TimeMs, Tweet, User
from models.log_columns import Exposure, LogError, conform, drop_invalid, schema_of, to_batch, to_rows
from models.log_files import parts
from models.log_rows import meant, to_structs

#: Rows of a record batch by default: large enough for Arrow, small enough for memory.
BATCH_ROWS = 65_536
#: Rows turned into structs at a time. With 65,536 Python's garbage collector, which walks all that are
#: alive, made validation four times slower (0.17 s instead of 0.04 s a batch).
_STRUCT_ROWS = 4_096
#: Times of 2001 to 2099 in units that others have. In milliseconds, those in seconds are of the first weeks
#: of 1970, the others of the year 33,000 and later.
_UNITS = {
    unit: (10**9 * per_second, 41 * 10**8 * per_second)
    for unit, per_second in (("seconds", 1), ("microseconds", 10**6), ("nanoseconds", 10**9))
}
#: Lines of a JSONL file looked at, when it is opened, for one that has the required fields.
_PEEK_LINES = 100


class Kind(NamedTuple):
    """What a table holds: its contract, the column that orders it, its Arrow schema."""

    struct: type[msgspec.Struct]
    time: str
    schema: pa.Schema


#: In the order in which events of the same millisecond are replayed.
KINDS = {
    # A profile counts as known from the beginning unless the column `updated_at` says since when.
    "users": Kind(User, "updated_at", schema_of(User).append(pa.field("updated_at", pa.int64()))),
    "follows": Kind(Follow, "at", schema_of(Follow)),
    "tweets": Kind(Tweet, "created_at", schema_of(Tweet)),
    "engagements": Kind(Engagement, "at", schema_of(Engagement)),
    "exposures": Kind(Exposure, "shown_at", schema_of(Exposure)),
}


class EmptyTableError(LogError):
    """A table has no rows."""


class Table(ABC):
    """One file of an event log, or one folder of Parquet parts.

    `rows` is its number of rows, `columns` the names it has. `rejected` counts by reason the rows that the
    latest pass skipped. Raises `LogError` when the file can't be read, has no rows or lacks a column.
    """

    def __init__(self, path: Path, kind: Kind) -> None:
        self.path = path
        #: What it consists of: itself, or the parts in it.
        self.files = [path]
        self.kind = kind
        self.rejected: Counter[str] = Counter()
        self.rows, self.columns = self._describe()
        if not self.rows:
            raise EmptyTableError(f"{path} is empty: it has no rows")
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

        Rows without a required value or with an impossible id or time are left out, counted in `rejected`.
        """
        self.rejected.clear()
        return self._batches(start_ms, end_ms, rows)

    def events(
        self,
        start_ms: int | None = None,
        end_ms: int | None = None,
        struct: type[msgspec.Struct] | None = None,
    ) -> Iterator[tuple[int, Any]]:
        """Yield (time, valid struct) in time order, start <= time < end; count the others in `rejected`.

        `struct` is the contract unless it is the kind's own.
        """
        self.rejected.clear()
        return self._events(start_ms, end_ms, struct or self.kind.struct)

    def _check_unit(self, earliest: int, latest: int) -> None:
        """Raise `LogError` where the times, those that are 0 aside, are all of our days in another unit."""
        for unit, (first, last) in _UNITS.items():
            # In seconds the latest one tells, as follows may be dated 1 or so to be there from the beginning.
            if first <= (latest if unit == "seconds" else earliest) <= latest <= last:
                raise LogError(
                    f"{self.path}: `{self.kind.time}` looks like {unit}: milliseconds since 1970 are needed"
                )

    @abstractmethod
    def _describe(self) -> tuple[int, tuple[str, ...]]:
        """Return the number of rows and the names of the columns."""

    @abstractmethod
    def _batches(self, start: int | None, end: int | None, rows: int) -> Iterator[pa.RecordBatch]: ...

    @abstractmethod
    def _events(
        self, start: int | None, end: int | None, struct: type[msgspec.Struct]
    ) -> Iterator[tuple[int, Any]]: ...


class _ParquetTable(Table):
    """One file, or a folder of parts as other writers make: their rows one after the other, by name."""

    def _describe(self) -> tuple[int, tuple[str, ...]]:
        self._sorted: bool | None = None
        if self.path.is_dir():
            self.files = parts(self.path)
        rows = 0
        columns: dict[str, None] = {}
        for path in self.files:
            with _readable(path), pq.ParquetFile(path) as file:
                rows += file.metadata.num_rows
                columns |= dict.fromkeys(file.schema_arrow.names)
        return rows, tuple(columns)

    def _batches(self, start: int | None, end: int | None, rows: int) -> Iterator[pa.RecordBatch]:
        for batch in self._conformed(start, end, rows):
            times = pc.fill_null(batch.column(self.kind.time), 0)
            if start is not None:
                keep = pc.greater_equal(times, start)
                batch, times = batch.filter(keep), times.filter(keep)
            if end is not None:
                batch = batch.filter(pc.less(times, end))
            batch = drop_invalid(batch, self.kind.schema, self.kind.time, self.rejected)
            if batch.num_rows:
                yield batch

    def _conformed(self, start: int | None, end: int | None, rows: int) -> Iterator[pa.RecordBatch]:
        if self._is_sorted():
            yield from self._read(self.kind.schema, rows, start, end)
            return
        table = pa.Table.from_batches(list(self._read(self.kind.schema)))
        order = pa.array(np.argsort(_times(table.column(self.kind.time)), kind="stable"))
        for i in range(0, len(order), rows):
            yield from table.take(order.slice(i, rows)).combine_chunks().to_batches()

    def _read(
        self, schema: pa.Schema, rows: int = BATCH_ROWS, start: int | None = None, end: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Batches in the order of the files, of the row groups that may hold a time in [start, end)."""
        for path in self.files:
            with _readable(path), pq.ParquetFile(path) as file:
                columns = [name for name in schema.names if name in file.schema_arrow.names]
                groups = [i for i in range(file.num_row_groups) if self._overlaps(file, i, start, end)]
                for batch in file.iter_batches(rows, row_groups=groups, columns=columns):
                    yield conform(batch, schema, str(path))

    def _is_sorted(self) -> bool:
        if self._sorted is None:
            self._sorted, last, earliest, latest = True, -(2**63), 2**63 - 1, 0
            schema = pa.schema([self.kind.schema.field(self.kind.time)])
            for batch in self._read(schema) if self.kind.time in self.columns else ():
                if len(times := _times(batch.column(0))):
                    self._sorted &= times[0] >= last and bool((np.diff(times) >= 0).all())
                    last, latest = times[-1], max(latest, int(times.max()))
                    earliest = min(earliest, int(times[times > 0].min(initial=earliest)))
            self._check_unit(earliest, latest)
        return self._sorted

    def _overlaps(self, file: pq.ParquetFile, group: int, start: int | None, end: int | None) -> bool:
        """Whether a row group may hold a time in [start, end): its statistics let us skip the others."""
        meta = file.metadata.row_group(group)
        leaves = (meta.column(i) for i in range(meta.num_columns))
        stats = next((c.statistics for c in leaves if c.path_in_schema == self.kind.time), None)
        if stats is None or not stats.has_min_max or not isinstance(stats.min, int):
            return True
        return (start is None or stats.max >= start) and (end is None or stats.min < end)

    def _events(
        self, start: int | None, end: int | None, struct: type[msgspec.Struct]
    ) -> Iterator[tuple[int, Any]]:
        for batch in self._batches(start, end, _STRUCT_ROWS):
            times = pc.fill_null(batch.column(self.kind.time), 0).to_pylist()
            for at, event in zip(times, to_structs(to_rows(batch), struct, self.rejected), strict=True):
                if event is not None:
                    yield at, event


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Where the file, or a page of it, can't be read: `LogError`."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise LogError(f"{path} is not a readable Parquet file: {reason}") from None


def _times(column: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    """Times, 0 where they are null."""
    times: NDArray[np.int64] = pc.fill_null(column, 0).to_numpy()
    return times


class _JsonlTable(Table):
    def _describe(self) -> tuple[int, tuple[str, ...]]:
        """Read the file once: count lines, learn the fields, and note where lines are out of time order."""
        self._clock = _clock(self.kind.time, TimeMs)
        any_clock = _clock(self.kind.time, Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)])
        seen: dict[str, None] = {}
        times, offsets = [], []
        last = 0
        try:
            with self._open() as file:
                offset = file.tell()
                for line in file:
                    if line.strip():
                        # A line that can't be read keeps its place: the pass that yields events counts it.
                        with suppress(msgspec.DecodeError, UnicodeDecodeError):
                            last = getattr(_read(line, any_clock), self.kind.time)
                        times.append(last)
                        offsets.append(offset)
                        if len(times) <= _PEEK_LINES:
                            seen.update(dict.fromkeys(_fields(line)))
                    offset += len(line)
        except OSError as error:
            raise LogError(f"{self.path} can't be read: {error.strerror}") from None
        clocks = np.array(times, dtype=np.int64)
        self._check_unit(int(clocks[clocks > 0].min(initial=2**63 - 1)), int(clocks.max(initial=0)))
        #: Line offsets in time order, or None where the file is in order already.
        self._order = None
        if bool((np.diff(clocks) < 0).any()):
            self._order = np.array(offsets, dtype=np.int64)[np.argsort(clocks, kind="stable")]
        return len(times), tuple(seen)

    def _open(self) -> BinaryIO:
        """The file, after a byte order mark where it has one."""
        file = self.path.open("rb")
        if file.read(len(BOM_UTF8)) != BOM_UTF8:
            file.seek(0)
        return file

    def _lines(self) -> Iterator[bytes]:
        with self._open() as file:
            if self._order is None:
                yield from (line for line in file if line.strip())
                return
            for offset in self._order.tolist():
                file.seek(offset)
                yield file.readline()

    def _events(
        self, start: int | None, end: int | None, struct: type[msgspec.Struct]
    ) -> Iterator[tuple[int, Any]]:
        time = self.kind.time
        timed = time in struct.__struct_fields__
        decoder = msgspec.json.Decoder(struct)
        for line in self._lines():
            try:
                event = _read(line, decoder)
                at = getattr(event if timed else _read(line, self._clock), time)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self.rejected[str(error)] += 1
                continue
            if (start is None or at >= start) and (end is None or at < end):
                yield at, event

    def _batches(self, start: int | None, end: int | None, rows: int) -> Iterator[pa.RecordBatch]:
        events = self._events(start, end, self.kind.struct)
        while chunk := list(islice(events, rows)):
            batch = to_batch([event for _, event in chunk], self.kind.schema)
            if self.kind.time not in self.kind.struct.__struct_fields__:
                index = batch.schema.get_field_index(self.kind.time)
                batch = batch.set_column(index, self.kind.time, pa.array([at for at, _ in chunk], pa.int64()))
            yield batch


def _clock(name: str, kind: Any) -> msgspec.json.Decoder[Any]:
    """Reads the time of a line, of that type, and nothing else; 0 where there is none."""
    return msgspec.json.Decoder(msgspec.defstruct("Clock", [(name, kind, 0)]))


def _read(line: bytes, decoder: msgspec.json.Decoder[Any]) -> Any:
    try:
        try:
            return decoder.decode(line)
        except msgspec.ValidationError:
            return meant(msgspec.json.decode(line), decoder.type)
    except RecursionError:
        raise msgspec.DecodeError("JSON is nested too deeply") from None


def _fields(line: bytes) -> list[str]:
    try:
        return list(msgspec.json.decode(line, type=dict[str, msgspec.Raw]))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []


def open_table(path: Path, kind: Kind) -> Table:
    """Open a file by its suffix, or a folder of Parquet parts. Raises `LogError` when it is none of these."""
    suffix = path.suffix.lower()
    if suffix == ".parquet" or (path.is_dir() and parts(path)):
        return _ParquetTable(path, kind)
    if suffix == ".jsonl":
        return _JsonlTable(path, kind)
    raise LogError(f"{path} is neither .parquet nor .jsonl")
