"""The RecSys Challenge 2020/2021 format: TSV files of what users did with tweets, read and written.

A line has 24 fields (20 without labels; more are ignored) separated by \\x01, lists inside a field by tabs,
ids hashed, text as BERT ids, times in seconds. Reading is pyarrow's, block by block, so memory stays bounded.

Knows the format only; `models.recsys_convert` makes an event log of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv

from models.events import MAX_TIME_MS, MAX_TOKENS, TweetKind
from models.log_columns import LogError
from models.read_report import ReadReport

#: What `tweet_type` may be (in any case), and the kind of tweet that it is here.
TWEET_TYPES: Final[dict[str, TweetKind]] = {
    "toplevel": "original",
    "reply": "reply",
    "quote": "quote",
    "retweet": "retweet",
}
_LABELS: Final = (
    "reply_timestamp",
    "retweet_timestamp",
    "retweet_with_comment_timestamp",
    "like_timestamp",
)
_LISTS: Final = ("text_tokens", "hashtags", "present_media", "present_links", "present_domains")
_ID, _ANY = rb"[^\x01\r]{1,128}", rb"[^\x01\r]*"
_TIME, _COUNT, _BOOL = rb"\d{1,10}", rb"\d{0,15}", rb"(?:true|false|True|False|TRUE|FALSE|)"
#: A time that may be missing.
_MAYBE_TIME = rb"(?:\d{1,10})?"
#: The columns in order ("enaging" is the data set's own spelling), each with the pattern of a valid field.
_PATTERNS: Final[dict[str, bytes]] = {
    "text_tokens": rb"\d{1,9}(?:\t\d{1,9})*",
    "hashtags": _ANY,
    "tweet_id": _ID,
    "present_media": _ANY,
    "present_links": _ANY,
    "present_domains": _ANY,
    "tweet_type": rb"(?i:" + "|".join(TWEET_TYPES).encode() + rb")",
    "language": _ANY,
    "tweet_timestamp": _TIME,
    # The author, "engaged with" or engagee.
    "engaged_with_user_id": _ID,
    "engaged_with_user_follower_count": _COUNT,
    "engaged_with_user_following_count": _COUNT,
    "engaged_with_user_is_verified": _BOOL,
    "engaged_with_user_account_creation": _MAYBE_TIME,
    # The reader, "engaging" or engager.
    "enaging_user_id": _ID,
    "enaging_user_follower_count": _COUNT,
    "enaging_user_following_count": _COUNT,
    "enaging_user_is_verified": _BOOL,
    "enaging_user_account_creation": _MAYBE_TIME,
    # Whether the author follows the reader.
    "engagee_follows_engager": _BOOL,
    **dict.fromkeys(_LABELS, _MAYBE_TIME),
}
COLUMNS: Final = tuple(_PATTERNS)

_TYPES: Final[dict[str, pa.DataType]] = {
    name: pa.bool_()
    if pattern == _BOOL
    else pa.string()
    if name in _LISTS or pattern in (_ID, _ANY) or name == "tweet_type"
    else pa.int64()
    for name, pattern in _PATTERNS.items()
}
_REQUIRED: Final = (
    "text_tokens",
    "tweet_id",
    "tweet_type",
    "tweet_timestamp",
    "engaged_with_user_id",
    "enaging_user_id",
)
_UNLABELLED: Final = len(COLUMNS) - len(_LABELS)
_MAX_SECONDS: Final = MAX_TIME_MS // 1000

#: Bytes parsed at a time, and bytes per thread of that.
_BLOCK, _THREAD_BLOCK = 32 << 20, 4 << 20

Progress = Callable[[int, int], None]


def read_recsys(
    path: Path | str,
    report: ReadReport | None = None,
    *,
    progress: Progress | None = None,
) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a TSV file (also .gz, .bz2, .zst): `COLUMNS`, the labels only if the file has them.

    Lists become lists (null if empty), times stay in seconds. Unreadable rows are left out and counted in
    `report`, with the line numbers of the first; a strict report raises `LogError` there. So does a file
    that is missing or of another format. `progress` is called with (bytes read, bytes in all).
    """
    path = Path(path)
    report = ReadReport() if report is None else report
    line = 1  # of the first row of the block
    width = 0
    for block, position in _blocks(path):
        if not width:
            width = _width(path, block)
        table = _parse(block, width)
        if table is None:
            table = _parse(_readable(path, block, width, line, report), width)
            if table is None:
                raise LogError(f"{path}: the rows from line {line} on can't be parsed: is this a RecSys TSV?")
        line += block.count(b"\n")
        report.rows += table.num_rows
        yield from table.combine_chunks().to_batches()
        if progress is not None:
            progress(position, path.stat().st_size)
    if not report.rows and not report.unreadable:
        raise LogError(f"{path} is empty")


