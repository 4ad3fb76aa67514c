from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.state.tweet import TERMS
from models.state.vector import SKETCH
from models.text.coverage import COVERAGE, asked, coverage, sketch
from models.text.tastes import no_tastes
from models.text.terms import BUCKETS

WEIGHTS = np.linspace(0, 16_384, BUCKETS, dtype=np.float32)
NO_TASTES = no_tastes(0)
tweet = st.lists(st.integers(1, BUCKETS - 1), max_size=6, unique=True)


def rows(tweets: list[list[int]], width: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint16]]:
    """Terms, the heaviest first."""
    out = np.zeros((len(tweets), width), np.uint16)
    for row, terms in zip(out, tweets, strict=True):
        row[: len(terms)] = sorted(terms, reverse=True)
    return out


@settings(deadline=None)  # the first call compiles
@given(st.lists(tweet, min_size=1, max_size=4), st.lists(tweet, min_size=1, max_size=4), st.data())
def test_coverage_is_what_it_says(
    asks: list[list[int]], history: list[list[int]], data: st.DataObject
) -> None:
    # Words that the history has, else coverage would hardly ever be above 0.
    common = st.lists(
        st.sampled_from(sorted({1, *list(chain.from_iterable(history))})), max_size=6, unique=True
    )
    asks = [data.draw(common) for _ in asks]
    sketches = sketch(rows(history, 8)[None])
    assert sketches.shape == (1, SKETCH)
    pairs = np.arange(len(asks)), np.zeros(len(asks), np.intp)
    found = coverage(asked(rows(asks, TERMS), WEIGHTS, NO_TASTES), pairs[0], sketches, pairs[1])
    assert found.shape == (len(asks), len(COVERAGE))
    said = list(chain.from_iterable(history))
    for row, own in zip(found, asks, strict=True):
        known = [(float(WEIGHTS[t]), said.count(t)) for t in own]
        logs = {n: np.log1p(n if n < 3 else 3.5 if n < 5 else 8.0) for n in range(9)}
        total = sum(w**2 for w, _ in known) + 1e-6
        wanted = [
            sum(w**2 for w, n in known if n) / total,
            sum(w**2 for w, n in known if n > 1) / total,
            sum(w**2 * logs[n] for w, n in known) / total,
            max((w * logs[n] for w, n in known), default=0.0),
        ]
        # A filter may say too much, never too little.
        assert all(got >= want * (1 - 1e-4) - 1e-6 for got, want in zip(row.tolist(), wanted, strict=True))


def test_a_full_history_lets_few_strangers_pass() -> None:
    rng = np.random.default_rng(0)
    known = rng.choice(np.arange(1, BUCKETS), (32, 6), replace=False).astype(np.uint16)
    strangers = np.setdiff1d(np.arange(1, BUCKETS), known)[:4096, None]
    found = coverage(
        asked(rows(strangers.tolist(), TERMS), WEIGHTS, NO_TASTES),
        np.arange(len(strangers)),
        sketch(known[None]),
        np.zeros(len(strangers), np.intp),
    )
    assert 0.005 < found[:, 0].mean() < 0.06
    assert found[:, 1].max() == 0


def test_an_empty_history_knows_nothing() -> None:
    found = coverage(
        asked(rows([[5, 9]], TERMS), WEIGHTS, NO_TASTES),
        np.zeros(1, np.intp),
        sketch(np.zeros((1, 0, 8), np.uint16)),
        np.zeros(1, np.intp),
    )
    assert found.tolist() == [[0, 0, 0, 0]]


def test_what_is_repeated_is_told_from_what_is_seen() -> None:
    terms = rows([[7, 8], [7, 9]], 8)[None]
    found = coverage(
        asked(rows([[7], [8]], TERMS), WEIGHTS, NO_TASTES), np.arange(2), sketch(terms), np.zeros(2, np.intp)
    )
    assert found[:, 0] == pytest.approx([1, 1], rel=1e-2)
    assert found[:, 1] == pytest.approx([1, 0], rel=1e-2)
