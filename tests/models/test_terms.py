from __future__ import annotations

import numpy as np
import pytest

from models.histories import reader_terms, snapshots
from models.state.tweet import TERMS
from models.state.user import UserState
from models.text import terms
from models.text.terms import learn_weights, terms_of

TEXTS = ["the vote on #budget", "the game", "the vote", "the @speaker", "the weather", "the song"]
WEIGHTS = learn_weights(TEXTS)


def test_common_words_say_nothing_and_rare_ones_come_first() -> None:
    found = terms_of(["the vote on #budget", "THE", "budget #budget http://t.co/x"], WEIGHTS)
    assert found.shape == (3, TERMS)
    budget = found[0, 1]
    assert np.count_nonzero(found[0]) == 2  # "on" and "#budget"; a third of the texts have "vote"
    assert not found[1].any()
    assert set(found[2, :2].tolist()) > {int(budget)}  # "budget" is another word, links are none
    assert not found[2, 2:].any()
    assert np.count_nonzero(terms_of([" ".join(f"w{i}" for i in range(99))], WEIGHTS)) == TERMS


def test_an_unseen_word_weighs_most() -> None:
    (row,) = terms_of(["game unseen"], WEIGHTS)
    assert WEIGHTS[row[0]] == pytest.approx(np.log(7))
    assert WEIGHTS[row[1]] == pytest.approx(np.log(7 / 2))


def test_a_text_has_its_terms_whatever_it_comes_with() -> None:
    texts = [f"{'w' * (1 + i % 40)}{i} game {i % 7}" for i in range(600)]
    weights = learn_weights(texts)
    assert np.array_equal(terms_of(texts, weights), np.concatenate([terms_of([t], weights) for t in texts]))
    assert np.count_nonzero(terms_of(texts, weights).any(1)) == 600


def test_long_words_are_not_remembered() -> None:
    before = terms._known_bucket.cache_info().currsize
    (row,) = terms_of(["u" * 33], WEIGHTS)
    assert row[0]
    assert terms._known_bucket.cache_info().currsize == before
    terms_of(["u" * 32], WEIGHTS)
    assert terms._known_bucket.cache_info().currsize == before + 1


def test_what_a_reader_hid_is_no_interest() -> None:
    state = UserState()
    for at, (key, action) in enumerate([(1, "retweet"), (2, "hide"), (3, "like")], start=100):
        state.engage(key, 7, action, at)
    found = reader_terms(snapshots([state]), np.ones((1, 5, 2), np.uint16))
    assert found[0, :, 0].tolist() == [1, 0, 1, 0, 0]
