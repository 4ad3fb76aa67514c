"""Parts of the model that a recipe leaves out have no say in what is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from msgspec.structs import replace
from numpy.typing import NDArray

from models.events import Profile, Tweet
from models.features import PAIR_FEATURES
from models.network import Network
from models.recipe import (
    Anybody,
    Attention,
    ModelConfig,
    NoText,
    ProfileOnly,
    Recipe,
    RecipeError,
    StarSpace,
    UserConfig,
)
from models.serving import ServingModel
from models.state.tweet import TweetRecord
from models.state.user import UserState
from tests.models.tiny import tiny_bundle, tiny_config

TEXTS = ["the quick brown fox", "a senate vote", "basketball tonight", "lazy dog", "streams of tweets"]
SMALL: dict[str, Any] = {"interests": 4}


def config(user: UserConfig | None = None, tweet: dict[str, Any] | None = None, **ranker: Any) -> ModelConfig:
    base = tiny_config()
    return replace(
        base,
        user=user or base.user,
        tweet=replace(base.tweet, **(tweet or {})),
        ranker=replace(base.ranker, **ranker),
    )


def load(path: Path, config: ModelConfig) -> ServingModel:
    tiny_bundle(path, config=config)
    model = ServingModel.load(path, "cpu")
    model.term_weights[1:] = 1.0
    return model


def tweet(i: int, **changes: Any) -> Tweet:
    return replace(Tweet(tweet_id=str(i), author_id="a", created_at=10**12, text=TEXTS[i % 5]), **changes)


def embed(model: ServingModel, *tweets: Tweet) -> NDArray[np.float16]:
    return model.embed(tweets, [None] * len(tweets), np.zeros((len(tweets), 7)))


def state(*ids: int) -> UserState:
    out = UserState()
    for at, key in enumerate(ids, start=1000):
        out.engage(key, 7, "retweet", at)
    return out


def readers(model: ServingModel, *states: UserState) -> NDArray[np.void]:
    tweets = [tweet(i) for i in range(5)]
    vectors, terms = embed(model, *tweets), model.terms(tweets)
    records = {i: TweetRecord("a", 10**12, (), vectors[i], terms[i]) for i in range(5)}
    return np.concatenate([model.user_vectors({"the same": state}, records) for state in states])


def scores(
    model: ServingModel, users: NDArray[np.void], features: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Of each user and tweet 0."""
    n = len(users)
    if features is None:
        features = np.zeros((n, len(PAIR_FEATURES)), np.float32)
    rows = model.user_rows(n)
    rows.set(np.arange(n), users, np.zeros(n, np.uint32))
    first = [tweet(0)]
    return model.score(
        embed(model, *first), model.terms(first), np.zeros(n, np.intp), rows, np.arange(n), features
    )


USERS: list[UserConfig] = [Attention(heads=2, **SMALL), StarSpace(**SMALL), ProfileOnly(), Anybody()]


@pytest.mark.parametrize("user", USERS, ids=lambda user: type(user).__name__)
def test_every_user_encoder_is_served(tmp_path: Path, user: UserConfig) -> None:
    model = load(tmp_path, config(user))
    model.warm_up()
    known = UserState()
    known.set_profile(Profile(followers=100, description="a reader of books"))
    found = scores(model, readers(model, UserState(), state(1, 2), known, state(0)))
    differ = np.abs(found[1:] - found[0]).max(1) > 1e-4
    reads_history = not isinstance(user, ProfileOnly | Anybody)
    assert differ.tolist() == [reads_history, not isinstance(user, Anybody), reads_history]


def test_without_a_user_everybody_is_alike(tmp_path: Path) -> None:
    model = load(tmp_path, config(Anybody()))
    features = np.random.default_rng(0).normal(size=(2, len(PAIR_FEATURES))).astype(np.float32)
    found = scores(model, readers(model, state(0), state(1, 2)), features)
    np.testing.assert_array_equal(found[0], found[1])


def test_without_edges_only_the_vectors_count(tmp_path: Path) -> None:
    model = load(tmp_path, config(edges=False))
    users = readers(model, state(0), state(0))
    users["sketch"][1] = 255
    users["interests"][1] ^= 0x11
    features = np.random.default_rng(0).normal(size=(2, len(PAIR_FEATURES))).astype(np.float32)
    found = scores(model, users, features)
    np.testing.assert_array_equal(found[0], found[1])
    users["vector"][1] += 9
    assert np.abs(np.subtract(*scores(model, users))).max() > 1e-4


