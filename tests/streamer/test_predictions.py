"""Every record, however it was put together, is the contract's."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.events import Prediction, PredictionColumns
from streamer.pair_writer import texts, warm_up
from streamer.predictions import PredictionEncoder, ScoredTweet
from streamer.settings import PredictionSettings
from streamer.stage import Block
from tests.streamer.blocks import read

FINGERPRINT = "0123456789abcdef"
ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40) | st.sampled_from(
    ['"', "\\", "a\nb", "\0", "ü", "😀", "}{", "a:b", "%", "1:2:3"]
)
heads = st.permutations(["retweet", "like", "reply", "quote"]).flatmap(
    lambda order: st.integers(1, 4).map(lambda n: ["retweet", *[h for h in order if h != "retweet"]][:n])
)
chances = st.floats(0, 1, width=32)


def encoder(names: list[str]) -> PredictionEncoder:
    return PredictionEncoder(PredictionSettings(), names, FINGERPRINT)


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    warm_up()  # compiling is not a test's time


def pairs(
    made: PredictionEncoder,
    tweets: list[ScoredTweet],
    index: list[int],
    users: list[tuple[str, bool]],
    values: Any,
    scored_at: int = 5,
) -> list[bytes]:
    """The values of the pairs' records, whose keys are the users' ids."""
    bodies = made.pairs(
        made.prefixes(tweets, scored_at),
        np.array(index, np.intp),
        np.asarray(values, np.float32),
        texts([user.encode() for user, _ in users]),
        texts([made.user_part(*user) for user in users]),
        np.arange(len(users)),
        np.zeros(len(users), np.int64),
        1_000,
    )
    records = [record for body in bodies for record in read(Block("", *body, scored_at))]
    assert [record.key.decode() for record in records] == [user for user, _ in users]
    return [record.value for record in records]


@given(st.data())
def test_pairs(data: st.DataObject) -> None:
    names = data.draw(heads.flatmap(st.permutations))
    tweets = data.draw(
        st.lists(st.builds(ScoredTweet, ids, ids, st.integers(0, 4 * 10**12)), min_size=1, max_size=3)
    )
    asked = data.draw(st.lists(st.tuples(st.integers(0, len(tweets) - 1), ids, st.booleans()), max_size=6))
    values = np.array(
        [data.draw(st.lists(chances, min_size=len(names), max_size=len(names))) for _ in asked], np.float32
    ).reshape(-1, len(names))
    users = [(user, cold) for _, user, cold in asked]
    records = pairs(encoder(names), tweets, [tweet for tweet, _, _ in asked], users, values)
    for record, (place, user, cold), row in zip(records, asked, values, strict=True):
        found = msgspec.json.decode(record, type=Prediction)
        tweet = tweets[place]
        assert (found.tweet_id, found.user_id, found.author_id) == (tweet.tweet_id, user, tweet.author_id)
        assert (found.cold, found.created_at, found.scored_at) == (cold, tweet.created_at, 5)
        assert found.model == FINGERPRINT
        for head in ("retweet", "like", "reply", "quote"):
            value = getattr(found, head)
            if head in names:
                assert value == pytest.approx(row[names.index(head)], rel=1e-4, abs=1e-15)
            else:
                assert value is None


@given(st.tuples(ids, ids), st.tuples(ids, ids))
def test_an_id_says_tweet_and_user(one: tuple[str, str], other: tuple[str, str]) -> None:
    made = encoder(["retweet"])

    def identity(tweet: str, user: str) -> str:
        (record,) = pairs(made, [ScoredTweet(tweet, "a", 0)], [0], [(user, False)], [[0.0]])
        return msgspec.json.decode(record, type=Prediction).id

    assert (identity(*one) == identity(*other)) == (one == other)


def test_a_plain_record_as_it_leaves() -> None:
    made = encoder(["retweet", "like"])
    assert pairs(made, [ScoredTweet("7", "9", 1)], [0], [("42", True)], [[0.012345678, 1.0]], 2) == [
        b'{"tweet_id":"7","author_id":"9","model":"0123456789abcdef","created_at":1,"scored_at":2,'
        b'"id":"7:42:01234567","user_id":"42","cold":true,"retweet":0.012346,"like":1.0}'
    ]


def test_numbers_are_short() -> None:
    """Five digits a number: with the 17 of a float, records would be half as long again."""
    made = encoder(["retweet"])
    tens = np.logspace(-14, 0, 15, dtype=np.float32)
    round_ = np.concatenate([tens, np.nextafter(tens, np.float32(0)), tens * np.float32(0.999996), tens / 2])
    drawn = np.maximum(np.random.default_rng(0).random(20_000).astype(np.float32) ** 4, 1e-12)
    small = np.array([1e-15, 1e-17, 1e-30, 1e-44, 0], np.float32)
    values = np.concatenate([drawn, round_, small]).astype(np.float32)[:, None]
    records = pairs(made, [ScoredTweet("1", "1", 1)], [0] * len(values), [("1", False)] * len(values), values)
    digits = [record.rpartition(b'"retweet":')[2][:-1] for record in records]
    assert max(len(d.replace(b"0.", b"").replace(b".", b"").lstrip(b"0")) for d in digits) == 5
    assert all(re.fullmatch(rb"0\.0*[1-9]|0\.0*[1-9]\d{0,3}[1-9]|[01]\.0", number) for number in digits)
    numbers, wanted = list(map(float, digits)), [float(f"{value:.5g}") for value in values[:, 0].tolist()]
    assert numbers[: -len(small)] == wanted[: -len(small)]
    np.testing.assert_allclose(numbers[-len(small) :], wanted[-len(small) :], atol=1e-19)


class TestColumns:
    @given(st.lists(st.tuples(st.integers(0, 2), ids, st.booleans(), chances), max_size=8))
    def test_round_trip(self, pairs: list[tuple[int, str, bool, float]]) -> None:
        pairs = sorted(pairs, key=lambda pair: pair[0])
        tweets = [ScoredTweet(f"t{i}", "a:", i) for i in range(3)]
        index = np.array([pair[0] for pair in pairs], np.intp)
        users = np.array([pair[1] for pair in pairs], object)
        cold = np.array([pair[2] for pair in pairs], np.bool_)
        values = np.array([pair[3] for pair in pairs], np.float32).reshape(-1, 1)
        records = list(encoder(["retweet"]).columns(tweets, index, values, users, cold, 9))
        found: list[Any] = []
        for key, value in records:
            columns = msgspec.json.decode(value, type=PredictionColumns)
            assert key == columns.tweet_id.encode()
            assert columns.like is None
            place = int(columns.tweet_id[1:])
            assert columns.created_at == place
            found += [
                (place, user, is_cold, pytest.approx(chance, rel=1e-4, abs=1e-15))
                for user, is_cold, chance in zip(columns.users, columns.cold, columns.retweet, strict=True)
            ]
        assert found == pairs

    @pytest.mark.parametrize("character", ["0", "😀", "\x01"])
    def test_a_record_stays_below_the_brokers_limit(self, character: str) -> None:
        n = 10_000
        users = np.array([character * 124 + f"{i:04d}" for i in range(n)], object)
        values = np.random.default_rng(0).random((n, 4)).astype(np.float32)
        made = encoder(["retweet", "like", "reply", "quote"])
        index, cold = np.zeros(n, np.intp), np.zeros(n, np.bool_)
        records = list(made.columns([ScoredTweet("1", "2", 3)], index, values, users, cold, 4))
        assert max(len(value) for _, value in records) < 900_000
        columns = [msgspec.json.decode(value, type=PredictionColumns) for _, value in records]
        assert sum(len(c.users) for c in columns) == n
        assert len({c.id for c in columns}) == len(columns)


class TestSelection:
    values = np.array([[0.1], [0.9], [0.5], [0.5], [0.2], [0.3]], np.float32)
    index = np.array([0, 0, 0, 1, 1, 1], np.intp)

    def chosen(self, **settings: float) -> list[int]:
        made = PredictionEncoder(PredictionSettings(**settings), ["retweet"], FINGERPRINT)  # type: ignore[arg-type]
        chosen: list[int] = made.selected(self.index, self.values).tolist()
        return chosen

    def test_all(self) -> None:
        assert self.chosen() == [0, 1, 2, 3, 4, 5]

    def test_filters(self) -> None:
        assert self.chosen(min_probability=0.3) == [1, 2, 3, 5]
        assert self.chosen(top_k=1) == [1, 3]
        assert self.chosen(top_k=2, min_probability=0.4) == [1, 2, 3]
        assert self.chosen(min_probability=1.0, top_k=1) == []
        assert self.chosen(top_k=100) == [0, 1, 2, 3, 4, 5]
