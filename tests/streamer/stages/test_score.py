"""Requests become predictions: all of them, bounded, and as the settings say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest

from models.events import Engagement, Follow, ScoreRequest, Tweet
from models.state.stores import FOLLOWED_BACK, FOLLOWS, Pair
from models.state.tweet import TweetRecord
from streamer.partitions import partition_of
from streamer.sharding import split
from streamer.stage import Batch, Begun, Block, Group
from streamer.stages import parts, score
from tests.streamer.blocks import read
from tests.streamer.stages.rig import T0, FakeRecord, MemoryBackend, Rig


def put_tweet(backend: MemoryBackend, tweet_id: int, author: str = "a", seed: int = 0) -> None:
    values = np.random.default_rng(seed or tweet_id).normal(size=backend.model.dimensions)
    record = TweetRecord(author, T0, (), values.astype(np.float16))
    backend.stores.tweets.put_new({tweet_id: record})


def follow(backend: MemoryBackend, author: str, *users: str, bits: int = FOLLOWS) -> None:
    shards = [partition_of(user.encode(), 4) for user in users]
    backend.stores.audiences.change(
        (Pair(author, shard, user), bits, True) for user, shard in zip(users, shards, strict=True)
    )


def ask(rig: Rig, *, at: int = T0, **fields: Any) -> None:
    rig.publish("score-requests", ScoreRequest(**fields), at=at)


def test_users_by_name(rig: Rig, backend: MemoryBackend) -> None:
    put_tweet(backend, 1)
    put_tweet(backend, 2)
    ask(rig, tweet_ids=["1", "2", "1"], user_ids=["u", "v", "a", "u"])
    rig.run()
    assert len(rig.records("predictions")) == 6  # no doubles; the author may be asked about, by name
    found = rig.predictions()
    assert found.keys() == {(t, u) for t in "12" for u in "uva"}
    assert all(p.cold for p in found.values())
    assert all(p.model == backend.model.fingerprint and p.created_at == T0 for p in found.values())
    assert rig.origins == [T0, T0]
    assert {record.timestamp for record in rig.records("predictions")} == {
        p.scored_at for p in found.values()
    }


def test_followers_only_and_not_the_author(rig: Rig, backend: MemoryBackend) -> None:
    put_tweet(backend, 1)
    follow(backend, "a", "u", "v", "a")
    follow(backend, "a", "w", bits=FOLLOWED_BACK)  # the author follows w, not the other way round
    for shard in range(4):
        ask(rig, tweet_ids=["1"], shard=shard)
    rig.run()
    assert {user for _, user in rig.predictions()} == {"u", "v"}


def test_an_author_without_followers_and_a_shard_too_many(rig: Rig, backend: MemoryBackend) -> None:
    put_tweet(backend, 1)
    ask(rig, tweet_ids=["1"], shard=0)
    ask(rig, tweet_ids=["1"], shard=4)
    rig.run()
    assert rig.predictions() == {}
    assert [reason for reason, _, _ in rig.dead_letters()] == ["bad_value"]


def test_all_that_waits_is_answered_in_one_call(rig: Rig, backend: MemoryBackend) -> None:
    """Requests of every partition share one call, and each goes to its own."""
    put_tweet(backend, 1)
    users = [f"u{i}" for i in range(40)]
    follow(backend, "a", *users)
    batches = [
        Batch("score-requests", shard, [FakeRecord(msgspec.json.encode(request))])
        for shard in range(4)
        for request in (ScoreRequest(tweet_ids=["1"], shard=shard), ScoreRequest(tweet_ids=["1"], shard=9))
    ]
    (outputs,) = rig.process_all("score", batches)
    assert rig.predictions().keys() == {("1", user) for user in users}
    assert sorted(g.partition for g in outputs.groups if isinstance(g, Block)) == [0, 1, 2, 3]
    assert [headers["partition"] for _, _, headers in rig.dead_letters()] == ["0", "1", "2", "3"]


class TestBounds:
    """Whatever is asked, one call does a bounded part of it and nothing is left out."""

    @pytest.fixture(autouse=True)
    def small(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(score, "MOST_USERS", 10)
        monkeypatch.setattr(score, "PART", 25)
        monkeypatch.setattr(parts, "PART", 25)
        monkeypatch.setattr(score, "_PIECE", 8)
        monkeypatch.setattr(score, "_LARGE", 8)

    def test_many_requests(self, rig: Rig, backend: MemoryBackend) -> None:
        users = [f"u{i}" for i in range(8)]
        for i in range(1, 9):
            put_tweet(backend, i)
            ask(rig, tweet_ids=[str(i)], user_ids=users)
        done = rig.process("score", "score-requests", 0, rig.log["score-requests", 0])
        counts = [[g.count for g in o.groups if isinstance(g, Block)] for o in done]
        assert [sum(numbers) for numbers in counts] == [24, 24, 16]
        assert len(rig.predictions()) == 64

    def test_one_request_for_many_tweets(self, rig: Rig, backend: MemoryBackend) -> None:
        for i in range(1, 9):
            put_tweet(backend, i)
        ask(rig, tweet_ids=[str(i) for i in range(1, 9)], user_ids=[f"u{i}" for i in range(8)])
        rig.run()
        assert len(rig.predictions()) == len(rig.records("predictions")) == 64

    def test_what_is_handed_over_for_many_readers_goes_to_the_topic(
        self, rig: Rig, backend: MemoryBackend
    ) -> None:
        users = [f"u{i}" for i in range(9)]
        put_tweet(backend, 1)
        asked = [
            ScoreRequest(tweet_ids=["1"], user_ids=users, at=7),
            ScoreRequest(tweet_ids=["1"], user_ids=users[:8]),
        ]
        records = [FakeRecord(msgspec.json.encode(request), b"0", timestamp=5) for request in asked]
        outputs = rig.stages["score"].process([Batch("score-requests", 0, records, handed=True)])
        assert outputs.rest == {}
        assert sum(group.count for group in outputs.groups if isinstance(group, Block)) == 8
        (back,) = (group for group in outputs.groups if isinstance(group, Group))
        assert (back.topic, back.partition, back.timestamp, back.keys) == ("score-requests", 0, 5, [b"0"])
        assert msgspec.json.decode(back.values[0] or b"", type=ScoreRequest) == asked[0]

    def test_a_large_audience_lets_others_pass(
        self, rig: Rig, backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Piece by piece, one in each call, beside whatever else there is."""

        def scan(author: str, shard: int) -> Iterator[Any]:
            ((users, bits),) = backend.stores.audiences.get([(author, shard)])
            yield from ((users[start : start + 8], bits[start : start + 8]) for start in range(0, 100, 8))

        monkeypatch.setattr(backend.stores.audiences, "scan", scan)
        users = [f"u{i}" for i in range(100)]
        put_tweet(backend, 1, "star")
        follow(backend, "star", *users, "star")
        put_tweet(backend, 2, "b")
        follow(backend, "b", "u1")
        shard = partition_of(b"u1", 4)
        asked = [ScoreRequest(tweet_ids=tweets, shard=shard) for tweets in (["1", "2"], ["1"], ["2"])]
        records = [FakeRecord(msgspec.json.encode(request), timestamp=T0) for request in asked]
        done = rig.process("score", "score-requests", 0, records)
        counts = [sum(g.count for g in outputs.groups if isinstance(g, Block)) for outputs in done]
        mine = [u for u in users if partition_of(u.encode(), 4) == shard]
        answered = [r for g in done[0].groups if isinstance(g, Block) for r in read(g)]
        assert any(b'"tweet_id":"2","author_id":"b"' in (r.value or b"") for r in answered)
        assert len(done) > 6
        assert max(counts) <= 8 + 1
        assert sum(counts) == 2 * len(mine) + 2
        assert rig.predictions().keys() == {("1", user) for user in mine} | {("2", "u1")}
        assert len(rig.origins) == sum(count > 0 for count in counts) + 1
        # What is left of both stays away a while, so that half of the time is free.
        assert done[1].later.keys() == {0}
        assert all(0 < seconds < 10 for outputs in done for seconds in outputs.later.values())

    def test_a_large_audience_is_begun(self, rig: Rig, backend: MemoryBackend) -> None:
        """Half of a tweet's readers are not left out because it has aged meanwhile."""
        put_tweet(backend, 1)
        ask(rig, tweet_ids=["1"], user_ids=[f"u{i}" for i in range(30)])
        outputs = rig.stages["score"].process([Batch("score-requests", 0, rig.log["score-requests", 0])])
        assert isinstance(outputs.rest[0][0], Begun)

    def test_a_large_audience_alone_has_all_the_time(self, rig: Rig, backend: MemoryBackend) -> None:
        put_tweet(backend, 1)
        ask(rig, tweet_ids=["1"], user_ids=[f"u{i}" for i in range(30)])
        done = rig.process("score", "score-requests", 0, rig.log["score-requests", 0])
        assert len(done) == 5
        assert not any(outputs.later for outputs in done)

    def test_many_users_by_name(self, rig: Rig, backend: MemoryBackend) -> None:
        put_tweet(backend, 1)
        users = [f"u{i}" for i in range(30)]
        ask(rig, tweet_ids=["1"], user_ids=users)
        done = rig.process("score", "score-requests", 0, rig.log["score-requests", 0])
        assert len(rig.records("predictions")) == 30
        assert rig.predictions().keys() == {("1", user) for user in users}
        assert len(done) == 5  # 8, 8, 8, 6, and one to find that there is no more


