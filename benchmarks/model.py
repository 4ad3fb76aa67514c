"""The model that is measured with: the demo's small BERT, default dimensions, random weights.

Weights do not change how long anything takes. The only place here that knows how `ServingModel` is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.bundle import Bundle, BundleConfig
from models.calibration import Curve
from models.events import HEADS, Tweet
from models.network import Network
from models.recipe import Bag, ModelConfig, Recipe, Transformer
from models.scorer import UserRows
from models.serving import ServingModel
from models.state.keys import id_key, short_key
from models.state.tweet import TweetRecord
from models.state.user import UserState
from models.state.vector import decode
from models.text.terms import Terms, learn_weights
from models.text.tokens import Tokens, learn_wordpiece

#: The demo's text encoder.
TEXT: Final = Transformer(layers=1, width=32, max_tokens=24, vocabulary=2_000)


def make_bundle(folder: Path, texts: Sequence[str], text: Transformer | Bag = TEXT, seed: int = 1) -> Path:
    """Write a bundle whose tokeniser and term weights are learned from `texts`; takes a second."""
    config = ModelConfig(text=text)
    tokens = Tokens(learn_wordpiece(texts, text.vocabulary), text.max_tokens, ())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(config, len(HEADS), tokens.size, {})
    network.term_weights.copy_(torch.from_numpy(learn_weights(texts)))
    # Curves that keep the random logits' probabilities apart, and low as they are in life.
    curves: dict[str, Curve] = {head: Curve(scale=4.0, shift=-3.0) for head in HEADS}
    bundle = Bundle(BundleConfig(heads=list(HEADS), recipe=Recipe(model=config)), network, tokens, curves)
    bundle.save_pretrained(folder)
    return folder


def tweet_records(
    model: ServingModel, tweets: Sequence[Tweet], sums: NDArray[np.float64] | None = None
) -> dict[int, TweetRecord]:
    """Records by key of tweets by authors without a profile, with their counts [n, 7] before each tweet."""
    sums = np.zeros((len(tweets), 7)) if sums is None else sums
    vectors = model.embed(tweets, [None] * len(tweets), sums)
    rows = zip(tweets, vectors, model.terms(tweets), strict=True)
    return {
        id_key(tweet.tweet_id): TweetRecord(tweet.author_id, tweet.created_at, (), vector, terms)
        for tweet, vector, terms in rows
    }


def user_vectors(model: ServingModel, states: Sequence[UserState], tweets: Sequence[Tweet]) -> list[bytes]:
    """What is stored of users with these states, whose histories are of these tweets."""
    records = tweet_records(model, tweets)
    users = [(str(number), state) for number, state in enumerate(states)]
    parts = (dict(users[start : start + 256]) for start in range(0, len(users), 256))
    return [vector.tobytes() for part in parts for vector in model.user_vectors(part, records)]


def user_rows(model: ServingModel, users: Sequence[str], vectors: Sequence[bytes | None]) -> UserRows:
    """Users ready to be scored, in the slots of their order; those without a vector as the cold user."""
    records = np.repeat(model.cold, len(users))
    known = [place for place, vector in enumerate(vectors) if vector is not None]
    records[known] = decode([vector for vector in vectors if vector is not None], model.user_dtype)
    rows = model.user_rows(len(users))
    keys = np.fromiter(map(short_key, users), np.uint32, len(users))
    rows.set(np.arange(len(users)), records, keys)
    return rows


def score(
    model: ServingModel,
    tweets: NDArray[np.float16],
    terms: Terms,
    tweet: NDArray[np.intp],
    rows: UserRows,
    slots: NDArray[np.intp],
    features: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Probabilities [n, heads] of pairs (tweets[tweet[i]], slots[i]) with their features."""
    return model.score(tweets, terms, tweet, rows, slots, features)


def flops(model: ServingModel) -> int:
    """Floating-point operations that a pair needs: the ranker's products and its similarities.

    A piecewise linear code adds a step and a slope for each feature, whatever the number of its bins.
    """
    ranker, user = model.bundle.network.ranker, model.bundle.config.model.user
    codes = 2 * len(ranker.features.low) * ranker.c.out_features
    layers = (ranker.c, ranker.middle, ranker.heads)
    products = sum(layer.weight.numel() for layer in layers)
    return 2 * (products + codes + user.interests * user.interest_width)


def row_bytes(model: ServingModel) -> int:
    """Bytes that a user takes in memory."""
    return model.user_rows(1).row_bytes
