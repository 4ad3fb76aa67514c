"""Files of events, whatever their format, as one stream of (time, topic, event), validated.

An event log's folder or one of its files, a RecSys Challenge TSV, tweets as X's API returns them. The topic
is told from the fields. Knows nothing of Kafka.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from models.events import Engagement, Follow, Prediction, ScoreRequest, Tweet, User
from models.log import EventLog
from models.log_columns import Exposure, LogError
from models.log_tables import KINDS, open_table
from models.read_report import ReadReport
from models.recsys_convert import convert
from models.x_api import read_x_api
from streamer.decoding import BadRecord, Decoder

_TOPIC_OF: dict[type, str] = {
    User: "users",
    Follow: "follows",
    Tweet: "tweets",
    Engagement: "engagements",
    ScoreRequest: "score-requests",
}
#: What a row may be, told by the fields it must have; the one with most of them wins.
_SHAPES: dict[type, str] = {
    **_TOPIC_OF,
    Exposure: "exposures",
    Prediction: "predictions",
}
_PEEK_LINES = 100

Timed = tuple[int, str, msgspec.Struct]


class Source(Protocol):
    """Events of a file or folder, in time order as far as the format has one."""

    @property
    def what(self) -> str:
        """What it was taken for, for people."""

    @property
    def rows(self) -> int | None:
        """How many rows there are, where that is known beforehand."""

    def events(self, start_ms: int | None, end_ms: int | None) -> Iterator[Timed]:
        """Yield (time in ms, topic, valid event), start <= time < end; count the others in `rejected`."""

    @property
    def rejected(self) -> Counter[str]:
        """Rows skipped by the latest pass, by reason."""


@contextmanager
def open_source(path: Path, topic: str | None = None) -> Iterator[Source]:
    """Open a file or folder of events; `topic` overrides what its contents say.

    Raises `LogError` when it is missing, unreadable or of no known shape.
    """
    if path.is_dir():
        yield _Log(path, topic)
        return
    if not path.is_file():
        raise LogError(f"{path} does not exist: give a file of events or the folder of an event log")
    if path.suffix == ".parquet":
        yield _Table(path, topic or _shape_of(path, _parquet_columns(path)))
    elif _is_recsys(path):
        with TemporaryDirectory(prefix="recsys-") as folder:
            yield _Recsys(path, Path(folder), topic)
    else:
        yield _json_source(path, topic)


def _json_source(path: Path, topic: str | None) -> Source:
    fields = _json_fields(path)
    if topic is None and fields is None:
        raise LogError(
            f"{path} is neither Parquet, JSON nor RecSys Challenge TSV: "
            "see `streamer publish --help` for what can be read"
        )
    fields = fields or set()
    # A response, or a bare post: no event of ours has either field.
    if topic in (None, "tweets", "users") and fields & {"data", "id"} and "tweet_id" not in fields:
        return _XApi(path, topic)
    name = topic or _shape_of(path, fields)
    if name == "score-requests":
        return _Requests(path)
    if path.suffix != ".jsonl":
        raise LogError(f"{path} holds {name} as JSON lines: rename it to end in .jsonl")
    return _Table(path, name)


class _Log:
    def __init__(self, path: Path, topic: str | None) -> None:
        self._log = EventLog(path, require=(topic,) if topic else ())
        self._tables = [topic] if topic else list(self._log.tables)
        if not self._tables:
            raise LogError(f"{path} holds no event log: it has no tweets, engagements, follows or users")
        self.what = f"event log ({', '.join(self._tables)})"
        self.rows: int | None = sum(self._log.tables[name].rows for name in self._tables)

    def events(self, start_ms: int | None, end_ms: int | None) -> Iterator[Timed]:
        for at, event in self._log.events(start_ms, end_ms, tables=self._tables):
            yield at, _TOPIC_OF[type(event)], event

    @property
    def rejected(self) -> Counter[str]:
        return sum(self._log.rejected.values(), Counter())


class _Table:
    def __init__(self, path: Path, topic: str) -> None:
        if topic not in KINDS or topic == "exposures":
            raise LogError(f"{path}: {topic} can't be published from a table; JSON lines can hold them")
        self._topic = topic
        self._table = open_table(path, KINDS[topic])
        self.what = topic
        self.rows: int | None = self._table.rows

    def events(self, start_ms: int | None, end_ms: int | None) -> Iterator[Timed]:
        for at, event in self._table.events(start_ms, end_ms):
            yield at, self._topic, event

    @property
    def rejected(self) -> Counter[str]:
        return self._table.rejected


class _Recsys(_Log):
    """RecSys Challenge rows, turned into an event log in `folder` first: they come in no order."""

    def __init__(self, path: Path, folder: Path, topic: str | None) -> None:
        self._converted = convert(path, folder).read[str(path)]
        super().__init__(folder, topic)
        self.what = f"RecSys Challenge rows ({', '.join(self._tables)})"

    @property
    def rejected(self) -> Counter[str]:
        return super().rejected + _counted(self._converted)


class _XApi:
    """Responses and posts of X's API v2. They come newest first, so all are read before one is yielded."""

    what = "X API v2 posts"

    def __init__(self, path: Path, topic: str | None) -> None:
        self._path = path
        self._topic = topic
        self._report = ReadReport()
        self.rows: int | None = None

    def events(self, start_ms: int | None, end_ms: int | None) -> Iterator[Timed]:
        self._report = ReadReport()
        events: list[Timed] = []
        for event in read_x_api(self._path, self._report):
            at, topic = (event.created_at, "tweets") if isinstance(event, Tweet) else (0, "users")
            known = at == 0 or ((start_ms is None or at >= start_ms) and (end_ms is None or at < end_ms))
            if known and self._topic in (None, topic):
                events.append((at, topic, event))
        yield from sorted(events, key=itemgetter(0))

    @property
    def rejected(self) -> Counter[str]:
        return _counted(self._report)