def _blocks(path: Path) -> Iterator[tuple[bytes, int]]:
    """Yield (whole lines, position in the file)."""
    try:
        with path.open("rb") as raw, pa.input_stream(raw, compression=_compression(path)) as file:
            rest = b""
            while chunk := file.read(_BLOCK):
                lines, newline, tail = (rest + chunk).rpartition(b"\n")
                rest = tail
                if newline:
                    yield lines + newline, raw.tell()
            if rest.strip():
                yield rest + b"\n", raw.tell()
    except OSError as error:
        raise LogError(f"{path} can't be read: {error.strerror or error}") from None


def _compression(path: Path) -> str | None:
    return {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}.get(path.suffix)


def _width(path: Path, block: bytes) -> int:
    """Return the number of fields, as the first line that could be of the format has it."""
    widths = [line.count(b"\x01") + 1 for line in block[:1_000_000].splitlines()]
    for width in widths:
        if width == _UNLABELLED or width >= len(COLUMNS):
            return width
    raise LogError(
        f"{path} is no RecSys TSV: {widths[0]} fields in line 1, not 24 (or 20) separated by \\x01"
    )


def _parse(block: bytes, width: int) -> pa.Table | None:
    """Parse whole lines in C++, on all cores; None when any of them is unreadable."""
    names = [*COLUMNS[:width], *(f"extra_{i}" for i in range(width - len(COLUMNS)))]
    try:
        table = csv.read_csv(
            pa.BufferReader(block),
            csv.ReadOptions(column_names=names, block_size=_THREAD_BLOCK),
            csv.ParseOptions(delimiter="\x01", quote_char=False, double_quote=False, escape_char=False),
            csv.ConvertOptions(
                column_types=_TYPES,
                include_columns=COLUMNS[:width],
                null_values=[""],
                strings_can_be_null=True,
                true_values=["true", "True", "TRUE"],
                false_values=["false", "False", "FALSE"],
            ),
        )
        for i, name in enumerate(table.column_names):
            if name in _LISTS:
                parts = pc.split_pattern(table[name], "\t")
                if name == "text_tokens":
                    parts = parts.cast(pa.list_(pa.int32()))
                table = table.set_column(i, name, parts)
    except pa.ArrowInvalid:
        return None
    return table if not table.num_rows or _plausible(table) else None


def _plausible(table: pa.Table) -> bool:
    """Whether every row holds what pyarrow's types leave open; `_fault` says what is wrong with one."""
    if any(table[name].null_count for name in _REQUIRED):
        return False
    for name in table.column_names:
        pattern = _PATTERNS[name]
        if pa.types.is_integer(table[name].type):
            ends = pc.min_max(table[name]).as_py()
            if (ends["min"] or 0) < 0 or (pattern != _COUNT and (ends["max"] or 0) > _MAX_SECONDS):
                return False
        elif pattern == _ID and pc.max(pc.binary_length(table[name])).as_py() > 128:
            return False
    known = pc.is_in(pc.utf8_lower(table["tweet_type"]), pa.array(list(TWEET_TYPES)))
    lengths = pc.list_value_length(table["text_tokens"])
    return bool(pc.all(known).as_py()) and pc.max(lengths).as_py() <= MAX_TOKENS


def _readable(path: Path, block: bytes, width: int, line: int, report: ReadReport) -> bytes:
    """Return the block without its unreadable lines, which go to the report."""
    kept = []
    for number, row in enumerate(block.split(b"\n"), start=line):
        row = row.removesuffix(b"\r")
        if row and (fault := _fault(row, width)):
            report.reject(path, number, fault)
        else:
            kept.append(row)
    return b"\n".join(kept)


def _fault(row: bytes, width: int) -> str:
    """Say what is wrong with a line; "" if nothing is."""
    fields = row.split(b"\x01")
    if len(fields) != width:
        return f"{len(fields)} fields instead of {width}"
    for (name, pattern), value in zip(_PATTERNS.items(), fields, strict=False):
        too_large = pattern in (_TIME, _MAYBE_TIME) and value.isdigit() and int(value) > _MAX_SECONDS
        too_long = name == "text_tokens" and value.count(b"\t") >= MAX_TOKENS
        if too_large or too_long or not re.fullmatch(pattern, value):
            return f"`{name}` can't be {value[:40].decode(errors='replace')!r}"
    try:
        row.decode()
    except UnicodeDecodeError:
        return "not UTF-8"
    return ""
