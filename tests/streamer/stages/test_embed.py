"""Each tweet is embedded once, and asked to be scored every time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from models.events import Profile, ScoreRequest, Tweet, User
from models.serving import ServingModel
from models.state.keys import id_key
from models.state.tweet import TweetRecord
from streamer import metrics
from streamer.partitions import partition_of
from streamer.settings import Settings
from streamer.stage import Batch, StageUnavailable
from tests.streamer.stages.rig import T0, FakeRecord, MemoryBackend, Rig


class CountingModel:
    """The real model, noting what it embedded; tweets that say "nan" have no finite vector."""

    def __init__(self, model: ServingModel) -> None:
        self._model = model
        self.embedded: list[Tweet] = []
        self.authors: list[Profile | None] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def embed(
        self, tweets: Sequence[Tweet], authors: Sequence[Profile | None], sums: NDArray[np.float64]
    ) -> NDArray[np.float16]:
        self.embedded += tweets
        self.authors += authors
        vectors = self._model.embed(tweets, authors, sums)
        for i, tweet in enumerate(tweets):
            if tweet.text == "nan":
                vectors[i, 0] = np.nan
        return vectors


@pytest.fixture
def counting(backend: MemoryBackend) -> CountingModel:
    model = CountingModel(backend.model)
    backend.model = model  # type: ignore[assignment]
    return model


def tweet(tweet_id: str, text: str = "some words", **more: Any) -> Tweet:
    return Tweet(tweet_id=tweet_id, author_id=more.pop("author_id", "a"), created_at=T0, text=text, **more)


def embed(rig: Rig, *tweets: Tweet) -> list[FakeRecord]:
    """Deliver these, with nobody behind; the score requests that came of it."""
    before = len(rig.records("score-requests"))
    rig.process(
        "embed",
        "tweets",
        0,
        [FakeRecord(msgspec.json.encode(t), t.tweet_id.encode(), i, T0) for i, t in enumerate(tweets)],
    )
    return rig.records("score-requests")[before:]


def vector(backend: MemoryBackend, tweet_id: str) -> list[float]:
    record = backend.stores.tweets.get_many([id_key(tweet_id)])[0]
    assert record is not None
    return [float(x) for x in record.vector]


def test_a_request_per_shard_after_the_vector(rig: Rig, backend: MemoryBackend) -> None:
    embed(rig, tweet("1"), tweet("2"))
    shards = rig.settings.kafka.partitions
    for shard in range(shards):
        (record,) = rig.log["score-requests", shard]
        assert record.key == str(shard).encode()
        assert record.timestamp == T0  # latency counts from the tweet's publication
        assert record.value is not None
        request = msgspec.json.decode(record.value, type=ScoreRequest)
        assert (request.shard, request.tweet_ids, request.user_ids) == (shard, ["1", "2"], None)
    assert all(vector(backend, tweet_id) for tweet_id in "12")


def test_repeats_are_computed_once_and_asked_for_again(
    rig: Rig, backend: MemoryBackend, counting: CountingModel
) -> None:
    first = embed(rig, tweet("1"), tweet("1", text="the same id"), tweet("2"))
    assert [t.tweet_id for t in counting.embedded] == ["1", "2"]
    again = embed(rig, tweet("2"), tweet("1"))
    assert len(counting.embedded) == 2
    assert len(again) == len(first)
    assert backend.stores.authors.get_many(["a"])[0, 0] == pytest.approx(
        2 * 2.0 ** ((T0 / 1000 - 1_142_899_200) / (60 * 86_400)), rel=1e-6
    )


def test_a_retweet_takes_its_originals_vector(
    rig: Rig, backend: MemoryBackend, counting: CountingModel
) -> None:
    embed(rig, tweet("1", "one thing"))
    again = tweet("3", "RT something else", author_id="b", kind="retweet", original_id="1", mentions=["m"])
    embed(
        rig,
        again,
        tweet("4", "RT", kind="retweet", original_id="3"),
        tweet("5", kind="quote", original_id="1"),
    )
    assert [t.tweet_id for t in counting.embedded] == ["1", "5"]
    assert vector(backend, "3") == vector(backend, "4") == vector(backend, "1") != vector(backend, "5")
    record = backend.stores.tweets.get_many([3])[0]
    assert record is not None
    assert (record.author_id, record.mentions, record.retweet) == ("b", ("m",), True)


def test_a_retweet_of_the_unknown_is_embedded_by_its_own_text(rig: Rig, counting: CountingModel) -> None:
    loop = [tweet("6", kind="retweet", original_id="7"), tweet("7", kind="retweet", original_id="6")]
    embed(
        rig, tweet("3", kind="retweet", original_id="404"), *loop, tweet("8", kind="retweet", original_id="8")
    )
    assert [t.tweet_id for t in counting.embedded] == ["3", "6", "8"]


def test_the_authors_profile_comes_with_the_tweet_or_from_the_store(
    rig: Rig, backend: MemoryBackend, counting: CountingModel
) -> None:
    rig.publish("users", User(user_id="a", followers=5, created_at=1_000_999))
    rig.run()
    embed(rig, tweet("1"), tweet("2", author=Profile(followers=6)), tweet("3", author_id="nobody"))
    assert [p and (p.followers, p.created_at) for p in counting.authors] == [(5, 1_000_000), (6, 0), None]


def test_an_explicit_audience_is_split_by_shard(rig: Rig) -> None:
    users = [f"u{i}" for i in range(10_000)]
    embed(rig, tweet("1", audience=[*users, "u1"]), tweet("2", audience=[]))
    asked: list[str] = []
    for shard in range(rig.settings.kafka.partitions):
        for record in rig.log["score-requests", shard]:
            assert record.value is not None
            assert len(record.value) < 900_000
            request = msgspec.json.decode(record.value, type=ScoreRequest)
            assert request.tweet_ids == ["1"]
            assert request.shard is None
            asked += request.user_ids or []
            assert {partition_of(user.encode(), 4) for user in request.user_ids or []} == {shard}
    assert sorted(asked) == sorted(users)


def test_a_vector_that_is_not_finite_is_a_dead_letter(rig: Rig, counting: CountingModel) -> None:
    retweet = tweet("3", kind="retweet", original_id="2")
    requests = embed(rig, tweet("1"), tweet("2", text="nan"), retweet)
    assert [(reason, headers["offset"]) for reason, _, headers in rig.dead_letters()] == [
        ("not_finite", "1"),
        ("not_finite", "2"),
    ]
    for record in requests:
        assert record.value is not None
        assert msgspec.json.decode(record.value, type=ScoreRequest).tweet_ids == ["1"]


def test_tokens_instead_of_text(rig: Rig) -> None:
    good = Tweet(tweet_id="1", author_id="a", created_at=T0, text_tokens=[1, 2, 3])
    bad = Tweet(tweet_id="2", author_id="a", created_at=T0, text_tokens=[1, 10**6])
    assert embed(rig, bad, good)
    ((reason, value, headers),) = rig.dead_letters()
    assert reason == "unknown_token"
    assert "1000000" in headers["error"]
    assert value == msgspec.json.encode(bad)


class TestClaims:
    """Two workers that were given the same tweet by a rebalance."""

    def test_one_waits_for_the_other(self, rig: Rig, backend: MemoryBackend, counting: CountingModel) -> None:
        store = backend.stores.tweets
        backend.stores.intake.look([1], 60)
        theirs = TweetRecord("a", T0, (), np.ones(backend.model.dimensions, np.float16))

        def arrive(seconds: float) -> None:
            store.put_new({1: theirs})

        backend.wait = arrive  # type: ignore[method-assign]
        assert embed(rig, tweet("1"))
        assert counting.embedded == []

    def test_nobody_waits_for_ever(
        self, rig: Rig, backend: MemoryBackend, counting: CountingModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = [100.0]
        monkeypatch.setattr("streamer.stages.embed.time.monotonic", lambda: clock[0])

        def tick(seconds: float) -> None:
            clock[0] += 1.0

        backend.wait = tick  # type: ignore[method-assign]
        backend.stores.intake.look([1], 60)  # by a worker that died
        assert embed(rig, tweet("1"))
        assert [t.tweet_id for t in counting.embedded] == ["1"]
        assert clock[0] < 110

    def test_a_stop_ends_the_waiting(self, rig: Rig, backend: MemoryBackend) -> None:
        backend.stores.intake.look([1], 60)
        rig.stages["embed"].interrupt()  # type: ignore[attr-defined]
        with pytest.raises(StageUnavailable):
            embed(rig, tweet("1"))

    def test_both_computed_is_counted(
        self, rig: Rig, backend: MemoryBackend, counting: CountingModel
    ) -> None:
        theirs = TweetRecord("a", T0, (), np.ones(backend.model.dimensions, np.float16))
        plain, store = counting.embed, backend.stores.tweets

        def slow(*args: Any) -> NDArray[np.float16]:
            vectors = plain(*args)
            store.put_new({1: theirs})
            return vectors

        counting.embed = slow  # type: ignore[method-assign, assignment]
        before = _value(metrics.duplicate_computations)
        embed(rig, tweet("1"))
        assert _value(metrics.duplicate_computations) == before + 1
        assert vector(backend, "1")[0] == 1.0  # who was first stays


def _value(counter: Any) -> float:
    value: float = counter._value.get()
    return value


class TimedModel(CountingModel):
    """Takes so many seconds for a text by the clock of the test; notes how many it was given at once."""

    def __init__(self, model: ServingModel, seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(model)
        self.seconds = seconds
        self.calls: list[int] = []
        self._clock = 0.0
        monkeypatch.setattr("streamer.stages.embed.time.monotonic", lambda: self._clock)

    def embed(self, tweets: Sequence[Tweet], *more: Any) -> NDArray[np.float16]:
        self.calls.append(len(tweets))
        self._clock += self.seconds * len(tweets)
        return super().embed(tweets, *more)


def timed(model: ServingModel, seconds: float, monkeypatch: pytest.MonkeyPatch) -> tuple[Rig, TimedModel]:
    backend, slow = MemoryBackend(model), TimedModel(model, seconds, monkeypatch)
    backend.model = slow  # type: ignore[assignment]
    return Rig(Settings(), backend), slow


@pytest.mark.parametrize(
    ("seconds", "sizes"),
    [(1e-5, [16, 1024, 1024, 36]), (0.004, [16, 500, 500, 500, 500, 84]), (10.0, [16] * 9)],
)
def test_a_call_takes_what_the_model_does_in_seconds(
    model: ServingModel, monkeypatch: pytest.MonkeyPatch, seconds: float, sizes: list[int]
) -> None:
    """A worker makes progress whatever its encoder takes, and a quick one is given much at once."""
    rig, slow = timed(model, seconds, monkeypatch)
    records = [FakeRecord(msgspec.json.encode(tweet(str(i)))) for i in range(sum(sizes))]
    outputs = rig.process("embed", "tweets", 0, records)
    assert slow.calls == sizes
    assert all(made.groups for made in outputs)  # requests leave with their call


def test_a_call_takes_of_several_partitions(model: ServingModel, monkeypatch: pytest.MonkeyPatch) -> None:
    rig, slow = timed(model, 10.0, monkeypatch)
    batches = [
        Batch(
            "tweets",
            part,
            [FakeRecord(msgspec.json.encode(tweet(f"{part}-{i}")), offset=i) for i in range(10)],
        )
        for part in range(3)
    ]
    outputs = rig.stages["embed"].process(batches)
    assert slow.calls == [16]
    assert outputs.rest == {1: batches[1].records[6:], 2: batches[2].records}


def test_many_tweets_are_all_asked_for(model: ServingModel) -> None:
    backend = MemoryBackend(model)
    counting = CountingModel(model)
    backend.model = counting  # type: ignore[assignment]
    rig = Rig(Settings(), backend)
    requests = embed(rig, *(tweet(str(i)) for i in range(2500)))
    assert len(counting.embedded) == 2500
    asked = [
        id_
        for record in requests
        for id_ in msgspec.json.decode(record.value or b"", type=ScoreRequest).tweet_ids
    ]
    assert len(asked) == 2500 * rig.settings.kafka.partitions
