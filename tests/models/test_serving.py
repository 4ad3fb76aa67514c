from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from models.bundle import Bundle
from models.events import Tweet
from models.features import PAIR_FEATURES
from models.recipe import ModelConfig
from models.serving import ServingModel
from models.state.tweet import TweetRecord
from models.state.user import HISTORY, UserState
from tests.models.tiny import BERT, CNN, LSTM, tiny_bundle, tiny_config

TEXTS = ["the quick brown fox", "a senate vote", "tonight basketball " * 9, "x", "http://t.co/abc"]


@pytest.fixture(
    params=[tiny_config(), tiny_config(BERT), tiny_config(LSTM), tiny_config(CNN)],
    ids=["bag", "bert", "lstm", "cnn"],
)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> ServingModel:
    config: ModelConfig = request.param
    tiny_bundle(tmp_path, config=config)
    return ServingModel.load(tmp_path, "cpu")


def tweets(n: int = 5) -> list[Tweet]:
    return [
        Tweet(tweet_id=str(i), author_id=f"a{i % 2}", created_at=10**12, text=TEXTS[i % 5]) for i in range(n)
    ]


def embed(model: ServingModel, some: list[Tweet]) -> np.ndarray[tuple[int, ...], np.dtype[np.float16]]:
    return model.embed(some, [None] * len(some), np.zeros((len(some), 7)))


def state(*ids: int) -> UserState:
    out = UserState()
    for at, key in enumerate(ids, start=1000):
        out.engage(key, 7, "retweet", at)
    return out


def records(model: ServingModel) -> dict[int, TweetRecord]:
    vectors = embed(model, tweets())
    terms = model.terms(tweets())
    return {i: TweetRecord("a", 10**12, (), vectors[i], terms[i]) for i in range(5)}


def people(*states: UserState) -> dict[str, UserState]:
    return {f"user {i}": state for i, state in enumerate(states)}


def test_a_vector_does_not_depend_on_its_neighbours(model: ServingModel) -> None:
    together = embed(model, tweets(40)).astype(np.float32)
    for i, tweet in enumerate(tweets()):
        alone = embed(model, [tweet]).astype(np.float32)[0]
        np.testing.assert_allclose(alone, together[i], atol=2e-3)  # a step of float16 at 2 is 2e-3
    assert np.abs(together[0] - together[1]).max() > 0.1


def test_a_user_without_history_is_the_cold_one(model: ServingModel) -> None:
    found = model.user_vectors(people(UserState(), state(1)), records(model))
    assert found[0] == model.cold[0]
    assert found[0]["filled"] == 0
    assert found[1] != model.cold[0]
    assert found.dtype == model.user_dtype


