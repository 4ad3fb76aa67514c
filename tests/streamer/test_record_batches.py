"""What is written in Kafka's format is read by others, whatever its sizes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.pair_writer import texts, warm_up, write
from streamer.record_batches import RecordBatch, bodies
from streamer.stage import Block
from tests.streamer.blocks import read

_strings = st.lists(st.binary(max_size=300), min_size=1, max_size=5)


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    warm_up()  # compiling is not a test's time


def _places(strings: list[bytes]) -> st.SearchStrategy[int]:
    return st.integers(0, len(strings) - 1)


def blocks(*args: Any, partitions: Sequence[int] = ()) -> list[Block]:
    """`write` as blocks, of one partition unless they are named."""
    *columns, limit = args
    where = np.array(partitions or [3] * len(columns[-1]), np.int64)
    made: list[tuple[int, memoryview, int]] = write(*columns, where, limit)  # type: ignore[call-arg]
    return [Block("predictions", *part, 1_700_000_000_000) for part in made]


@given(_strings, _strings, st.data())
def test_records_of_any_size(tweets: list[bytes], users: list[bytes], data: st.DataObject) -> None:
    pairs = data.draw(
        st.lists(
            st.tuples(_places(tweets), _places(users), st.floats(0, 1, width=32)),
            max_size=40,
        )
    )
    limit = data.draw(st.integers(1, 2_000))
    partitions = sorted(data.draw(st.lists(st.integers(0, 9), min_size=len(pairs), max_size=len(pairs))))
    keys = [b"k" + user for user in users]
    labels = texts([b"", b"}"])
    chances = np.array([chance for _, _, chance in pairs], np.float32).reshape(-1, 1)
    index = [np.array([pair[place] for pair in pairs], np.intp) for place in (0, 1)]
    columns = (texts(tweets), texts(keys), texts(users), labels, *index, chances)
    made = blocks(*columns, limit, partitions=partitions)
    assert all(len(block.buffer) <= limit or block.count == 1 for block in made)
    records = [record for block in made for record in read(block)]
    assert [block.partition for block in made for _ in range(block.count)] == partitions
    assert [record.key for record in records] == [keys[user] for _, user, _ in pairs]
    for record, (tweet, user, chance) in zip(records, pairs, strict=True):
        front = tweets[tweet] + users[user]
        assert record.value.startswith(front)
        assert record.value.endswith(b"}")
        number = json.loads(record.value[len(front) : -1])
        assert number == pytest.approx(chance, rel=1e-4, abs=1e-19)


@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_compression(compression: str) -> None:
    same, index = texts([b"x" * 200]), np.zeros(100, np.intp)
    one, *_ = blocks(same, same, same, texts([b"", b""]), index, index, np.zeros((100, 1), np.float32), 10**6)
    assert (RecordBatch(one, compression).size() < len(one.buffer) / 10) == (compression != "none")
    assert {record.value for record in read(one, compression)} == {b"x" * 400 + b"0.0"}


def test_what_compression_does_not_shrink_leaves_as_it_is() -> None:
    noise = texts([np.random.default_rng(0).bytes(1_000)])
    zero = np.zeros(1, np.intp)
    (one,) = blocks(
        noise, noise, texts([b""]), texts([b"", b""]), zero, zero, np.zeros((1, 1), np.float32), 1
    )
    assert RecordBatch(one, "gzip").size() <= len(one.buffer)
    assert len(read(one, "gzip")) == 1


def test_a_batch_takes_no_more() -> None:
    empty = texts([b""])
    zero = np.zeros(1, np.intp)
    (one,) = blocks(empty, empty, empty, texts([b"", b"0"]), zero, zero, np.ones((1, 1), np.float32), 100)
    batch = RecordBatch(one, "none")
    assert batch.closed()
    assert batch.append(timestamp=1, key=b"", value=b"") is None  # type: ignore[func-returns-value]
    built = batch._build()
    assert batch._build() is built  # sent again as it was


_field = st.none() | st.binary(max_size=300)
_headers = st.lists(st.tuples(st.text(max_size=5), st.binary(max_size=20)), max_size=3)


@given(st.lists(st.tuples(_field, _field), max_size=40), _headers, st.integers(1, 2_000))
def test_keys_and_values(
    pairs: list[tuple[bytes | None, bytes | None]], headers: list[tuple[str, bytes]], limit: int
) -> None:
    made = [Block("t", 0, *body, 1_234) for body in bodies(pairs, 1_234, headers, limit)]
    assert all(len(block.buffer) <= limit or block.count == 1 for block in made)
    records = [record for block in made for record in read(block, "lz4")]
    assert [(record.key, record.value) for record in records] == pairs
    assert all(list(record.headers) == headers for record in records)
