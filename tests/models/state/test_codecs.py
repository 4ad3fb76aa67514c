"""What is packed comes back, and what is torn or foreign is refused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.events import Profile
from models.state import affinity
from models.state.affinity import AFFINITY
from models.state.authors import decayed_counts, increment
from models.state.decay import ACTIONS, DAY
from models.state.keys import id_key, key_name, short_key, word_buckets
from models.state.tweet import MAX_MENTIONS, TERMS, TweetRecord
from models.state.user import HISTORY, UserState
from models.state.vector import decode, habits_of, vector_dtype

ids = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=128)
seconds = st.integers(1, 4_102_444_800)
events = st.lists(
    st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1), st.sampled_from(ACTIONS), seconds),
    max_size=HISTORY + 10,
)


def state_of(happened: Sequence[tuple[int, int, str, int]], profile: Profile | None = None) -> UserState:
    state = UserState()
    if profile is not None:
        state.set_profile(profile)
    for event in happened:
        state.engage(*event)
    return state


class TestTweets:
    @given(
        author=ids,
        created_at=st.integers(0, 4_102_444_800_000),
        mentions=st.lists(ids, max_size=MAX_MENTIONS),
        vector=arrays.arrays(np.float16, st.integers(0, 80), elements=st.floats(width=16)),
        retweet=st.booleans(),
    )
    def test_round_trip(
        self, author: str, created_at: int, mentions: list[str], vector: Any, retweet: bool
    ) -> None:
        terms = np.arange(TERMS, dtype=np.uint16) + len(vector)
        record = TweetRecord(author, created_at, tuple(mentions), vector, terms, retweet)
        data = record.to_bytes()
        again = TweetRecord.from_bytes(data)
        assert (again.author_id, again.created_at, again.mentions) == (author, created_at, tuple(mentions))
        assert again.retweet is retweet
        assert again.vector.tobytes() == vector.astype("<f2").tobytes()
        assert again.terms.tolist() == terms.tolist()
        assert again.to_bytes() == data

    @given(st.data())
    def test_torn(self, data: st.DataObject) -> None:
        whole = TweetRecord("author", 1, ("ü", "b"), np.ones(4, np.float16)).to_bytes()
        cut = data.draw(st.integers(0, len(whole) - 1))
        with pytest.raises(ValueError):
            TweetRecord.from_bytes(whole[:cut])
        with pytest.raises(ValueError):
            TweetRecord.from_bytes(whole + b"\0")

    def test_another_version(self) -> None:
        data = bytearray(TweetRecord("a", 1, (), np.ones(4, np.float16)).to_bytes())
        data[0] += 1
        with pytest.raises(ValueError, match="another version"):
            TweetRecord.from_bytes(bytes(data))

    def test_spam_keeps_the_first_mentions(self) -> None:
        record = TweetRecord("a", 1, tuple(f"m{i}" for i in range(500)), np.ones(1, np.float16))
        assert TweetRecord.from_bytes(record.to_bytes()).mentions == record.mentions[:MAX_MENTIONS]

    def test_size(self) -> None:
        record = TweetRecord("1234567890", 1, (), np.ones(64, np.float16))
        assert len(record.to_bytes()) == 13 + 12 + 128 + 32


class TestUsers:
    @given(happened=events, followers=st.integers(0, 2**53))
    def test_round_trip(self, happened: list[tuple[int, int, str, int]], followers: int) -> None:
        state = state_of(happened, Profile(followers=followers, description="a b c"))
        data = state.to_bytes()
        again = UserState.from_bytes(data)
        assert again.to_bytes() == data
        assert len(again.items) <= HISTORY
        assert again.items["at"].tolist() == sorted(again.items["at"].tolist())
        profile = again.profile()
        assert profile is not None
        assert profile.followers == min(followers, 2**32 - 1)

    @given(happened=events)
    def test_events_again_change_no_history(self, happened: list[tuple[int, int, str, int]]) -> None:
        state = state_of(happened[:HISTORY])
        before = state.items.tobytes()
        for event in happened[:HISTORY]:
            state.engage(*event)
        assert state.items.tobytes() == before

    @given(happened=events, seed=st.randoms(use_true_random=False))
    def test_any_order_gives_the_same_counts(
        self, happened: list[tuple[int, int, str, int]], seed: object
    ) -> None:
        # Each its own tweet and second, few enough to be remembered: order does decide ties.
        distinct = [(i, 1, action, 1_600_000_000 + 1000 * i) for i, (_, _, action, _) in enumerate(happened)]
        distinct = distinct[:HISTORY]
        shuffled = list(distinct)
        seed.shuffle(shuffled)  # type: ignore[attr-defined]
        one, other = state_of(distinct), state_of(shuffled)
        assert one.items.tobytes() == other.items.tobytes()
        for field in ("counts", "burst"):
            assert one.stats[field] == pytest.approx(other.stats[field], rel=1e-4)
        for field in ("newest", "last_positive", "total"):
            assert one.stats[field] == other.stats[field]

    def test_profile_comes_and_goes(self) -> None:
        profile = Profile(
            followers=1, following=2, verified=True, created_at=1_234_567_891_234, interests=["x"]
        )
        state = state_of([(1, 2, "like", 3)], profile)
        assert state.profile() == Profile(
            followers=1, following=2, verified=True, created_at=1_234_567_891_000
        )
        state.clear_profile()
        assert state.profile() is None
        assert state.to_bytes() == state_of([(1, 2, "like", 3)]).to_bytes()

    @pytest.mark.parametrize("data", [b"", b"\2" + bytes(300), b"\1", UserState().to_bytes() + b"\0"])
    def test_torn_or_foreign(self, data: bytes) -> None:
        with pytest.raises(ValueError):
            UserState.from_bytes(data)


class TestVectors:
    def test_round_trip_of_many(self) -> None:
        dtype = vector_dtype(8, 3, 4, 2)
        records = np.zeros(5, dtype)
        records["vector"] = np.arange(40).reshape(5, 8)
        records["habits"] = habits_of(np.concatenate([state_of([(1, 2, "like", 3)]).stats] * 5))
        assert decode([record.tobytes() for record in records], dtype).tobytes() == records.tobytes()
        assert decode([], dtype).shape == (0,)

    def test_of_another_shape(self) -> None:
        with pytest.raises(ValueError, match="another shape"):
            decode([np.zeros(1, vector_dtype(8, 3, 4, 2)).tobytes()], vector_dtype(8, 3, 4, 3))


class TestAffinities:
    @given(
        happened=st.lists(st.tuples(st.sampled_from(ACTIONS), seconds, st.integers(0, 2**64)), max_size=20)
    )
    def test_round_trip(self, happened: list[tuple[str, int, int]]) -> None:
        record = affinity.empty()
        counted = [event[1] for event in happened if affinity.engaged(record, *event)]
        assert affinity.decode([record.tobytes()]).tobytes() == record.tobytes()
        assert record["newest"][0] == max(counted, default=0)

    def test_the_last_two_events_are_recognised(self) -> None:
        record = affinity.empty()
        assert affinity.engaged(record, "like", 10, 1)
        assert affinity.engaged(record, "retweet", 11, 2)
        once = record.tobytes()
        assert not affinity.engaged(record, "like", 10, 1)
        assert not affinity.engaged(record, "retweet", 11, 2)
        assert record.tobytes() == once
        assert record["total"][0] == 1

    def test_of_another_version(self) -> None:
        with pytest.raises(ValueError, match="another version"):
            affinity.decode([bytes(AFFINITY.itemsize + 1)])


class TestKeys:
    @given(ids)
    def test_names_are_plain_and_tell_keys_apart(self, identifier: str) -> None:
        key = id_key(identifier)
        assert 0 <= key < 2**64
        name = key_name(key)
        assert name.isascii()
        assert name.isalnum()
        assert (name == identifier) == (key < 2**63)
        assert 0 < short_key(identifier) < 2**32

    @given(st.integers(0, 2**63 - 1))
    def test_snowflakes_are_their_own_keys(self, value: int) -> None:
        assert id_key(str(value)) == value

    @pytest.mark.parametrize("identifier", ["007", "٣", "²", "-1", "1_0", str(2**63), "1" * 128])
    def test_all_but_canonical_numbers_are_hashed(self, identifier: str) -> None:
        assert id_key(identifier) >= 2**63

    @given(st.lists(st.text(max_size=5), max_size=60))
    def test_words(self, words: list[str]) -> None:
        buckets = word_buckets(words, 64, 12)
        assert buckets.shape == (12,)
        filled = np.flatnonzero(buckets)
        assert filled.tolist() == list(range(min(12, len(set(words[:48])))))
        assert buckets.max() < 64


@given(st.lists(st.integers(1_142_899_200, 4_102_444_800), min_size=1, max_size=20))
def test_author_sums_decay_as_plain_counts_would(times: list[int]) -> None:
    now = max(times)
    sums = np.array([[sum(increment(at) for at in times)]])
    wanted = sum(2.0 ** (-(now - at) / (60 * DAY)) for at in times)
    assert decayed_counts(sums, now)[0, 0] == pytest.approx(wanted, rel=1e-5)