def test_a_hundred_thousand_followers(rig: Rig, backend: MemoryBackend) -> None:
    users = [f"u{i}" for i in range(100_000)]
    put_tweet(backend, 1)
    parts = split(users, 4)
    backend.stores.audiences.change(
        (Pair("a", shard, user), FOLLOWS, True) for shard, part in parts.items() for user in part
    )
    for shard in range(4):
        ask(rig, tweet_ids=["1"], shard=shard)
    rig.run()
    records = rig.records("predictions")
    assert len(records) == 100_000
    assert {record.key for record in records} == {user.encode() for user in users}


def test_a_probability_that_is_not_finite_is_a_dead_letter(rig: Rig, backend: MemoryBackend) -> None:
    put_tweet(backend, 1)
    broken = TweetRecord("a", T0, (), np.full(backend.model.dimensions, np.nan, np.float16))
    backend.stores.tweets.put_new({2: broken})
    ask(rig, tweet_ids=["1", "2"], user_ids=["u", "v"])
    rig.run()
    assert rig.predictions().keys() == {("1", "u"), ("1", "v")}
    assert [reason for reason, _, _ in rig.dead_letters()] == ["not_finite"]


def test_a_changed_user_is_scored_anew(rig: Rig, backend: MemoryBackend) -> None:
    put_tweet(backend, 1)
    rig.publish("follows", Follow(follower_id="u", author_id="a", action="follow", at=T0))
    ask(rig, tweet_ids=["1"], user_ids=["u"])
    rig.run()
    before = rig.predictions()["1", "u"]
    rig.publish("engagements", Engagement(user_id="u", tweet_id="1", action="retweet", at=T0))
    rig.run()
    ask(rig, tweet_ids=["1"], user_ids=["u"])
    rig.run()
    after = rig.predictions()["1", "u"]
    assert before.cold
    assert not after.cold
    heads = ("retweet", "like", "reply", "quote")
    assert max(abs(getattr(after, head) - getattr(before, head)) for head in heads) > 1e-3
    assert after.id == before.id


