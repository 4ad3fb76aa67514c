from __future__ import annotations

import numpy as np
import pytest

from models.histories import reader_terms, snapshots
from models.state.tweet import TERMS
from models.state.user import UserState
from models.text.terms import learn_weights, terms_of

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


def test_what_a_reader_hid_is_no_interest() -> None:
    state = UserState()
    for at, (key, action) in enumerate([(1, "retweet"), (2, "hide"), (3, "like")], start=100):
        state.engage(key, 7, action, at)
    found = reader_terms(snapshots([state]), np.ones((1, 5, 2), np.uint16))
    assert found[0, :, 0].tolist() == [1, 0, 1, 0, 0]
