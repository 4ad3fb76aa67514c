"""The four stages together: what goes in as events comes out as the model's own probabilities."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from models.events import Engagement, Follow, Profile, ScoreRequest, Tweet, User
from models.features import pair_features
from models.serving import ServingModel
from models.state.keys import id_key, short_key
from models.state.memory import memory_stores
from models.state.stores import FOLLOWS, Pair, Stores
from models.state.transitions import (
    apply_engagements,
    apply_follows,
    apply_profiles,
    apply_tastes,
    one_shard,
)
from models.state.tweet import TweetRecord
from models.state.user import UserState
from streamer.settings import Settings
from streamer.stages import build
from streamer.stages.backend import RedisBackend
from tests.streamer.stages.rig import T0, MemoryBackend, Rig

Row = NDArray[np.float32]

AUTHORS = [f"a{i}" for i in range(4)]
READERS = [f"r{i}" for i in range(30)]
WORDS = ["senate", "budget", "game", "basketball", "fox", "streams", "vote", "dog", "quick", "tonight"]


class World:
    """A seeded little world, in the order in which it happened."""

    def __init__(self, seed: int = 1) -> None:
        draw = random.Random(seed)
        self.users = [
            User(
                user_id=user, followers=draw.randrange(10**5), verified=draw.random() < 0.2, created_at=10**12
            )
            for user in READERS[:20] + AUTHORS[:3]
        ]
        self.follows = [
            Follow(follower_id=reader, author_id=author, action="follow", at=T0)
            for author in AUTHORS
            for reader in draw.sample(READERS, 18)
        ]
        self.follows += [
            Follow(follower_id=author, author_id=draw.choice(READERS), action="follow", at=T0)
            for author in AUTHORS
        ]
        self.follows.append(Follow(follower_id="a0", author_id="a0", action="follow", at=T0))
        self.tweets = []
        for i in range(24):
            author = draw.choice(AUTHORS)
            text = " ".join(draw.choices(WORDS, k=5)) + (f" @{READERS[i]}" if i % 3 == 0 else "")
            self.tweets.append(
                Tweet(
                    tweet_id=str(1000 + i) if i % 2 else f"t-{i}",
                    author_id=author,
                    created_at=T0 + 60_000 * i,
                    text=text,
                    mentions=[READERS[i]] if i % 3 == 0 else [],
                    author=Profile(followers=7) if i % 5 == 0 else None,
                )
            )
        # Everybody who reads did something with the first tweets; an author did with another author's.
        self.engagements = [
            Engagement(
                user_id=draw.choice(READERS + AUTHORS),
                tweet_id=draw.choice(self.tweets[:12]).tweet_id,
                action=draw.choice(["retweet", "like", "reply", "impression"]),
                at=T0 + 3_600_000 + 1000 * i,
            )
            for i in range(150)
        ]

    def through(self, rig: Rig) -> None:
        """Publish it bit by bit, since partitions are not ordered among themselves."""
        rig.publish("users", *self.users)
        rig.publish("follows", *self.follows)
        rig.run()
        self._tweets(rig, self.tweets[:12])
        rig.publish("engagements", *self.engagements)
        rig.run()
        self._tweets(rig, self.tweets[12:])

    @staticmethod
    def _tweets(rig: Rig, tweets: Sequence[Tweet]) -> None:
        for tweet in tweets:
            rig.publish("tweets", tweet)
            rig.run()


def expected(world: World, model: ServingModel) -> dict[tuple[str, str], Row]:
    """Probabilities of the later tweets, pair by pair, straight from stores in memory and the model."""
    stores = memory_stores()
    apply_profiles(stores, world.users)
    apply_follows(stores, world.follows, one_shard)

    def publish(tweet: Tweet) -> TweetRecord:
        state = stores.users.get_many([tweet.author_id])[0]
        profile = tweet.author or (state.profile() if state else None)
        vector = model.embed([tweet], [profile], stores.authors.get_many([tweet.author_id]))[0]
        record = TweetRecord(
            tweet.author_id, tweet.created_at, tuple(tweet.mentions), vector, model.terms([tweet])[0]
        )
        stores.intake.put({id_key(tweet.tweet_id): record})
        return record

    published = {tweet.tweet_id: publish(tweet) for tweet in world.tweets[:12]}
    for event in world.engagements:
        news = apply_engagements(stores, [event], one_shard).news
        apply_tastes(stores, news, model.taste_width, model.tastes.of_tweets)
    out = {}
    for tweet in world.tweets[12:]:
        published[tweet.tweet_id] = record = publish(tweet)
        by_key = {id_key(name): value for name, value in published.items()}
        author = stores.users.get_many([tweet.author_id])[0] or UserState()
        users, bits = stores.audiences.get([(tweet.author_id, 0)])[0]
        for user, bit in zip(users, bits.tolist(), strict=True):
            if bit & FOLLOWS and user != tweet.author_id:
                out[tweet.tweet_id, user] = _one(model, stores, tweet, record, user, bit, author, by_key)
    return out


def _one(
    model: ServingModel,
    stores: Stores,
    tweet: Tweet,
    record: TweetRecord,
    user: str,
    bit: int,
    author: UserState,
    tweets: dict[int, TweetRecord],
) -> Row:
    state = stores.users.get_many([user])[0] or UserState()
    rows = model.user_rows(1)
    vectors = model.user_vectors({user: state}, tweets, stores.tastes.get_many([user]))
    slot = np.zeros(1, np.intp)
    rows.set(slot, vectors, np.array([short_key(user)], np.uint32))
    features = pair_features(
        tweet.created_at // 1000,
        np.array([bit], np.uint8),
        stores.affinities.get_many([Pair(tweet.author_id, 0, user)]),
        vectors["habits"],
        np.array([user in tweet.mentions]),
        np.array([tweet.kind == "retweet"]),
        np.array([np.sum(author.items["author"] == short_key(user))], np.float32),
    )
    row: Row = model.score(record.vector[None], record.terms[None], slot, rows, slot, features)[0]
    return row


def compare(rig: Rig, wanted: dict[tuple[str, str], Row]) -> None:
    found = rig.predictions()
    later = {tweet_id for tweet_id, _ in wanted}
    assert {pair for pair in found if pair[0] in later} == wanted.keys()
    heads = rig.backend.model.heads
    got = np.array([[getattr(found[pair], head) for head in heads] for pair in wanted])
    assert np.abs(got - np.array(list(wanted.values()))).max() < 1e-3
    assert np.ptp(got) > 0.05  # else there is nothing to compare


@pytest.fixture
def redis_rig(redis_url: str, bundle: Path) -> Iterator[Rig]:
    """All stages over one real Redis, each with its own connection."""
    settings = Settings(redis={"url": redis_url}, bundle=bundle, device="cpu")  # type: ignore[arg-type]
    rig = Rig(settings, RedisBackend(settings, with_model=True))
    rig.stages = {name: build(name, settings) for name in rig.stages}
    rig.backend.open()
    rig.open()
    yield rig
    rig.close()
    rig.backend.close()


def test_parity_over_memory(rig: Rig, model: ServingModel) -> None:
    world = World()
    world.through(rig)
    assert rig.dead_letters() == []
    compare(rig, expected(world, model))
    cold = {p.user_id for p in rig.predictions().values() if p.cold}
    assert cold <= set(READERS[20:])
    assert cold


def test_parity_over_redis(redis_rig: Rig) -> None:
    world = World(seed=2)
    world.through(redis_rig)
    assert redis_rig.dead_letters() == []
    compare(redis_rig, expected(world, redis_rig.backend.model))


def test_everything_delivered_twice_changes_nothing(rig: Rig, model: ServingModel) -> None:
    world = World(seed=3)
    world.engagements = [e for e in world.engagements if e.action != "impression"]
    world.through(rig)
    first = rig.predictions()
    for (topic, partition), records in list(rig.log.items()):
        for stage in rig.stages.values():
            if topic in stage.topics and topic not in ("users", "engagements", "follows"):
                rig.process(stage.name, topic, partition, records)
    rig.run()
    again = rig.predictions()
    assert again.keys() == first.keys()
    for pair, prediction in again.items():
        assert prediction.id == first[pair].id
    assert len({p.id for p in again.values()}) == len(again)


def test_vectors_do_not_depend_on_the_company(model: ServingModel) -> None:
    """An author's tweets one by one, or all in one batch: the author's counts are those before each tweet."""
    world = World(seed=5)
    found = []
    for size in (1, 500):
        backend = MemoryBackend(model)
        rig = Rig(Settings(), backend)
        rig.open()
        rig.batch_records = size
        rig.publish(
            "tweets", *(msgspec.structs.replace(tweet, text="one text") for tweet in world.tweets), key=b"1"
        )
        rig.run(rounds=1000)
        records = backend.stores.tweets.get_many([id_key(tweet.tweet_id) for tweet in world.tweets])
        found.append(np.stack([record.vector for record in records if record is not None]).astype(np.float64))
    assert len(found[0]) == len(world.tweets)
    assert np.abs(found[0] - found[1]).max() < 1e-3
    assert np.ptp(found[0], axis=0).max() > 0.01  # the counts do matter


def test_scores_do_not_depend_on_the_company(backend: MemoryBackend) -> None:
    """Shuffled and cut into other batches, the same state gives the same probabilities."""
    world = World(seed=4)
    rig = Rig(Settings(), backend)
    rig.open()
    world.through(rig)
    requests = [
        ScoreRequest(tweet_ids=[tweet.tweet_id], shard=shard)
        for tweet in world.tweets
        for shard in range(rig.settings.kafka.partitions)
    ]
    results = []
    for seed, size in ((1, 1), (2, 7), (3, 500)):
        random.Random(seed).shuffle(requests)
        rig.log.clear()
        for start in range(0, len(requests), size):
            rig.publish("score-requests", *requests[start : start + size])
        rig.batch_records = size
        rig.run(rounds=10_000)
        results.append(rig.predictions())
    for other in results[1:]:
        assert other.keys() == results[0].keys()
        for pair, prediction in other.items():
            assert prediction.retweet == pytest.approx(results[0][pair].retweet, abs=1e-4)
            assert prediction.like == pytest.approx(results[0][pair].like, abs=1e-4)
