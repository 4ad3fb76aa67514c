from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamer.text_rows import TextRows

_puts = st.lists(st.dictionaries(st.integers(0, 9), st.binary(max_size=20_000), min_size=1), max_size=12)


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    TextRows(1)  # compiling is not a test's time


@given(_puts)
def test_the_last_put_counts(puts: list[dict[int, bytes]]) -> None:
    rows, expected = TextRows(10), dict.fromkeys(range(10), b"")
    for put in puts:
        rows.put(np.array(list(put), np.intp), list(put.values()))
        expected |= put
        assert rows.at(np.arange(10)) == list(expected.values())
        buffer, starts, lengths = rows.texts
        read = [buffer[s : s + n].tobytes() for s, n in zip(starts, lengths, strict=True)]
        assert read == list(expected.values())


def test_garbage_does_not_pile_up() -> None:
    rows, slots = TextRows(10), np.arange(10)
    for _ in range(1_000):
        rows.put(slots, [b"x" * 1_000] * 10)
    assert len(rows.texts.buffer) < 100_000


def test_making_room_takes_little_more() -> None:
    """The new buffer, and nothing for each byte of it."""
    rows, slots = TextRows(20_000), np.arange(20_000)
    rows.put(slots, [b"x" * 100] * 20_000)
    more = [b"y" * 100] * 10_000
    size = len(rows.texts.buffer)
    tracemalloc.start()
    try:
        for _ in range(10):
            rows.put(slots[:10_000], more)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == len(rows.texts.buffer)
    assert peak < 3 * size
