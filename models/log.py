"""Event logs: a folder of `tweets`, `engagements`, `follows`, `users` and `exposures*`, read and written.

Each table is one `.parquet` or `.jsonl` file in the shape of the public contracts. Only `tweets` has to be
there; the others count as empty where they are absent.

Knows nothing of Kafka, features or models, nor of other formats (`models.recsys`, `models.x_api`).
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from models.log_columns import Event, Exposure, LogError, schema_of, to_batch, to_rows
from models.log_files import find_tables
from models.log_rows import WordlessTweet, to_structs
from models.log_tables import BATCH_ROWS, KINDS, EmptyTableError, Kind, Table, open_table

__all__ = ["BATCH_ROWS", "Event", "EventLog", "Exposure", "LogError", "LogWriter", "Table", "open_exposures"]

Format = Literal["parquet", "jsonl"]

_EVENT_KINDS = [name for name in KINDS if name != "exposures"]
#: Names of exposures by what they are for, the usual one first.
TRAIN = ("train", "training")
JUDGE = ("valid", "validation", "val", "dev", "test")
#: Rows the writer buffers per table: the size of a Parquet row group.
_GROUP_ROWS = 65_536


class EventLog:
    """An event log, opened for reading.

    `tables` maps the name of each table that has rows to its `Table` (rows, columns, batches, rejected),
    `exposures` does so for files of exposures, by what follows `exposures_` in the name ("" for nothing);
    these are opened when they are asked for.

    Raises `LogError` when there is no such folder, a table of `require` is missing or empty, or one is
    malformed or there in a form that can't be read.
    """

    def __init__(self, path: Path | str, require: Collection[str] = ("tweets",)) -> None:
        self.path = Path(path)
        if not self.path.is_dir():
            raise LogError(f"{self.path} is not a folder: give the folder of an event log")
        found, exposures = find_tables(self.path, _EVENT_KINDS)
        self.tables: dict[str, Table] = {}
        for name in _EVENT_KINDS:
            if name in found:
                try:
                    self.tables[name] = open_table(found[name], KINDS[name])
                except EmptyTableError:
                    if name in require:
                        raise
            elif name in require:
                raise LogError(f"{self.path} has no {name}.parquet or {name}.jsonl: is it an event log?")
        self.exposures = _Exposures(exposures)

    @property
    def rejected(self) -> dict[str, Counter[str]]:
        """Rows that the latest pass over each table skipped, by table and reason."""
        return {name: table.rejected for name, table in self.tables.items() if table.rejected}

    def events(
        self,
        start_ms: int | None = None,
        end_ms: int | None = None,
        *,
        tables: Collection[str] = tuple(_EVENT_KINDS),
        wordless: bool = False,
    ) -> Iterator[tuple[int, Event]]:
        """Yield (time in ms, event) of all `tables` merged by time, start <= time < end.

        At the same millisecond users come first, then follows, tweets, engagements; within a table the order
        of the file holds. Profiles without `updated_at`, and follows at 0, come before everything else.
        Invalid rows are skipped and counted in `rejected`. Tweets without text are invalid, as in the
        stream, unless `wordless` ones are asked for.
        """
        structs = {"tweets": WordlessTweet} if wordless else {}
        streams = [
            _ranked(rank, self.tables[name].events(start_ms, end_ms, structs.get(name)))
            for rank, name in enumerate(_EVENT_KINDS)
            if name in self.tables and name in tables
        ]
        # Tuples compare by time, then rank. Ranks differ between streams, so events are never compared.
        for at, _, event in heapq.merge(*streams):
            yield at, event


class _Exposures(Mapping[str, Table]):
    """Opened when asked for, lest one that nobody needs stop everything."""

    def __init__(self, paths: dict[str, Path]) -> None:
        self.paths = paths
        self._open: dict[str, Table] = {}

    def __getitem__(self, name: str) -> Table:
        if name not in self._open:
            self._open[name] = open_exposures(self.paths[name])
        return self._open[name]

    def __contains__(self, name: object) -> bool:
        return name in self.paths

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


def _ranked(rank: int, events: Iterator[tuple[int, Event]]) -> Iterator[tuple[int, int, Event]]:
    for at, event in events:
        yield at, rank, event


def choose_exposures(log: EventLog, names: Sequence[str], purpose: str) -> Table:
    """The first of the log's exposures with one of `names`, else its only ones unless meant for another use.

    Raises LogError where it is not clear which are meant; `purpose` says what for.
    """
    for name in (*names, ""):
        if name in log.exposures:
            return log.exposures[name]
    if len(log.exposures) == 1 and not log.exposures.keys() & {*TRAIN, *JUDGE}:
        return next(iter(log.exposures.values()))
    found = ", ".join(path.name for path in log.exposures.paths.values()) or "none"
    raise LogError(
        f"{log.path} has no exposures_{names[0]} (found: {found}): say which exposures to {purpose}"
    )


def open_exposures(path: Path | str) -> Table:
    """Open one exposures file: `batches()` are sorted by `shown_at`, `heads` are the labelled actions.

    Columns of a batch: user_id, tweet_id, shown_at (ms), retweet (bool), and, null where unknown, like,
    reply, quote (bool), keep_rate (probability with which a row without any action was kept).
    Raises `LogError` when the file is missing, empty or lacks a column.
    """
    path = Path(path)
    if not path.exists():
        raise LogError(f"{path} does not exist: give a file of exposures (.parquet or .jsonl)")
    return open_table(path, KINDS["exposures"])


def expect_no_log(path: Path, *, overwrite: bool) -> None:
    """Raise LogError where the folder holds an event log that is not to be replaced."""
    if not overwrite and _files_of_log(path):
        raise LogError(f"{path} already holds an event log: choose another folder or overwrite it")


class LogWriter:
    """Write an event log; use it as a context manager. Give each table's rows in time order.

    Files appear under their names only on a clean exit, so a log that was cut off is never taken for a whole
    one. With `overwrite` they then replace whatever event log the folder held; without, `LogError` is raised
    where there is one. Opens no file before the first row.
    """

    def __init__(self, path: Path | str, file_format: Format = "parquet", *, overwrite: bool = False) -> None:
        self.path = Path(path)
        self.rows: Counter[str] = Counter()
        self._format = file_format
        self._sinks: dict[str, _ParquetSink | _JsonlSink] = {}
        self._pending: dict[str, list[msgspec.Struct]] = {}
        expect_no_log(self.path, overwrite=overwrite)
        self._made = not self.path.exists()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LogError(f"{self.path} can't be made a folder: {error.strerror}") from None

    def write(self, event: Event) -> None:
        """Append an event to the table of its type."""
        name = _TABLE_OF[type(event)]
        pending = self._pending.setdefault(name, [])
        pending.append(event)
        if len(pending) >= _GROUP_ROWS:
            self._flush(name)

    def write_batch(self, table: str, batch: pa.RecordBatch) -> None:
        """Append rows to `table`, an event table or `exposures*`.

        Parquet keeps columns beyond the contract; JSONL, which is validated while it is written, does not.
        """
        self._flush(table)
        self._sink(table, batch.schema).write_batch(batch)
        self.rows[table] += batch.num_rows

    def _flush(self, table: str) -> None:
        if pending := self._pending.pop(table, None):
            self._sink(table, schema_of(_kind(table).struct)).write(pending)
            self.rows[table] += len(pending)

    def _sink(self, table: str, schema: pa.Schema) -> _ParquetSink | _JsonlSink:
        if table not in self._sinks:
            target = self.path / f"{table}.{self._format}"
            parquet = self._format == "parquet"
            self._sinks[table] = (
                _ParquetSink(target, schema) if parquet else _JsonlSink(target, _kind(table).struct)
            )
        return self._sinks[table]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        if failed is None:
            for table in list(self._pending):
                self._flush(table)
        for sink in self._sinks.values():
            sink.close()
        if failed is None:
            for old in _files_of_log(self.path):
                old.unlink()
            for sink in self._sinks.values():
                sink.draft.replace(sink.target)
            return
        for sink in self._sinks.values():
            sink.draft.unlink()
        if self._made:
            with suppress(OSError):  # somebody else put something there
                self.path.rmdir()


_TABLE_OF = {KINDS[name].struct: name for name in _EVENT_KINDS}


def _kind(table: str) -> Kind:
    return KINDS["exposures" if table.startswith("exposures") else table]


def _files_of_log(path: Path) -> list[Path]:
    stems = (*_EVENT_KINDS, "exposures*")
    return [p for stem in stems for suffix in ("parquet", "jsonl") for p in path.glob(f"{stem}.{suffix}")]


class _ParquetSink:
    def __init__(self, target: Path, schema: pa.Schema) -> None:
        self.target = target
        self.draft = target.with_name(f".{target.name}.part")
        self._schema = schema
        self._writer = pq.ParquetWriter(self.draft, schema, compression="zstd")

    def write(self, rows: list[msgspec.Struct]) -> None:
        self.write_batch(to_batch(rows, self._schema))

    def write_batch(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch, row_group_size=_GROUP_ROWS)

    def close(self) -> None:
        self._writer.close()


class _JsonlSink:
    def __init__(self, target: Path, struct: type[msgspec.Struct]) -> None:
        self.target = target
        self.draft = target.with_name(f".{target.name}.part")
        self._struct = struct
        self._file = self.draft.open("wb")
        self._encoder = msgspec.json.Encoder()

    def write(self, rows: list[msgspec.Struct]) -> None:
        self._file.write(self._encoder.encode_lines(rows))

    def write_batch(self, batch: pa.RecordBatch) -> None:
        rejected: Counter[str] = Counter()
        rows = to_structs(to_rows(batch), self._struct, rejected)
        if rejected:
            raise LogError(f"{self.target}: a row breaks the contract: {rejected.most_common(1)[0][0]}")
        self.write(rows)

    def close(self) -> None:
        self._file.close()
