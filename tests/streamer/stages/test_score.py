"""Requests become predictions: all of them, bounded, and as the settings say."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest

from models.events import MAX_TIME_MS, Engagement, Follow, Prediction, PredictionColumns, ScoreRequest, Tweet
from models.serving import ServingModel
from models.state.stores import FOLLOWED_BACK, FOLLOWS, Pair
from models.state.tweet import TweetRecord
from streamer.partitions import partition_of
from streamer.settings import PredictionSettings, Settings
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


class Clock:
    """Time that a test tells."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_700_000_000.0 + self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The stage's."""
    clock = Clock()
    monkeypatch.setattr(score, "time", clock)
    return clock


def request(tweet_ids: list[str], at: int, **fields: Any) -> FakeRecord:
    """A record that asks for user u."""
    asked = ScoreRequest(tweet_ids=tweet_ids, user_ids=["u"], **fields)
    return FakeRecord(msgspec.json.encode(asked), timestamp=at)


class TestUnknownTweets:
    def test_wait_in_the_topic_until_they_come(self, rig: Rig, backend: MemoryBackend) -> None:
        put_tweet(backend, 1)
        now = int(time.time() * 1000)
        ask(rig, tweet_ids=["1", "2"], user_ids=["u"], at=now)
        (record,) = rig.log["score-requests", 0]
        record.headers = [("attempts", b"2")]
        rig.process("score", "score-requests", 0, [record])
        assert rig.predictions().keys() == {("1", "u")}
        back = rig.log["score-requests", 0][-1]
        assert back is not record
        assert (back.key, back.timestamp, list(back.headers)) == (record.key, now, list(record.headers))
        request = msgspec.json.decode(back.value or b"", type=ScoreRequest)
        assert (request.tweet_ids, request.user_ids) == (["2"], ["u"])
        assert request.deadline == now + 10_000  # as the record's time says, however often it goes round

        (away, sent) = rig.process("score", "score-requests", 0, [back])
        assert not away.groups
        assert away.later.keys() == {0}
        assert [group.topic for group in sent.groups] == ["score-requests"]
        assert backend.waited == []
        put_tweet(backend, 2)
        rig.run()
        assert rig.predictions().keys() == {("1", "u"), ("2", "u")}
        assert rig.dead_letters() == []

    def test_wait_in_several_requests_where_one_would_be_too_large(self, rig: Rig, clock: Clock) -> None:
        """The broker took it compressed; what goes back is not."""
        users = [f"{i:0128}" for i in range(20_000)]
        asked = msgspec.json.encode(ScoreRequest(tweet_ids=["1"], user_ids=users))
        records: Sequence[Any] = [FakeRecord(asked, timestamp=int(clock.time() * 1000))]
        outputs = rig.stages["score"].process([Batch("score-requests", 0, records)])
        clock.now += 1.0
        outputs = rig.stages["score"].process([Batch("score-requests", 0, outputs.rest[0])])
        back = [
            value or b"" for group in outputs.groups if isinstance(group, Group) for value in group.values
        ]
        assert max(map(len, back)) < 1_000_000
        requests = [msgspec.json.decode(value, type=ScoreRequest) for value in back]
        assert [user for request in requests for user in request.user_ids or []] == users

    def test_do_not_wait_with_a_key_that_is_too_large(self, rig: Rig) -> None:
        ask(rig, tweet_ids=["1"], shard=0, at=int(time.time() * 1000))
        (record,) = rig.log["score-requests", 0]
        record.key = b"k" * 3_000_000
        rig.process("score", "score-requests", 0, [record])
        assert [reason for reason, _, _ in rig.dead_letters()] == ["too_large"]
        assert len(rig.log["score-requests", 0]) == 1

    def test_stay_away_for_a_share_of_their_age(self, rig: Rig, backend: MemoryBackend, clock: Clock) -> None:
        """Nothing is written meanwhile, and what else is in their batch does not wait."""
        put_tweet(backend, 1)
        for age, away in ((0, 0.03), (2_000, 0.5), (8_000, 1.0)):
            stage, now = rig.stages["score"], int(clock.time() * 1000)
            batch = Batch("score-requests", 0, [request(["7"], now - age), request(["1"], now)])
            outputs = stage.process([batch])
            assert [group.topic for group in outputs.groups] == ["predictions"]
            assert outputs.later == {0: pytest.approx(away)}
            assert list(outputs.rest) == [0]
            # Not alone, it comes back too early.
            clock.now += away / 2
            more = Batch("score-requests", 0, [*outputs.rest[0], request(["1"], now)])
            outputs = stage.process([more])
            assert [group.topic for group in outputs.groups] == ["predictions"]
            assert outputs.later == {0: pytest.approx(away / 2)}
            clock.now += away / 2 + 0.001
            outputs = stage.process([Batch("score-requests", 0, outputs.rest[0])])
            assert [group.topic for group in outputs.groups] == ["score-requests"]
            assert not outputs.rest

    def test_are_answered_when_they_come_meanwhile(
        self, rig: Rig, backend: MemoryBackend, clock: Clock
    ) -> None:
        stage = rig.stages["score"]
        outputs = stage.process([Batch("score-requests", 0, [request(["1"], int(clock.time() * 1000))])])
        put_tweet(backend, 1)
        clock.now += 0.1
        outputs = stage.process([Batch("score-requests", 0, outputs.rest[0])])
        assert [group.topic for group in outputs.groups] == ["predictions"]

    def test_do_not_hold_up_too_many_batches(self, rig: Rig, backend: MemoryBackend, clock: Clock) -> None:
        """The worker has room for few that are not done."""
        stage, now = rig.stages["score"], int(clock.time() * 1000)
        batches = [Batch("score-requests", place, [request(["7"], now)] * 2) for place in range(6)]
        outputs = stage.process(batches)
        assert {place: len(rest) for place, rest in outputs.rest.items()} == dict.fromkeys(range(4), 2)
        assert outputs.later.keys() == {0, 1, 2, 3}
        assert [(g.partition, len(g.values)) for g in outputs.groups if isinstance(g, Group)] == [
            (4, 2),
            (5, 2),
        ]
        assert backend.waited == [0.03]  # they come back at once: no spinning
        clock.now += 0.1
        outputs = stage.process(batches)
        assert len(outputs.rest) == 4

    def test_that_never_come_are_written_seldom_and_not_for_ever(self, rig: Rig, clock: Clock) -> None:
        """Whatever the deadline."""
        begun, written = int(clock.time() * 1000), 0
        records: Sequence[Any] = [request(["7"], begun, deadline=MAX_TIME_MS)]
        while True:
            outputs = rig.stages["score"].process([Batch("score-requests", 0, records)])
            groups = [group for group in outputs.groups if isinstance(group, Group)]
            clock.now += 0.001 + max(outputs.later.values(), default=0)
            if [group.topic for group in groups] == ["dead-letters"]:
                break
            if groups:
                assert groups[0].timestamp == begun
                written += 1
            records = outputs.rest.get(0) or [FakeRecord(v, timestamp=begun) for v in groups[0].values]
            assert clock.time() * 1000 < begun + 100_000
        assert 59_000 < clock.time() * 1000 - begun < 62_000
        assert written < 80

    def test_are_dead_letters_after_the_deadline(self, rig: Rig, backend: MemoryBackend) -> None:
        now = int(time.time() * 1000)
        ask(rig, tweet_ids=["7"], user_ids=["u"], at=now, deadline=now - 1)
        ask(rig, tweet_ids=["8"], shard=0, at=now - 11_000)
        rig.run()
        assert [
            (reason, headers["topic"], headers["attempts"]) for reason, _, headers in rig.dead_letters()
        ] == [("unknown_tweet", "score-requests", "1")] * 2
        assert "7" in rig.dead_letters()[0][2]["error"]
        assert backend.waited == []


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


