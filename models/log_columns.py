"""Columns of an event log: Arrow schemas derived from the contracts, and their rows.

Knows nothing of files, folders or time order (`models.log` does), nor of what the events mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import inspect

from models.events import MAX_TIME_MS, Engagement, Follow, Id, TimeMs, Tweet, User

Event = User | Follow | Tweet | Engagement


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

    Ids may come as integers and times as timestamps. `where` names the file in the error.
    Raises `LogError` when a column has a type that can't be cast without loss.
    """
    columns = []
    for field in schema:
        index = batch.schema.get_field_index(field.name)
        if index < 0:
            columns.append(pa.nulls(batch.num_rows, field.type))
            continue
        column = batch.column(index)
        try:
            if pa.types.is_timestamp(column.type) and pa.types.is_integer(field.type):
                column = column.cast(pa.timestamp("ms"), safe=False)
            columns.append(column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise LogError(
                f"{where}: column `{field.name}` is {column.type}, which can't be read as {field.type}"
            ) from None
    return pa.record_batch(columns, schema=pa.schema([f.with_nullable(True) for f in schema]))


def drop_invalid(
    batch: pa.RecordBatch, schema: pa.Schema, time: str, rejected: Counter[str]
) -> pa.RecordBatch:
    """Drop rows without a required value, with a blank id or an impossible time; count each by its reason."""
    good = pa.array(np.ones(batch.num_rows, dtype=bool))
    for field in schema:
        column = batch.column(field.name)
        if field.name == time:
            ok = pc.fill_null(_within(column, 0, MAX_TIME_MS), field.nullable)
            reason = f"`{time}` is missing or not in milliseconds from 1970 to 2100"
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
    return batch if pc.all(good, min_count=0).as_py() else batch.filter(good)


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
