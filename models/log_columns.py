"""Columns of an event log: Arrow schemas derived from the contracts, and their rows.

Knows nothing of files, folders or time order (`models.log` does), nor of what the events mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Annotated, Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import inspect

from models.events import MAX_TIME_MS, Engagement, Follow, Id, TimeMs, Tweet, User

Event = User | Follow | Tweet | Engagement

#: What `conform` makes of a label that is neither 0 nor 1.
_ODD: Final = 2


class LogError(Exception):
    """An event log, or a file meant to become one, can't be read. The message is one line for people."""


class Exposure(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A user was shown a tweet, and what came of it. An action that nobody recorded is None.

    `keep_rate` is the probability with which a row without any action was kept in this file.
    """

    user_id: Id
    tweet_id: Id
    shown_at: TimeMs
    retweet: bool
    like: bool | None = None
    reply: bool | None = None
    quote: bool | None = None
    keep_rate: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] | None = None


def _arrow_type(kind: inspect.Type) -> pa.DataType:
    match kind:
        case inspect.Metadata():
            return _arrow_type(kind.type)
        case inspect.UnionType():  # only ever `X | None`
            return _arrow_type(next(t for t in kind.types if not isinstance(t, inspect.NoneType)))
        case inspect.ListType():
            return pa.list_(_arrow_type(kind.item_type))
        case inspect.StructType():
            return pa.struct([(f.name, _arrow_type(f.type)) for f in kind.fields])
        case inspect.BoolType():
            return pa.bool_()
        case inspect.IntType():
            return pa.int64()
        case inspect.FloatType():
            return pa.float64()
        case inspect.StrType() | inspect.LiteralType():
            return pa.string()
    raise TypeError(f"no Arrow type for {kind}")


def schema_of(struct: type[msgspec.Struct]) -> pa.Schema:
    """Return the Arrow schema of a contract; a field without a default is not nullable."""
    info = inspect.type_info(struct)
    assert isinstance(info, inspect.StructType)
    return pa.schema([pa.field(f.name, _arrow_type(f.type), nullable=not f.required) for f in info.fields])


def conform(batch: pa.RecordBatch, schema: pa.Schema, where: str) -> pa.RecordBatch:
    """Cast `batch` to the columns of `schema`: absent ones become nulls, extra ones are dropped.

    Ids may come as integers, labels as 0 and 1, times as timestamps, dates or ISO 8601 text; NaN is null but
    for numbers with a fraction. Labels stay numbers (int8), odd ones among them, until `drop_invalid` has
    seen them. `where` names the file in the error.
    Raises `LogError` when a column has a type that can't be cast without loss.
    """
    columns = []
    for field in schema:
        index = batch.schema.get_field_index(field.name)
        if index < 0:
            columns.append(pa.nulls(batch.num_rows, _read_as(field)))
            continue
        column = batch.column(index)
        try:
            columns.append(_cast(column, field))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise LogError(
                f"{where}: column `{field.name}` is {column.type}, which can't be read as {field.type}"
                + (": give milliseconds since 1970, timestamps or ISO 8601" if is_time(field.name) else "")
            ) from None
        except LogError as error:
            raise LogError(f"{where}: column `{field.name}`: {error}") from None
    return pa.record_batch(columns, schema=pa.schema([(f.name, _read_as(f)) for f in schema]))


def _read_as(field: pa.Field) -> pa.DataType:
    return pa.int8() if pa.types.is_boolean(field.type) else field.type


def is_time(name: str) -> bool:
    """Whether a column of that name holds times."""
    return name == "at" or name.endswith("_at")


def _cast(column: pa.Array, field: pa.Field) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_floating(column.type) and not pa.types.is_floating(field.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
        if pa.types.is_string(field.type):
            column = _whole(column)
    if pa.types.is_boolean(field.type):
        return _labels(column)
    if is_time(field.name):
        column = _times(column)
    return column.cast(field.type)


def _labels(column: pa.Array) -> pa.Array:
    """1, 0, null, and `_ODD` for other numbers, which a cast would take for true."""
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        no, yes, odd = (pa.scalar(number, column.type) for number in (0, 1, _ODD))
        column = pc.if_else(pc.or_(pc.equal(column, no), pc.equal(column, yes)), column, odd)
    else:
        column = column.cast(pa.bool_())
    return column.cast(pa.int8())


def _whole(column: pa.Array) -> pa.Array:
    """Ids that were made floats, as a missing value makes pandas do, where they have all their digits."""
    exact = 2**24 if pa.types.is_float32(column.type) else 2**53
    column = column.cast(pa.float64())
    if pc.any(pc.greater_equal(pc.abs(column), exact)).as_py():
        raise LogError("ids are floats, which lose digits: write integers or strings")
    return column.cast(pa.int64())


def _times(column: pa.Array) -> pa.Array:
    """Times as integer milliseconds where they come as timestamps, dates or text."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        for kind in (pa.int64(), pa.timestamp("ms"), pa.timestamp("ns"), pa.timestamp("ms", "UTC")):
            with suppress(pa.ArrowInvalid):
                column = column.cast(kind)
                break
        else:
            column = column.cast(pa.timestamp("ns", "UTC"))
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        column = column.cast(pa.timestamp("ms"), safe=False).cast(pa.int64())
    return column


def drop_invalid(
    batch: pa.RecordBatch, schema: pa.Schema, time: str, rejected: Counter[str]
) -> pa.RecordBatch:
    """Drop rows of `conform` that can't be used, count each by its reason, and make the labels bool.

    Such lack a required value, or have a blank id, an impossible time or keep rate, a number for a label that
    is neither 0 nor 1, or text that is none.
    """
    batch = _drop_undecodable(batch, rejected)
    good = pa.array(np.ones(batch.num_rows, dtype=bool))
    for field in schema:
        column = batch.column(field.name)
        if field.name == time:
            ok = pc.fill_null(_within(column, 0, MAX_TIME_MS), field.nullable)
            reason = f"`{time}` is missing or not in milliseconds from 1970 to 2100"
        elif field.name == "keep_rate":
            ok = pc.fill_null(pc.and_(pc.greater(column, 0.0), pc.less_equal(column, 1.0)), True)
            reason = "`keep_rate` is not above 0 and at most 1"
        elif pa.types.is_boolean(field.type):
            ok = pc.fill_null(pc.not_equal(column, _ODD), field.nullable)
            reason = f"`{field.name}` is {'' if field.nullable else 'missing or '}neither 0 nor 1"
        elif field.nullable:
            continue
        elif field.name.endswith("_id"):
            ok = pc.fill_null(_within(pc.utf8_length(column), 1, 128), False)
            reason = f"`{field.name}` is missing, blank or longer than 128 characters"
        else:
            ok = pc.is_valid(column)
            reason = f"`{field.name}` is missing"
        if lost := pc.sum(pc.and_not(good, ok)).as_py():
            rejected[reason] += lost
            good = pc.and_(good, ok)
    kept = batch if pc.all(good, min_count=0).as_py() else batch.filter(good)
    return kept.cast(pa.schema([field.with_nullable(True) for field in schema]))


def _drop_undecodable(batch: pa.RecordBatch, rejected: Counter[str]) -> pa.RecordBatch:
    """Drop rows with bytes in a text that are not UTF-8, which Parquet's writers need not check."""
    with suppress(pa.ArrowInvalid):
        batch.validate(full=True)
        return batch
    good = np.ones(batch.num_rows, dtype=bool)
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        for i in np.flatnonzero(good).tolist():
            try:
                column[i].as_py()
            except UnicodeDecodeError:
                good[i] = False
                rejected[f"`{name}` is not UTF-8"] += 1
    return batch.filter(pa.array(good))


def _within(column: pa.Array, low: int, high: int) -> pa.Array:
    return pc.and_(pc.greater_equal(column, low), pc.less_equal(column, high))


def to_rows(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Rows as dicts, without what Parquet stores as null, so that the contract's defaults apply."""
    batch = batch.select(
        [f.name for f, c in zip(batch.schema, batch.columns, strict=True) if c.null_count < len(c)]
    )
    rows: list[dict[str, Any]] = batch.to_pylist()
    if any(column.null_count or pa.types.is_struct(column.type) for column in batch.columns):
        rows = [_without_nulls(row) for row in rows]
    return rows


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nulls(v) for k, v in value.items() if v is not None}
    return value


def to_batch(rows: Sequence[msgspec.Struct], schema: pa.Schema) -> pa.RecordBatch:
    """Convert structs to one record batch; a column of `schema` that they don't have becomes nulls."""
    columns = []
    for field in schema:
        values = [getattr(row, field.name, None) for row in rows]
        if pa.types.is_struct(field.type):
            values = [None if value is None else msgspec.structs.asdict(value) for value in values]
        columns.append(pa.array(values, field.type))
    return pa.record_batch(columns, schema=schema)
