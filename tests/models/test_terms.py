from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.histories import reader_terms, snapshots
from models.state.tweet import TERMS
from models.state.user import UserState
from models.text.terms import BUCKETS, COVERAGE, coverage, learn_weights, terms_of

TEXTS = ["the vote on #budget", "the game", "the vote", "the @speaker", "the weather", "the song"]
WEIGHTS = learn_weights(TEXTS)


def test_common_words_say_nothing_and_rare_ones_come_first() -> None:
    terms = terms_of(["the vote on #budget", "THE", "budget #budget http://t.co/x"], WEIGHTS)
    assert terms.shape == (3, TERMS)
    budget = terms[0, 1]
    assert np.count_nonzero(terms[0]) == 2  # "on" and "#budget"; a third of the texts have "vote"
    assert not terms[1].any()
    assert set(terms[2, :2].tolist()) > {int(budget)}  # "budget" is another word, links are none
    assert not terms[2, 2:].any()
    assert np.count_nonzero(terms_of([" ".join(f"w{i}" for i in range(99))], WEIGHTS)) == TERMS


def test_an_unseen_word_weighs_most() -> None:
    (row,) = terms_of(["game unseen"], WEIGHTS)
    assert WEIGHTS[row[0]] == pytest.approx(np.log(7))
    assert WEIGHTS[row[1]] == pytest.approx(np.log(7 / 2))


@given(st.lists(st.lists(st.integers(0, 9), max_size=6), min_size=1, max_size=5), st.data())
def test_coverage_is_what_it_says(tweets: list[list[int]], data: st.DataObject) -> None:
    weights = np.linspace(0, 16_384, BUCKETS, dtype=np.float32)
    terms = np.zeros((len(tweets), TERMS), np.uint16)
    for row, tweet in zip(terms, tweets, strict=True):
        kept = [term for term in dict.fromkeys(tweet) if term]
        row[: len(kept)] = kept
    readers = np.array(
        [data.draw(st.lists(st.integers(0, 9), min_size=16, max_size=16)) for _ in tweets], np.uint16
    )
    found = coverage(terms, readers, weights)
    assert found.shape == (len(tweets), len(COVERAGE))
    for row, own, reader in zip(found, terms, readers.tolist(), strict=True):
        pairs = [(float(weights[t]), reader.count(t)) for t in own.tolist() if t]
        total = sum(w**2 for w, _ in pairs) + 1e-6
        wanted = [
            sum(w**2 for w, n in pairs if n) / total,
            sum(w**2 * np.log1p(n) for w, n in pairs) / total,
            max((w * np.log1p(n) for w, n in pairs), default=0.0),
            sum(w**2 for w, n in pairs if n > 1) / total,
        ]
        assert row.tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-6)


def test_what_a_reader_hid_is_no_interest() -> None:
    state = UserState()
    for at, (key, action) in enumerate([(1, "retweet"), (2, "hide"), (3, "like")], start=100):
        state.engage(key, 7, action, at)
    found = reader_terms(snapshots([state]), np.ones((1, 5, 2), np.uint16))
    assert found[0, :, 0].tolist() == [1, 0, 1, 0, 0]
