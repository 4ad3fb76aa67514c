"""What every store promises, whatever it is kept in."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from models.events import Action, Engagement, Follow, Profile, User
from models.state import affinity, taste
from models.state.authors import decayed_counts
from models.state.keys import id_key
from models.state.stores import AUTHOR_FIELDS, FOLLOWED_BACK, FOLLOWS, Pair, Stores
from models.state.transitions import (
    apply_engagements,
    apply_follows,
    apply_profiles,
    apply_tastes,
)
from models.state.tweet import TweetRecord
from models.state.user import UserState

#: Ids that a naive key scheme, protocol or encoding would trip over.
AWKWARD = ["1", "user:2", "a b", "ünïcødé", "{tag}", "new\nline", "nul\0", '"quoted"', "x" * 128]


def record(author: str = "7", at: int = 1_600_000_000_000, fill: float = 0.5) -> TweetRecord:
    return TweetRecord(author, at, ("8", "ü"), np.full(4, fill, np.float16))


class TestTweets:
    def test_returned_in_the_order_asked(self, stores: Stores) -> None:
        assert stores.tweets.put_new({1: record("a"), 2: record("b")}) == [True, True]
        found = stores.tweets.get_many([2, 3, 1, 2])
        assert [r and r.author_id for r in found] == ["b", None, "a", "b"]
        assert found[0] is not None
        assert found[0].mentions == ("8", "ü")
        assert found[0].vector.tolist() == [0.5] * 4

    def test_the_first_one_stays(self, stores: Stores) -> None:
        stores.tweets.put_new({1: record(fill=1.0)})
        assert stores.tweets.put_new({1: record(fill=2.0), 2: record()}) == [False, True]
        found = stores.tweets.get_many([1])[0]
        assert found is not None
        assert found.vector[0] == 1.0

    def test_keys_of_both_kinds(self, stores: Stores) -> None:
        keys = [id_key(name) for name in AWKWARD]
        stores.tweets.put_new({key: record(name) for key, name in zip(keys, AWKWARD, strict=True)})
        assert [r and r.author_id for r in stores.tweets.get_many(keys)] == AWKWARD
        stores.tweets.keep(keys)
        assert None not in stores.tweets.get_many(keys)

    def test_nothing_asked_nothing_done(self, stores: Stores) -> None:
        assert stores.tweets.get_many([]) == []
        assert stores.tweets.put_new({}) == []
        stores.tweets.keep([])


class TestIntake:
    def test_a_tweet_is_there_or_ours_or_somebody_else_s(self, stores: Stores) -> None:
        stores.tweets.put_new({1: record("a")})
        first, second = stores.intake.look([1, 2, 3], 60), stores.intake.look([3, 4, 1], 60)
        assert [r and r.author_id for r in first.records] == ["a", None, None]
        assert first.ours == [False, True, True]
        assert [r and r.author_id for r in second.records] == [None, None, "a"]
        assert second.ours == [False, True, False]

    def test_a_record_counts_more_than_a_claim(self, stores: Stores) -> None:
        key = id_key(AWKWARD[0])
        assert stores.intake.look([key], 60).ours == [True]
        stores.tweets.put_new({key: record("a")})
        found = stores.intake.look([key], 60)
        assert (found.records[0] is not None, found.ours) == (True, [False])

    def test_what_is_stored_counts_once(self, stores: Stores) -> None:
        at = record().created_at
        stores.tweets.put_new({3: record("c")})  # by somebody else
        assert stores.intake.put({1: record("a"), 2: record("ü"), 3: record("c"), 4: record("a")}) == [
            True,
            True,
            False,
            True,
        ]
        assert stores.intake.put({1: record("b"), 2: record("ü")}) == [False, False]
        assert stores.intake.put({}) == []
        assert [r and r.author_id for r in stores.tweets.get_many([1, 2, 3, 4])] == ["a", "ü", "c", "a"]
        tweets = decayed_counts(stores.authors.get_many(["a", "ü", "c", "b"]), at // 1000)[:, 0]
        assert tweets.tolist() == pytest.approx([2, 1, 0, 0], abs=1e-6)

    def test_authors_and_users_come_along(self, stores: Stores) -> None:
        state = UserState()
        state.set_profile(User(user_id="u", followers=7))
        stores.users.put_many({"u": state})
        stores.authors.add([("a", "tweets", 2.0), ("ü", "like", 1.0)])
        found = stores.intake.look([1], 60, ["ü", "nobody", "a"], ["u", "nobody"])
        assert np.array_equal(found.sums, stores.authors.get_many(["ü", "nobody", "a"]))
        assert found.sums[2, AUTHOR_FIELDS.index("tweets")] == 2.0
        known, unknown = found.states
        assert known is not None
        assert known.to_bytes() == state.to_bytes()
        assert unknown is None

    def test_nothing_asked_nothing_done(self, stores: Stores) -> None:
        found = stores.intake.look([], 1)
        assert (found.records, found.ours, found.sums.shape) == ([], [], (0, len(AUTHOR_FIELDS)))
        assert found.states == []


class TestUsers:
    def test_round_trip(self, stores: Stores) -> None:
        state = UserState()
        state.set_profile(Profile(followers=3, description="likes tests"))
        state.engage(5, 6, "retweet", 1_600_000_000)
        stores.users.put_many(dict.fromkeys(AWKWARD, state))
        found = stores.users.get_many([*AWKWARD, "nobody"])
        assert found[-1] is None
        assert all(f is not None and f.to_bytes() == state.to_bytes() for f in found[:-1])

    def test_a_copy_is_the_callers_own(self, stores: Stores) -> None:
        stores.users.put_many({"1": UserState()})
        first, second = stores.users.get_many(["1", "1"])
        assert first is not None
        assert second is not None
        first.engage(1, 2, "like", 3)
        assert len(second.items) == 0
        third = stores.users.get_many(["1"])[0]
        assert third is not None
        assert len(third.items) == 0

    def test_vectors(self, stores: Stores) -> None:
        stores.vectors.put_many({name: name.encode() for name in AWKWARD})
        stores.vectors.put_many({"1": b"\0new"})
        stores.vectors.put_many({})
        assert stores.vectors.get_many(["1", "nobody", *AWKWARD[1:]]) == [
            b"\0new",
            None,
            *(name.encode() for name in AWKWARD[1:]),
        ]

    def test_tastes(self, stores: Stores) -> None:
        stores.tastes.put_many({name: name.encode() for name in AWKWARD})
        stores.tastes.put_many({"1": b"\0new"})
        stores.tastes.put_many({})
        assert stores.tastes.get_many(["1", "nobody", AWKWARD[1]]) == [b"\0new", None, AWKWARD[1].encode()]
        assert stores.tastes.get_many([]) == []


class TestAudiences:
    def test_bits_are_set_and_cleared_one_by_one(self, stores: Stores) -> None:
        pair = Pair("a", 0, "u")
        stores.audiences.change([(pair, FOLLOWS, True), (pair, FOLLOWED_BACK, True), (pair, FOLLOWS, False)])
        assert stores.audiences.bits([pair, Pair("a", 0, "v"), Pair("b", 0, "u")]).tolist() == [
            FOLLOWED_BACK,
            0,
            0,
        ]
        stores.audiences.change([(pair, FOLLOWED_BACK, False), (pair, FOLLOWED_BACK, False)])
        assert stores.audiences.get([("a", 0)])[0][0] == []
        assert stores.audiences.sizes([("a", 0)]).tolist() == [0]

    def test_shards_and_authors_are_apart(self, stores: Stores) -> None:
        pairs = [Pair(author, shard, f"{author}{shard}") for author in AWKWARD for shard in (0, 1)]
        stores.audiences.change((pair, FOLLOWS, True) for pair in pairs)
        found = stores.audiences.get([(pair.author_id, pair.shard) for pair in pairs])
        assert [users for users, _ in found] == [[pair.user_id] for pair in pairs]
        assert all(bits.tolist() == [FOLLOWS] and bits.dtype == np.uint8 for _, bits in found)

    def test_awkward_followers(self, stores: Stores) -> None:
        stores.audiences.change((Pair("a", 3, user), FOLLOWS, True) for user in AWKWARD)
        users, bits = stores.audiences.get([("a", 3)])[0]
        assert sorted(users) == sorted(AWKWARD)
        assert bits.tolist() == [FOLLOWS] * len(AWKWARD)

    def test_a_large_audience_comes_whole_by_either_way(self, stores: Stores) -> None:
        users = [f"u{i}" for i in range(20_000)]
        stores.audiences.change((Pair("star", 0, user), 1 + i % 2, True) for i, user in enumerate(users))
        assert stores.audiences.sizes([("star", 0), ("star", 1)]).tolist() == [20_000, 0]
        expected = {user: 1 + i % 2 for i, user in enumerate(users)}
        found, bits = stores.audiences.get([("star", 0)])[0]
        assert dict(zip(found, bits.tolist(), strict=True)) == expected
        parts = list(stores.audiences.scan("star", 0))
        assert len(parts) > 1
        assert {u: int(b) for ids, bits in parts for u, b in zip(ids, bits, strict=True)} == expected

    def test_scan_of_nothing(self, stores: Stores) -> None:
        assert [len(users) for users, _ in stores.audiences.scan("nobody", 0)] in ([], [0])

    def test_nothing_asked(self, stores: Stores) -> None:
        assert stores.audiences.get([]) == []
        assert len(stores.audiences.bits([])) == 0
        assert len(stores.audiences.sizes([])) == 0
        stores.audiences.change([])


class TestAffinities:
    def test_round_trip_by_pair_and_by_author(self, stores: Stores) -> None:
        records = {}
        for i, user in enumerate(AWKWARD):
            records[Pair("a", 1, user)] = mine = affinity.empty()
            affinity.engaged(mine, "retweet", 1_600_000_000 + i, i)
        stores.affinities.put_many(records)
        users, found = stores.affinities.get([("a", 1), ("a", 0)])[0]
        assert dict(zip(users, found["newest"].tolist(), strict=True)) == {
            user: 1_600_000_000 + i for i, user in enumerate(AWKWARD)
        }
        two = stores.affinities.get_many([Pair("a", 0, "1"), Pair("a", 1, "1")])
        assert not any(two[:1].tobytes())
        assert two[1:].tobytes() == records[Pair("a", 1, "1")].tobytes()
        two["total"] = 99  # the caller's own copy
        assert stores.affinities.get_many([Pair("a", 1, "1")])["total"].tolist() == [1]

    def test_nothing(self, stores: Stores) -> None:
        stores.affinities.put_many({})
        assert stores.affinities.get_many([]).shape == (0,)
        users, found = stores.affinities.get([("nobody", 0)])[0]
        assert users == []
        assert found.shape == (0,)
        assert found.dtype == affinity.AFFINITY


class TestAuthors:
    def test_sums_add_up_over_the_whole_range_of_times(self, stores: Stores) -> None:
        large, small = 2.0**122 * 1.1, 2.0**-200
        stores.authors.add([("a", "like", large), ("a", "like", large), ("b", "tweets", small)])
        stores.authors.add([("a", "like", large), ("a", "impression", 1.5)])
        found = stores.authors.get_many(["b", "a", "nobody"])
        assert found.dtype == np.float64
        like = AUTHOR_FIELDS.index("like")
        assert found[1, like] == pytest.approx(3 * large, rel=1e-12)
        assert found[1, AUTHOR_FIELDS.index("impression")] == 1.5
        assert found[0, 0] == pytest.approx(small, abs=1e-15)
        assert not found[2].any()
        assert stores.authors.get_many([]).shape == (0, len(AUTHOR_FIELDS))


class TestTransitions:
    """Events twice, or in two orders, leave the stores as they would once."""

    at = 1_600_000_000_000

    def test_follow_from_both_ends(self, stores: Stores) -> None:
        follow = Follow(follower_id="u", author_id="a", action="follow", at=self.at)
        apply_follows(stores, [follow, follow], lambda user: 5 if user == "u" else 6)
        assert stores.audiences.bits([Pair("a", 5, "u"), Pair("u", 6, "a")]).tolist() == [
            FOLLOWS,
            FOLLOWED_BACK,
        ]

    def test_engagement_delivered_again(self, stores: Stores) -> None:
        stores.intake.put({11: record("a")})
        batch = [
            Engagement(user_id="u", tweet_id="11", action="retweet", at=self.at),
            Engagement(user_id="u", tweet_id="11", action="like", at=self.at + 1000),
        ]
        first, news = apply_engagements(stores, batch, lambda _: 0)
        sums = stores.authors.get_many(["a"])
        again, old = apply_engagements(stores, batch, lambda _: 0)
        # Redelivered means that whoever applied it first may have died before computing the user's vector.
        assert again.keys() == first.keys()
        assert again["u"].to_bytes() == first["u"].to_bytes()
        assert stores.authors.get_many(["a"]).tolist() == sums.tolist()
        assert [event.action for event, _ in news] == ["retweet", "like"]
        assert not old

    def test_tastes_add_up_over_batches(self, stores: Stores) -> None:
        stores.intake.put({11: record("a"), 12: record("b")})

        def tastes_of(terms: NDArray[np.uint16]) -> NDArray[np.float32]:
            return np.full((len(terms), 2), 0.5, np.float32)

        done: list[tuple[str, Action]] = [("11", "like"), ("12", "retweet"), ("404", "like")]
        for tweet_id, action in [*done, ("11", "impression")]:
            event = Engagement(user_id="u", tweet_id=tweet_id, action=action, at=self.at)
            apply_tastes(stores, apply_engagements(stores, [event], lambda _: 0).news, 2, tastes_of)
        found = taste.decode(stores.tastes.get_many(["u", "nobody"]), 2)
        # A tweet that nobody knows has no words.
        assert found["counts"].tolist() == [[2, 1], [0, 0]]
        assert found["sums"][0].tolist() == [[1, 1], [0.5, 0.5]]

    def test_profile_then_engagement_keeps_both(self, stores: Stores) -> None:
        apply_profiles(stores, [User(user_id="u", followers=4), User(user_id="u", followers=5)])
        apply_engagements(
            stores, [Engagement(user_id="u", tweet_id="404", action="like", at=self.at)], lambda _: 0
        )
        state = stores.users.get_many(["u"])[0]
        assert state is not None
        assert state.stats["followers"][0] == 5
        assert state.items["author"].tolist() == [0]