def test_readers_differ_by_who_they_are_once_anything_is_known_of_them(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    bundle = Bundle.from_pretrained(tmp_path)
    with torch.no_grad():
        bundle.network.get_parameter("user.reader.embedding.weight").normal_()
    model = ServingModel(bundle, "cpu")
    one, same, other, unknown = model.user_vectors(
        {"a": state(1), "b": UserState(), "c": state(1), "d": UserState()}, records(model)
    )
    assert np.abs(one["vector"].astype(int) - other["vector"]).max() > 8
    assert same == unknown == model.cold[0]
    assert model.user_vectors({"a": state(1)}, records(model))[0] == one


def test_items_without_a_vector_are_left_out(model: ServingModel) -> None:
    known = records(model)
    empty = TweetRecord("a", 1, (), np.zeros(0, np.float16))
    missing, dimensionless, fewer = (
        model.user_vectors({"a": one}, known | {98: empty})[0]
        for one in (state(99, 1), state(98, 1), state(1))
    )
    np.testing.assert_array_equal(missing["vector"], dimensionless["vector"])
    np.testing.assert_allclose(missing["vector"], fewer["vector"], atol=2)
    assert missing["filled"] == fewer["filled"]


def test_a_user_vector_does_not_depend_on_the_others(model: ServingModel) -> None:
    known = records(model)
    some = people(state(1), state(*range(5)), UserState(), state(*([3, 4] * (HISTORY // 2))))
    together = model.user_vectors(some, known)
    for i, (name, one) in enumerate(some.items()):
        alone = model.user_vectors({name: one}, known)[0]
        np.testing.assert_allclose(alone["vector"], together[i]["vector"], atol=1)  # 1/32
        np.testing.assert_array_equal(alone["interests"], together[i]["interests"])


def test_a_score_depends_on_its_own_pair_alone(model: ServingModel) -> None:
    rng = np.random.default_rng(0)
    vectors = embed(model, tweets())
    rows = model.user_rows(8)
    users = model.user_vectors(people(state(1), state(2, 3), UserState()), records(model))
    rows.set(np.array([7, 0, 3]), users, np.array([1, 2, 3], np.uint32))
    pairs = [(t, s) for t in range(5) for s in (7, 0, 3)] * 300  # more than one chunk
    tweet, slot = np.array(pairs).T
    features = rng.normal(size=(len(pairs), len(PAIR_FEATURES))).astype(np.float32)
    terms = model.terms(tweets())
    together = model.score(vectors, terms, tweet, rows, slot, features)
    assert together.shape == (len(pairs), 4)
    assert ((together > 0) & (together < 1)).all()
    for i in (0, 7, 2048, len(pairs) - 1):
        alone = model.score(vectors, terms, tweet[i : i + 1], rows, slot[i : i + 1], features[i : i + 1])
        np.testing.assert_allclose(alone[0], together[i], atol=1e-5)
    assert together.std(0).min() > 1e-3
    assert rows.keys[[7, 0, 3]].tolist() == [1, 2, 3]


def test_a_slot_that_is_set_again_is_the_new_user(model: ServingModel) -> None:
    vectors = embed(model, tweets())
    users = model.user_vectors(people(state(1), state(2, 3)), records(model))
    features = np.zeros((1, len(PAIR_FEATURES)), np.float32)
    index = np.zeros(1, np.intp)

    def score(*order: int) -> float:
        rows = model.user_rows(1)
        for i in order:
            rows.set(index, users[i : i + 1], np.zeros(1, np.uint32))
        return float(model.score(vectors, model.terms(tweets()), index, rows, index, features)[0, 0])

    assert score(0, 1) == score(1) != score(0)


def test_a_token_out_of_the_vocabulary_is_refused(tmp_path: Path) -> None:
    tiny_bundle(tmp_path, source=["[PAD]", "fox", "##es", "senate"])
    model = ServingModel.load(tmp_path, "cpu")
    good = Tweet(tweet_id="1", author_id="a", created_at=1, text_tokens=[1, 2, 3])
    assert model.check(good) is None
    assert model.text_of(good) == "foxes senate"
    bad = Tweet(tweet_id="1", author_id="a", created_at=1, text_tokens=[1, 4])
    assert "token id 4 is out of the vocabulary of 4 entries" in str(model.check(bad))


def test_token_ids_mean_nothing_to_a_model_of_texts(model: ServingModel) -> None:
    ids = Tweet(tweet_id="1", author_id="a", created_at=1, text_tokens=[1, 2, 3])
    assert "no vocabulary of token ids" in str(model.check(ids))


def test_warm_up_runs(model: ServingModel) -> None:
    model.warm_up()
    assert len(model.fingerprint) == 12
    assert model.heads == ("retweet", "like", "reply", "quote")


def test_equal_texts_are_encoded_once(model: ServingModel, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    encode = model.tokens.encode

    def noting(texts: Sequence[str]) -> list[np.ndarray[tuple[int], np.dtype[np.int32]]]:
        seen.extend(texts)
        return encode(texts)

    monkeypatch.setattr(model.tokens, "encode", noting)
    vectors = model.text_vectors(["a vote", "fox", "a vote"])
    assert seen == ["a vote", "fox"]
    np.testing.assert_array_equal(vectors[0], vectors[2])
    assert np.abs(vectors[0] - vectors[1]).max() > 0


def test_the_words_of_the_history_count(model: ServingModel) -> None:
    model.term_weights[1:] = 1.0
    vectors, terms = embed(model, tweets()), model.terms(tweets())
    same = np.broadcast_to(vectors[:1], vectors.shape)  # nothing but the words differs
    known = {i: TweetRecord("a", 10**12, (), vectors[0], terms[i]) for i in range(2)}
    rows = model.user_rows(2)
    rows.set(np.arange(2), model.user_vectors(people(state(0), state(1)), known), np.zeros(2, np.uint32))
    features = np.zeros((2, len(PAIR_FEATURES)), np.float32)
    p = model.score(same, terms, np.zeros(2, np.intp), rows, np.arange(2), features)
    assert np.abs(p[0] - p[1]).max() > 1e-4


#: How often a new process loads the compiled kernel, and how often it has to compile it.
_WARM_UP = """
import sys
from pathlib import Path
from models.serving import ServingModel
model = ServingModel.load(Path(sys.argv[1]), "cpu")
model.warm_up()
stats = model._scorer._kernel.stats
print(stats.cache_hits.total(), stats.cache_misses.total())
"""


def test_what_one_process_compiled_the_next_loads(tmp_path: Path) -> None:
    tiny_bundle(tmp_path)
    ServingModel.load(tmp_path, "cpu").warm_up()
    done = subprocess.run(
        [sys.executable, "-c", _WARM_UP, str(tmp_path)], capture_output=True, text=True, check=True
    )
    hits, misses = map(int, done.stdout.split())
    assert hits > 0
    assert misses == 0