class _Requests:
    """Score requests, JSON lines. They have no time of their own."""

    what = "score-requests"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.rows: int | None = None
        self.rejected: Counter[str] = Counter()

    def events(self, start_ms: int | None, end_ms: int | None) -> Iterator[Timed]:
        self.rejected.clear()
        decode = Decoder(ScoreRequest)
        with self._path.open("rb") as file:
            for line in file:
                if not line.strip():
                    continue
                try:
                    yield 0, "score-requests", decode(line)
                except BadRecord as bad:
                    self.rejected[bad.error] += 1


def _counted(report: ReadReport) -> Counter[str]:
    """Reasons without the number of the line, counted; those that the report did not keep as one."""
    counts = Counter(problem.partition(": ")[2] for problem in report.problems)
    if more := report.unreadable - counts.total():
        counts["other rows that can't be read"] = more
    return counts


def _is_recsys(path: Path) -> bool:
    """Whether the first line has the separator of that format, also in a compressed file."""
    if path.suffix in (".tsv", ".gz", ".bz2", ".zst"):
        return True
    with path.open("rb") as file:
        return b"\x01" in file.readline(100_000)


def _parquet_columns(path: Path) -> set[str]:
    try:
        return set(pq.read_schema(path).names)
    except (pa.ArrowException, OSError) as error:
        raise LogError(f"{path} is not a readable Parquet file: {str(error).splitlines()[0]}") from None


def _json_fields(path: Path) -> set[str] | None:
    """Fields of the first JSON object, be it on one line or over the whole file."""
    with path.open("rb") as file:
        for line in islice(file, _PEEK_LINES):
            try:
                return set(msgspec.json.decode(line, type=dict[str, msgspec.Raw]))
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                continue
    try:
        whole: Any = msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    first = whole[0] if isinstance(whole, list) and whole else whole
    return set(first) if isinstance(first, dict) else None


def _shape_of(path: Path, fields: set[str]) -> str:
    required = {
        name: {f.name for f in msgspec.structs.fields(kind) if f.required} for kind, name in _SHAPES.items()
    }
    fitting = [name for name, needed in required.items() if needed <= fields]
    if not fitting:
        raise LogError(
            f"{path}: no topic takes rows with the fields {', '.join(sorted(fields)) or '(none)'}; "
            "name one with --topic, or see ops/asyncapi.yaml for their shapes"
        )
    best = max(fitting, key=lambda name: len(required[name]))
    if best not in _TOPIC_OF.values():
        raise LogError(
            f"{path} holds {best}, which are not published: workers make them or evaluate reads them"
        )
    return best