class TestSettings:
    def rig(self, backend: MemoryBackend, **settings: Any) -> Rig:
        rig = Rig(Settings(predictions=PredictionSettings(**settings)), backend)
        rig.open()
        for i in (1, 2):
            put_tweet(backend, i)
        users = [f"u{i}" for i in range(40)]
        records = np.repeat(backend.model.cold, len(users))
        records["vector"] = np.random.default_rng(0).normal(size=records["vector"].shape)
        backend.stores.vectors.put_many({u: r.tobytes() for u, r in zip(users, records, strict=True)})
        ask(rig, tweet_ids=["1", "2"], user_ids=users)
        return rig

    def everything(self, model: ServingModel) -> dict[tuple[str, str], Prediction]:
        rig = self.rig(MemoryBackend(model))
        rig.run()
        return rig.predictions()

    def test_top_k_of_each_tweet_and_shard(self, backend: MemoryBackend, model: ServingModel) -> None:
        rig = self.rig(backend, top_k=3)
        rig.run()
        everything = self.everything(model)
        for tweet_id in "12":
            for shard in range(4):
                here = [
                    p
                    for (t, u), p in everything.items()
                    if t == tweet_id and partition_of(u.encode(), 4) == shard
                ]
                best = sorted((p.retweet for p in here), reverse=True)[:3]
                pairs = {(p.tweet_id, p.user_id) for p in here}
                kept = [p.retweet for pair, p in rig.predictions().items() if pair in pairs]
                assert sorted(kept, reverse=True) == pytest.approx(best, abs=1e-6)

    @pytest.mark.parametrize("format_", ["pair", "columnar"])
    def test_top_k_of_a_large_audience(
        self, backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch, format_: str
    ) -> None:
        """Of all its pieces together, and in turns with what else there is."""
        everything = self.everything(backend.model)
        monkeypatch.setattr(score, "_LARGE", 4)
        monkeypatch.setattr(score, "_PIECE", 4)
        rig = self.rig(backend, top_k=3, format=format_)  # two tweets in one request, for 40 users
        put_tweet(backend, 3)
        ask(rig, tweet_ids=["3"], user_ids=["u1", "u2"])
        done = rig.process("score", "score-requests", 0, rig.log["score-requests", 0])
        found: dict[tuple[str, str], float] = {}
        for record in rig.records("predictions"):
            if format_ == "pair":
                one = msgspec.json.decode(record.value or b"", type=Prediction)
                found[one.tweet_id, one.user_id] = one.retweet
            else:
                many = msgspec.json.decode(record.value or b"", type=PredictionColumns)
                found |= {(many.tweet_id, u): p for u, p in zip(many.users, many.retweet, strict=True)}
        assert {pair for pair in found if pair[0] == "3"} == {("3", "u1"), ("3", "u2")}
        for tweet_id in "12":
            for shard in range(4):
                here = {
                    user: p.retweet
                    for (tweet, user), p in everything.items()
                    if tweet == tweet_id and partition_of(user.encode(), 4) == shard
                }
                best = sorted(here, key=lambda user: -here[user])[:3]
                kept = {user: found[tweet_id, user] for user in here if (tweet_id, user) in found}
                assert kept == pytest.approx({user: here[user] for user in best}, abs=1e-5)
        # A tweet's predictions leave once, with the first piece of the next one or after the last of all.
        assert len(done) == 21
        sent = [place for place, outputs in enumerate(done) if outputs.groups]
        assert sent == [0, 10, 20]
        assert len(rig.origins) == 3

    def test_min_probability(self, backend: MemoryBackend, model: ServingModel) -> None:
        everything = self.everything(model)
        values = sorted(p.retweet for p in everything.values())
        below, above = max(pairwise(values[20:60]), key=lambda gap: gap[1] - gap[0])
        assert above - below > 1e-4
        rig = self.rig(backend, min_probability=(above + below) / 2)
        rig.run()
        assert {p for p, v in everything.items() if v.retweet >= above} == rig.predictions().keys()

    def test_columnar(self, backend: MemoryBackend, model: ServingModel) -> None:
        rig = self.rig(backend, format="columnar")
        rig.run()
        found, ids = {}, []
        for (topic, partition), records in rig.log.items():
            for record in records if topic == "predictions" else ():
                columns = msgspec.json.decode(record.value or b"", type=PredictionColumns)
                assert record.key == columns.tweet_id.encode()
                assert {partition_of(user.encode(), 4) for user in columns.users} == {partition}
                assert columns.cold == [False] * len(columns.users)
                ids.append(columns.id)
                for i, user in enumerate(columns.users):
                    found[columns.tweet_id, user] = (columns.retweet[i], (columns.quote or [])[i])
        assert len(set(ids)) == len(ids) == 8
        wanted = {pair: (p.retweet, p.quote) for pair, p in self.everything(model).items()}
        assert found.keys() == wanted.keys()
        for pair, values in wanted.items():
            assert found[pair] == pytest.approx(values, abs=1e-5)


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


def test_an_audience_that_comes_with_the_tweet(rig: Rig) -> None:
    rig.publish("tweets", Tweet(tweet_id="1", author_id="a", created_at=T0, text="x", audience=["u"]))
    rig.run()
    assert rig.predictions().keys() == {("1", "u")}
