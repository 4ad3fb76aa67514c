"""What leaves is what the settings ask for."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest

from models.events import Prediction, PredictionColumns
from models.serving import ServingModel
from streamer.partitions import partition_of
from streamer.settings import PredictionSettings, Settings
from streamer.stages import score
from tests.streamer.stages.rig import MemoryBackend, Rig
from tests.streamer.stages.test_score import ask, put_tweet


def rig_of(backend: MemoryBackend, **settings: Any) -> Rig:
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


def everything_of(model: ServingModel) -> dict[tuple[str, str], Prediction]:
    rig = rig_of(MemoryBackend(model))
    rig.run()
    return rig.predictions()


def test_top_k_of_each_tweet_and_shard(backend: MemoryBackend, model: ServingModel) -> None:
    rig = rig_of(backend, top_k=3)
    rig.run()
    everything = everything_of(model)
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
    backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch, format_: str
) -> None:
    """Of all its pieces together, and in turns with what else there is."""
    everything = everything_of(backend.model)
    monkeypatch.setattr(score, "_LARGE", 4)
    monkeypatch.setattr(score, "_PIECE", 4)
    rig = rig_of(backend, top_k=3, format=format_)  # two tweets in one request, for 40 users
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


def test_min_probability(backend: MemoryBackend, model: ServingModel) -> None:
    everything = everything_of(model)
    values = sorted(p.retweet for p in everything.values())
    below, above = max(pairwise(values[20:60]), key=lambda gap: gap[1] - gap[0])
    assert above - below > 1e-4
    rig = rig_of(backend, min_probability=(above + below) / 2)
    rig.run()
    assert {p for p, v in everything.items() if v.retweet >= above} == rig.predictions().keys()


def test_columnar(backend: MemoryBackend, model: ServingModel) -> None:
    rig = rig_of(backend, format="columnar")
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
    wanted = {pair: (p.retweet, p.quote) for pair, p in everything_of(model).items()}
    assert found.keys() == wanted.keys()
    for pair, values in wanted.items():
        assert found[pair] == pytest.approx(values, abs=1e-5)
