"""The peers predict what the stages predict: in memory, without Kafka."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from benchmarks.model import make_bundle, user_vectors
from benchmarks.peers.service import Service
from benchmarks.side_by_side import require_same
from benchmarks.workload import Workload, user_states
from models.events import Prediction
from models.serving import ServingModel
from models.state.stores import Stores
from streamer.settings import Settings
from tests.streamer.stages.rig import MemoryBackend, Rig

SHARDS = 4
TWEETS = range(20)


@pytest.fixture(scope="module")
def workload() -> Workload:
    return Workload.fanout(users=200, authors=20, mean=15)


@pytest.fixture(scope="module")
def model(workload: Workload, tmp_path_factory: pytest.TempPathFactory) -> ServingModel:
    return ServingModel.load(make_bundle(tmp_path_factory.mktemp("bundle"), workload.texts), "cpu")


def filled(workload: Workload, model: ServingModel) -> MemoryBackend:
    backend = MemoryBackend(model)
    past = list(workload.tweets(range(-50, 0)))
    states = user_states(30, past)
    workload.fill(backend.stores, SHARDS, states, user_vectors(model, states, past))
    return backend


@pytest.fixture
def ours(workload: Workload, model: ServingModel) -> Iterator[Rig]:
    rig = Rig(Settings(), filled(workload, model))
    rig.open()
    yield rig
    rig.close()


@pytest.fixture
def theirs(workload: Workload, model: ServingModel) -> Service:
    stores: Stores = filled(workload, model).stores
    return Service(model, stores, SHARDS)


def answered(pairs: Iterator[tuple[bytes, bytes]]) -> dict[tuple[str, str], Prediction]:
    found = {}
    for key, value in pairs:
        prediction = msgspec.json.decode(value, type=Prediction)
        assert key == prediction.user_id.encode()
        found[prediction.tweet_id, prediction.user_id] = prediction
    return found


def test_new_tweets(workload: Workload, ours: Rig, theirs: Service) -> None:
    tweets = list(workload.tweets(TWEETS))
    ours.publish("tweets", *tweets)
    ours.run()
    found = answered(theirs.tweets([msgspec.json.encode(tweet) for tweet in tweets]))
    assert found.keys() == ours.predictions().keys()
    assert len(found) == workload.readers(TWEETS)
    require_same("service", ours.predictions(), found)


def test_requests(workload: Workload, ours: Rig, theirs: Service) -> None:
    tweets, requests = list(workload.tweets(TWEETS)), list(workload.requests(TWEETS))
    ours.publish("tweets", *tweets)
    ours.run()
    audiences = ours.predictions().keys()
    ours.publish("score-requests", *requests)
    ours.run()
    list(theirs.tweets([msgspec.json.encode(tweet) for tweet in tweets]))
    found = answered(theirs.requests([msgspec.json.encode(request) for request in requests]))
    assert audiences | found.keys() == ours.predictions().keys()
    assert len(found) == workload.readers(TWEETS)
    assert any(not prediction.cold for prediction in found.values())
    require_same("service", ours.predictions(), found)
