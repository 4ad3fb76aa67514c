from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.baselines.encodings import Encodings, earlier

DAY = 86_400_000


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 4 * DAY), st.booleans(), st.integers(1, 3)), min_size=1
    )
)
def test_only_what_was_known_a_day_before_counts(rows: list[tuple[int, int, bool, int]]) -> None:
    rows.sort(key=lambda row: row[1])
    key, at, labels, weights = (np.array(column) for column in zip(*rows, strict=True))
    keys = [key.astype(np.uint64)] * 3
    found = earlier(keys, labels, weights.astype(np.float64), at, base=0.25)
    for i in range(len(rows)):
        seen = (key == key[i]) & (at <= at[i] - DAY)
        expected = (weights[seen & labels].sum() + 20 * 0.25) / (weights[seen].sum() + 20)
        assert found[i] == pytest.approx([expected] * 3)


def test_later_exposures_get_all_that_was_counted() -> None:
    keys = [np.array([7, 7, 9], np.uint64)] * 3
    encodings = Encodings.fit(keys, np.array([True, False, False]), np.array([1.0, 1.0, 2.0]))
    assert encodings.base == 0.25
    found = encodings.columns([np.array([9, 7, 8], np.uint64)] * 3)
    assert found[:, 0] == pytest.approx([5 / 22, 6 / 22, 0.25])
