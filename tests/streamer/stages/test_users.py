"""`users` and `follows`: events become states, vectors and audiences, once each however often they come."""

from __future__ import annotations

import numpy as np
import pytest

from models.events import Action, Engagement, Follow, User
from models.state.keys import id_key
from models.state.stores import FOLLOWED_BACK, FOLLOWS, Pair
from models.state.tweet import TweetRecord
from models.state.vector import decode
from streamer.partitions import partition_of
from tests.streamer.stages.rig import T0, MemoryBackend, Rig


def put_tweet(backend: MemoryBackend, tweet_id: str, author: str = "a") -> None:
    values = np.random.default_rng(id_key(tweet_id)).normal(size=backend.model.dimensions)
    backend.stores.tweets.put_new({id_key(tweet_id): TweetRecord(author, T0, (), values.astype(np.float16))})


def engage(user: str, tweet: str, action: Action = "retweet", at: int = T0) -> Engagement:
    return Engagement(user_id=user, tweet_id=tweet, action=action, at=at)


def vector(backend: MemoryBackend, user: str) -> bytes:
    found = backend.stores.vectors.get_many([user])[0]
    assert found is not None
    return found


def test_the_vector_is_the_models_own(rig: Rig, backend: MemoryBackend) -> None:
    put_tweet(backend, "1")
    rig.publish("users", User(user_id="u", followers=100))
    rig.publish("engagements", engage("u", "1"), engage("u", "404"))
    rig.run()
    state = backend.stores.users.get_many(["u"])[0]
    assert state is not None
    record = backend.stores.tweets.get_many([1])[0]
    assert record is not None
    wanted = backend.model.user_vectors({"u": state}, {1: record}, backend.stores.tastes.get_many(["u"]))
    assert decode([vector(backend, "u")], backend.model.user_dtype).tobytes() == wanted.tobytes()
    assert state.items["author"].tolist()[1] == 0  # a tweet nobody has seen has no author


def test_a_batch_again_computes_the_vectors_that_a_crash_left_out(rig: Rig, backend: MemoryBackend) -> None:
    put_tweet(backend, "1")
    rig.publish("engagements", engage("u", "1"))
    place = ("engagements", partition_of(b"u", 4))
    rig.run()
    wanted = vector(backend, "u")
    backend.stores.vectors.put_many({"u": b"from before the crash"})
    rig.process("users", *place, rig.log[place])
    assert vector(backend, "u") == wanted


def test_late_events_find_their_place(rig: Rig, backend: MemoryBackend) -> None:
    for tweet in "123":
        put_tweet(backend, tweet)
    events = [engage("u", tweet, at=T0 + 60_000 * int(tweet)) for tweet in "123"]
    rig.publish("engagements", *events)
    rig.publish("engagements", *(engage("v", e.tweet_id, at=e.at) for e in reversed(events)))
    rig.run()
    found = decode([vector(backend, user) for user in "uv"], backend.model.user_dtype)
    # As if the other were the same person: what is particular to each reader apart.
    (state,), tweets = backend.stores.users.get_many(["v"]), backend.stores.tweets.get_many([1, 2, 3])
    assert state is not None
    records = {key: record for key, record in enumerate(tweets, start=1) if record is not None}
    taste = backend.stores.tastes.get_many(["v"])
    found = np.concatenate([found[:1], backend.model.user_vectors({"u": state}, records, taste)])
    for name in ("vector", "interests", "habits"):
        for field in found[name].dtype.names or [None]:
            u, v = found[name] if field is None else found[name][field]
            assert np.asarray(u, np.float64) == pytest.approx(np.asarray(v, np.float64), rel=1e-5)


class TestTombstones:
    def test_on_users_deletes_the_profile_and_no_more(self, rig: Rig, backend: MemoryBackend) -> None:
        put_tweet(backend, "1")
        rig.publish("users", User(user_id="u", followers=9, verified=True, interests=["tests"]))
        rig.publish("engagements", engage("u", "1"))
        rig.run()
        rig.publish("users", None, key=b"u")
        rig.run()
        state = backend.stores.users.get_many(["u"])[0]
        assert state is not None
        assert state.profile() is None
        assert not state.stats["words"].any()
        assert len(state.items) == 1
        assert rig.dead_letters() == []

    def test_the_last_of_a_batch_counts(self, rig: Rig, backend: MemoryBackend) -> None:
        rig.publish("users", User(user_id="u", followers=1))
        rig.publish("users", None, key=b"u")
        rig.publish("users", User(user_id="u", followers=2))
        rig.publish("users", User(user_id="u2", followers=3))
        rig.publish("users", None, key=b"u2")
        rig.run()
        states = backend.stores.users.get_many(["u", "u2"])
        assert [s and s.profile() and s.stats["followers"][0] for s in states] == [2, None]

    def test_without_a_key_is_a_dead_letter(self, rig: Rig) -> None:
        rig.publish("users", None)
        rig.publish("users", None, key=b"\xff")
        rig.run()
        assert sorted(reason for reason, _, _ in rig.dead_letters()) == ["not_utf8", "tombstone"]


def test_follows_from_both_ends(rig: Rig, backend: MemoryBackend) -> None:
    events = [
        Follow(follower_id="u", author_id="a", action="follow", at=T0),
        Follow(follower_id="a", author_id="u", action="follow", at=T0),
        Follow(follower_id="v", author_id="a", action="follow", at=T0),
        Follow(follower_id="v", author_id="a", action="unfollow", at=T0 + 1),
    ]
    rig.publish("follows", *events)
    rig.run()

    def bits(author: str, user: str) -> int:
        return int(backend.stores.audiences.bits([Pair(author, partition_of(user.encode(), 4), user)])[0])

    assert bits("a", "u") == bits("u", "a") == FOLLOWS | FOLLOWED_BACK
    assert bits("a", "v") == 0