@pytest.mark.parametrize(
    ("combine", "kept"), [("concat", {"a", "b"}), ("hadamard", {"c"}), ("both", {"a", "b", "c"})]
)
def test_what_is_left_out_stays_out_in_training(combine: str, kept: set[str]) -> None:
    torch.manual_seed(0)
    network = Network(config(combine=combine), 1, 200, {})
    optimizer = torch.optim.AdamW(network.ranker.parameters(), 0.1)
    ranker = network.ranker
    side = ranker.tweet(torch.randn(4, 16))
    vector, features = torch.randn(4, 16), torch.randn(4, ranker.features.low.shape[0])
    interests, filled = torch.zeros(4, 4, ranker.query.out_features), torch.zeros(4).long()
    ranker.pair(ranker.user(vector), vector, interests, filled, side, features).sum().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    alive = {name for name in "abc" if getattr(ranker, name).weight.any()}
    assert alive == kept


def test_concatenation_and_product_are_what_they_say() -> None:
    """Of the joint layer: a sum of a reader's and a tweet's part, or bilinear in both."""
    torch.manual_seed(0)
    u, t = torch.randn(2, 3, 16)

    def joint(network: Network, u: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        ranker = network.ranker
        out: torch.Tensor = ranker.user(u) + ranker.b(t) + ranker.c(u * t)
        return out

    for combine in ("concat", "hadamard"):
        network = Network(config(combine=combine), 1, 200, {}).eval()
        zero = joint(network, 0 * u, 0 * t)
        only_u, only_t = joint(network, u, 0 * t) - zero, joint(network, 0 * u, t) - zero
        both = joint(network, u, t) - zero
        if combine == "concat":
            torch.testing.assert_close(both, only_u + only_t)
        else:
            assert not only_u.any()
            assert not only_t.any()
            torch.testing.assert_close(joint(network, 2 * u, t) - zero, 2 * both)


def test_only_the_newest_engagements_count(tmp_path: Path) -> None:
    for user in (Attention(heads=2, history=2, **SMALL), StarSpace(history=2, **SMALL)):
        model = load(tmp_path / type(user).__name__, config(user))
        longer, shorter, other = readers(model, state(0, 1, 2, 3), state(2, 3), state(1, 3))
        for name in ("vector", "interests", "filled", "sketch"):
            np.testing.assert_array_equal(longer[name], shorter[name])
        assert (longer["vector"] != other["vector"]).any()
        assert (longer["sketch"] != other["sketch"]).any()


def test_without_history_nobody_has_engaged(tmp_path: Path) -> None:
    model = load(tmp_path, config(Attention(heads=2, history=0, readers=0, **SMALL)))
    found = readers(model, state(0, 1, 2))[0]
    for name in ("vector", "interests", "filled", "sketch"):
        np.testing.assert_array_equal(found[name], model.cold[0][name])


def test_authors_and_metadata_may_be_left_out(tmp_path: Path) -> None:
    full = load(tmp_path / "full", config())
    no_author = load(tmp_path / "author", config(tweet={"author_width": 0}))
    bare = load(tmp_path / "bare", config(tweet={"author_width": 0, "metadata": False}))
    tweets = [tweet(0), tweet(0, author_id="b"), tweet(0, kind="reply"), tweet(1)]
    for model, alike in (
        (full, [False, False, False]),
        (no_author, [True, False, False]),
        (bare, [True, True, False]),
    ):
        vectors = embed(model, *tweets)
        assert [bool((vectors[0] == other).all()) for other in vectors[1:]] == alike


def test_a_model_that_does_not_read_has_no_words(tmp_path: Path) -> None:
    tiny_bundle(tmp_path, config=replace(config(), text=NoText()))
    model = ServingModel.load(tmp_path, "cpu")
    first, second, third = embed(
        model, tweet(0), tweet(0, text="the quick brown fix"), tweet(0, kind="reply")
    )
    np.testing.assert_array_equal(first, second)  # of the same length
    assert (first != third).any()
    assert not model.term_weights.any()


def test_a_product_needs_a_user(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="without a user"):
        config(Anybody(), combine="hadamard")
    (tmp_path / "recipe.toml").write_text('[model.user]\ntype = "none"\n[model.ranker]\ncombine = "hadamard"')
    with pytest.raises(RecipeError, match="without a user") as caught:
        Recipe.load(tmp_path / "recipe.toml")
    assert "\n" not in str(caught.value)
    assert msgspec.json.decode(msgspec.json.encode(config(Anybody())), type=ModelConfig).user == Anybody()
