"""Tastes: words whose readers are the same are near each other, and readers lean to what they engage with."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from models.state.taste import remember, taste_dtype
from models.state.user import WORD_BUCKETS, WORDS
from models.text.learn_leanings import learn_leanings
from models.text.learn_tastes import learn_tastes
from models.text.likeness import codes, likeness
from models.text.tastes import Tastes
from models.text.terms import BUCKETS
from tests.models.tiny import random_tastes

WEIGHTS = np.ones(BUCKETS, np.float32)
WEIGHTS[0] = 0
#: Six tweets of a term each: no two words stand in one tweet. Term 9 is in none.
TERMS = np.array([[1, 0], [2, 0], [3, 0], [4, 0], [5, 0], [6, 0]], np.uint16)


def learned(
    reader: list[int], tweet: list[int], width: int = 1, profiles: Mapping[int, int] | None = None
) -> Tastes:
    """`profiles` are of one word each, by reader."""
    words = {name: profile(word)[0] for name, word in (profiles or {}).items()}
    return learn_tastes(TERMS, WEIGHTS, np.array(reader), np.array(tweet), words, width, seed=0)


def profile(word: int) -> NDArray[np.uint16]:
    return np.array([[word] + [0] * (WORDS - 1)], np.uint16)


def two_camps(profiles: Mapping[int, int] | None = None) -> Tastes:
    """Readers 0 to 11 care for words 1, 2, 3; readers 12 to 23 for 4, 5, 6."""
    reader = np.repeat(np.arange(24), 3 * 10)
    tweet = np.concatenate([np.tile([0, 1, 2], 12 * 10), np.tile([3, 4, 5], 12 * 10)])
    tweet[::10] = 5 - tweet[::10]  # but for one time in ten
    return learned(reader.tolist(), tweet.tolist(), profiles=profiles)


def reader_of(tastes: Tastes, *tweets: int) -> NDArray[np.void]:
    out = np.zeros(1, taste_dtype(len(tastes.center)))
    for vector in tastes.of_tweets(TERMS[list(tweets)]):
        remember(out, vector, "like", 1_600_000_000)
    return out


def test_readers_bring_words_together_that_no_tweet_does() -> None:
    tastes = two_camps()
    found = tastes.of_tweets(np.array([*TERMS, [9, 0], [0, 0]], np.uint16))[:, 0]
    assert np.ptp(found[:3]) < 0.1 * abs(found[0])
    assert np.ptp(found[3:6]) < 0.1 * abs(found[0])
    assert found[0] * found[3] < 0
    assert abs(found[6]) < 0.2 * abs(found[0])  # nobody engaged with it: it lies between the camps
    assert found[7] == 0
    assert tastes.spread[0] > 1


def test_a_reader_leans_to_the_own_camp_the_more_the_more_is_known() -> None:
    tastes = two_camps()
    little, much = reader_of(tastes, 0), reader_of(tastes, *[0, 1] * 20)
    nobody = np.zeros_like(little)
    leanings = tastes.leanings(np.concatenate([nobody, little, much]), profile(0).repeat(3, 0))
    own, others = tastes.of_tweets(TERMS[[2, 5]])
    products = leanings @ own
    assert products[0] == 0 < products[1] < products[2]
    assert leanings[2] @ others < 0
    readers = np.arange(3)
    found = likeness(np.stack([own]), np.zeros(3, np.intp), codes(leanings), readers)
    np.testing.assert_allclose(found[:, 0], products, rtol=0.05)
    np.testing.assert_allclose(found[:, 1], [0, 1, 1], atol=1e-4)


def test_a_reader_leans_as_the_profile_says_until_engagements_say_otherwise() -> None:
    tastes = two_camps({reader: 100 if reader < 12 else 200 for reader in range(24)})
    own, others = tastes.of_tweets(TERMS[[2, 5]])
    nobody, little, much = reader_of(tastes), reader_of(tastes, 0), reader_of(tastes, *[0, 1] * 200)
    assert tastes.leanings(nobody, profile(100))[0] @ own > 0
    assert tastes.leanings(nobody, profile(200))[0] @ others > 0
    assert not tastes.leanings(nobody, profile(300)).any()  # a word that nobody had
    of_the_others = np.concatenate(
        [tastes.leanings(reader, profile(200)) for reader in (nobody, little, much)]
    )
    products = of_the_others @ own
    assert products[0] < products[1] < 0 < products[2]
    # What profiles say, readers do not differ by.
    assert tastes.spread[0] < two_camps().spread[0]


@pytest.mark.parametrize(
    "profiles",
    [
        {reader: 100 + reader % 2 for reader in range(24)},  # both camps have either word
        {reader: 100 if reader < 9 else 0 for reader in range(24)},  # nine readers tell who they are
        {},
    ],
)
def test_profiles_that_tell_nothing_change_nothing(profiles: Mapping[int, int]) -> None:
    plain, told = two_camps(), two_camps(profiles)
    assert not told.words.any()
    assert told.spread.tobytes() == plain.spread.tobytes()


def test_words_tell_nothing_where_readers_do_not_differ() -> None:
    tastes = random_tastes(2)._replace(words=np.zeros((WORD_BUCKETS, 2), np.float32))
    words, count = profile(100).repeat(20, 0), np.full(20, 5)
    found = learn_leanings(tastes, words, np.zeros((20, 2)), count)
    assert not found.words.any()
    assert found.spread.tobytes() == tastes.spread.tobytes()


def test_too_few_readers_to_learn_from() -> None:
    for tastes in (learned([], []), learned([5, 5], [0, 1]), learned([5, 6], [0, 0])):
        assert all(np.isfinite(part).all() for part in tastes)
    assert not learned([5, 5], [0, 1]).terms.any()
    # A word of a few readers tells who they are, not what they care for.
    assert not learned([1, 2, 3] * 5, [0, 1, 2] * 5).terms.any()
    some = learned([*range(10), *range(10)], [0] * 10 + [1] * 10, width=16)
    assert some.terms[:, :9].any()
    assert not some.terms[:, 9:].any()


def test_a_tweets_vector_does_not_depend_on_its_neighbours_or_on_padding() -> None:
    tastes = random_tastes(3)
    terms = np.array([[7, 8, 0, 0], [0, 0, 0, 0], [9, 0, 0, 0]], np.uint16)
    together = tastes.of_tweets(terms)
    assert together[1].tolist() == [0, 0, 0]
    wanted = (tastes.terms[7] + tastes.terms[8]) / np.sqrt(2) - tastes.center
    np.testing.assert_allclose(together[0], wanted, rtol=1e-5)
    for i in range(3):
        assert tastes.of_tweets(terms[i : i + 1, :2])[0].tobytes() == together[i].tobytes()