class TestWhatIsKeptAtHand:
    """Audiences, affinities and histories are read once, and again when they changed."""

    def scored(self, rig: Rig, tweet_id: str) -> dict[str, float]:
        for shard in range(4):
            ask(rig, tweet_ids=[tweet_id], shard=shard)
        rig.run()
        return {user: p.retweet for (tweet, user), p in rig.predictions().items() if tweet == tweet_id}

    def test_nothing_is_read_twice(
        self, rig: Rig, backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put_tweet(backend, 1)
        follow(backend, "a", "u", "v")
        first = self.scored(rig, "1")
        for store in ("tweets", "users", "vectors"):
            monkeypatch.setattr(getattr(backend.stores, store), "get_many", lambda keys: [None][: len(keys)])
        monkeypatch.setattr(backend.stores.audiences, "get", None)
        nobody = lambda places: np.zeros(len(places), np.int64)  # noqa: E731
        monkeypatch.setattr(backend.stores.audiences, "sizes", nobody)
        monkeypatch.setattr(backend.stores.affinities, "get", None)
        assert self.scored(rig, "1") == first

    def test_follows(self, rig: Rig, backend: MemoryBackend) -> None:
        put_tweet(backend, 1)
        put_tweet(backend, 2)
        follow(backend, "a", "u")
        assert self.scored(rig, "1").keys() == {"u"}
        rig.publish("follows", Follow(follower_id="v", author_id="a", action="follow", at=T0))
        rig.publish("follows", Follow(follower_id="u", author_id="a", action="unfollow", at=T0))
        rig.run()
        assert self.scored(rig, "2").keys() == {"v"}

    def test_engagements_of_reader_and_of_author(self, rig: Rig, backend: MemoryBackend) -> None:
        """As if nothing had been kept."""
        for i in range(1, 5):
            put_tweet(backend, i)
        put_tweet(backend, 9, "u")
        follow(backend, "a", "u", "v")
        before = self.scored(rig, "1")
        for user, tweet in (("u", "1"), ("a", "9")):
            event = Engagement(user_id=user, tweet_id=tweet, action="retweet", at=T0)
            rig.publish("engagements", event)
            rig.run()
            put_again = self.scored(rig, "1")
            fresh = Rig(rig.settings, backend)
            fresh.open()
            assert put_again == self.scored(fresh, "1")
            assert put_again["u"] != before["u"]
            assert put_again["v"] == before["v"]
            before = put_again

    def test_no_memory_for_it(self, rig: Rig, backend: MemoryBackend) -> None:
        put_tweet(backend, 1)
        follow(backend, "a", *(f"u{i}" for i in range(20)))
        stage = rig.stages["score"]
        assert isinstance(stage, score.ScoreStage)
        stage._audiences._most = 3_000
        assert len(self.scored(rig, "1")) == len(self.scored(rig, "1")) == 20
        assert len(stage._audiences._held) < 4

    def test_a_gap_in_the_notices(
        self, rig: Rig, backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        put_tweet(backend, 1)
        follow(backend, "a", "u")
        assert self.scored(rig, "1").keys() == {"u"}
        follow(backend, "a", "v")
        monkeypatch.setattr(backend.notices, "poll", lambda: None)
        assert self.scored(rig, "1").keys() == {"u", "v"}


def test_the_time_of_the_features(rig: Rig, backend: MemoryBackend) -> None:
    """By default the tweet's own, so that a redelivered request gives the same; else what `at` says."""
    put_tweet(backend, 1)
    rig.publish("engagements", Engagement(user_id="u", tweet_id="1", action="retweet", at=T0))
    rig.run()
    chances = []
    for at in (None, T0, T0 + 40 * 86_400_000):
        rig.publish("score-requests", ScoreRequest(tweet_ids=["1"], user_ids=["u"], at=at))
        rig.run()
        chances.append(rig.predictions()["1", "u"].retweet)
    assert chances[0] == chances[1]
    assert abs(chances[2] - chances[0]) > 1e-4


def test_a_bad_record_among_good_ones(rig: Rig, backend: MemoryBackend) -> None:
    put_tweet(backend, 1)
    good = msgspec.json.encode(ScoreRequest(tweet_ids=["1"], user_ids=["u"]))
    records = [FakeRecord(good), FakeRecord(b"{", offset=1), FakeRecord(good, offset=2)]
    outputs = rig.stages["score"].process([Batch("score-requests", 0, records)])
    assert sorted(group.topic for group in outputs.groups) == ["dead-letters", "predictions"]
    assert sum(g.count for g in outputs.groups if isinstance(g, Block)) == 2


def test_a_field_of_somebody_elses_is_ignored(rig: Rig, backend: MemoryBackend) -> None:
    put_tweet(backend, 1)
    rig.publish("score-requests", b'{"tweet_ids":["1"],"user_ids":["u"],"request_id":"r"}')
    rig.run()
    assert rig.predictions().keys() == {("1", "u")}


def test_an_audience_that_comes_with_the_tweet(rig: Rig) -> None:
    rig.publish("tweets", Tweet(tweet_id="1", author_id="a", created_at=T0, text="x", audience=["u"]))
    rig.run()
    assert rig.predictions().keys() == {("1", "u")}
