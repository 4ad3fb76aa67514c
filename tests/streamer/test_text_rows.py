from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamer.text_rows import TextRows

_puts = st.lists(st.dictionaries(st.integers(0, 9), st.binary(max_size=20_000), min_size=1), max_size=12)


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
