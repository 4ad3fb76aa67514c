"""Columns as other writers make them: read where nothing is lost, else said or counted."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime

import pyarrow as pa
import pytest

from models.log_columns import LogError, conform, drop_invalid
from models.log_tables import KINDS

NAN = float("nan")
#: 2024-01-02T03:04:05Z
T = 1_704_164_645_000


def read(name: str, values: pa.Array, table: str = "exposures") -> list[object]:
    found: list[object] = conform(pa.record_batch({name: values}), KINDS[table].schema, "x")[name].to_pylist()
    return found


def kept(column: str, values: pa.Array, table: str = "exposures") -> tuple[list[object], Counter[str]]:
    """A column's values in the rows that are kept, and why the others are not."""
    kind = KINDS[table]
    usual = {"user_id": "u", "tweet_id": "t", "shown_at": 1, "retweet": True}
    rows = {name: [value] * len(values) for name, value in usual.items()} | {column: values}
    rejected: Counter[str] = Counter()
    batch = conform(pa.record_batch(rows), kind.schema, "x")
    found = drop_invalid(batch, kind.schema, kind.time, rejected)
    assert found.schema.types == kind.schema.types
    return found[column].to_pylist(), rejected


@pytest.mark.parametrize(
    "values",
    [
        pa.array([True, False, None]),
        pa.array([1, 0, None], pa.int8()),
        pa.array([1, 0, None], pa.uint64()),
        pa.array([1.0, 0.0, NAN]),
        pa.array([1.0, -0.0, None], pa.float32()),
        pa.array([1, 0, None]).dictionary_encode(),
    ],
)
def test_labels_are_true_false_or_unknown(values: pa.Array) -> None:
    found, rejected = kept("like", values)
    assert (found, rejected) == ([True, False, None], {})
    assert kept("retweet", values) == ([True, False], {"`retweet` is missing or neither 0 nor 1": 1})


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 2, -1, 0, 256, None]),
        pa.array([1, 2, 255, 0, 7, None], pa.uint8()),
        pa.array([1, 2**64 - 1, 2**32, 0, 2**63, None], pa.uint64()),
        pa.array([1.0, 0.3, -1.0, 0.0, 2.0, NAN]),
        pa.array([1.0, float("inf"), 1e300, 0.0, -0.5, None]),
    ],
)
def test_rows_with_other_numbers_for_labels_are_counted(values: pa.Array) -> None:
    assert kept("like", values) == ([True, False, None], {"`like` is neither 0 nor 1": 3})
    assert kept("retweet", values) == ([True, False], {"`retweet` is missing or neither 0 nor 1": 4})


def test_ids_that_are_floats_are_read_while_they_have_all_digits() -> None:
    assert read("original_id", pa.array([7.0, None, NAN, 2.0**53 - 1]), "tweets") == [
        "7",
        None,
        None,
        "9007199254740991",
    ]
    assert read("user_id", pa.array([7.0], pa.float32())) == ["7"]
    for ids in (pa.array([2.0**53]), pa.array([1.0, -(2.0**60)]), pa.array([2.0**24], pa.float32())):
        with pytest.raises(LogError, match="column `user_id`: ids are floats, which lose digits"):
            read("user_id", ids)
    with pytest.raises(LogError, match="`user_id` is double, which can't be read as string"):
        read("user_id", pa.array([1.5]))


@pytest.mark.parametrize(
    "values",
    [
        pa.array(["2024-01-02T03:04:05Z", None]),
        pa.array(["2024-01-02 03:04:05", None], pa.large_string()),
        pa.array(["2024-01-02T03:04:05.000000", None]),
        pa.array(["2024-01-02T04:04:05.000+01:00", None]).dictionary_encode(),
        pa.array([str(T), None]),
        pa.array([float(T), NAN]),
        pa.array([datetime(2024, 1, 2, 3, 4, 5), None], pa.timestamp("ns")),
    ],
)
def test_times_in_other_forms(values: pa.Array) -> None:
    assert read("shown_at", values) == [T, None]


def test_days_and_what_is_no_time() -> None:
    assert read("shown_at", pa.array([date(2024, 1, 2)])) == [T // 86_400_000 * 86_400_000]
    assert read("shown_at", pa.array([date(2024, 1, 2)], pa.date64())) == [T // 86_400_000 * 86_400_000]
    with pytest.raises(LogError, match="give milliseconds since 1970, timestamps or ISO 8601"):
        read("shown_at", pa.array(["2024-01-02", "Mon Mar 02 2009"]))


def test_impossible_keep_rates_are_counted() -> None:
    rates = [0.5, 1.0, None, 0.0, -1.0, 5.0, NAN]
    rows = {
        "user_id": [str(i) for i in range(len(rates))],
        "tweet_id": ["t"] * len(rates),
        "shown_at": [1] * len(rates),
        "retweet": [True] * len(rates),
        "keep_rate": rates,
    }
    kind = KINDS["exposures"]
    rejected: Counter[str] = Counter()
    batch = conform(pa.record_batch(rows), kind.schema, "x")
    found = drop_invalid(batch, kind.schema, kind.time, rejected)
    assert found["user_id"].to_pylist() == ["0", "1", "2"]
    assert rejected == {"`keep_rate` is not above 0 and at most 1": 4}


def broken(values: list[bytes]) -> pa.Array:
    """A column of text that is not all UTF-8, as careless writers make."""
    _, offsets, data = pa.array(values, pa.binary()).buffers()
    return pa.StringArray.from_buffers(len(values), offsets, data)


def test_rows_that_are_not_utf_8_are_counted() -> None:
    tags = broken([b"a", b"b", b"\xe9", b"d"])
    rows = {
        "tweet_id": broken([b"1", b"\xe92", b"3", b"4"]),
        "author_id": ["a"] * 4,
        "created_at": [1] * 4,
        "text": broken([b"x", b"x", b"x", b"caf\xe9"]),
        "hashtags": pa.ListArray.from_arrays([0, 1, 2, 3, 4], tags),
    }
    kind = KINDS["tweets"]
    rejected: Counter[str] = Counter()
    batch = conform(pa.record_batch(rows), kind.schema, "x")
    assert drop_invalid(batch, kind.schema, kind.time, rejected)["tweet_id"].to_pylist() == ["1"]
    assert rejected == {f"`{name}` is not UTF-8": 1 for name in ("tweet_id", "text", "hashtags")}
