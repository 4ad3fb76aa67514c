"""A tiny untrained bundle, built in well under a second, for tests that need a model of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase

import numpy as np
import torch
from msgspec.structs import replace

from models.bundle import Bundle, BundleConfig
from models.calibration import Curve
from models.network import Network
from models.recipe import (
    Attention,
    Bag,
    Cnn,
    Lstm,
    ModelConfig,
    NoText,
    RankerConfig,
    Recipe,
    TextConfig,
    Transformer,
    TweetConfig,
)
from models.state.keys import short_key
from models.state.user import WORD_BUCKETS
from models.text.prepare import learn_tokenizer
from models.text.tastes import Tastes
from models.text.terms import BUCKETS
from models.text.tokens import Tokens

_TEXTS = [
    "the quick brown fox jumps over the lazy dog",
    "streams of tweets become probabilities of retweets",
    "a senate vote on the budget, and a game of basketball tonight",
]

BAG = Bag(vocabulary=200, width=16)
BERT = Transformer(vocabulary=200, layers=1, width=32, max_tokens=32)
LSTM = Lstm(vocabulary=200, embedding=16, units=16)
CNN = Cnn(vocabulary=200, embedding=16, filters=8)


def tiny_config(text: TextConfig = BAG, interests: int = 4) -> ModelConfig:
    """16-dimensional vectors; the rest as small."""
    return ModelConfig(
        text=text,
        tweet=TweetConfig(dimensions=16, hidden=16, author_buckets=64, author_width=8),
        user=Attention(heads=2, interests=interests, readers=64),
        ranker=RankerConfig(hidden=32, hidden_last=16),
    )


def random_tastes(width: int) -> Tastes:
    """Of terms and words that lean anywhere, and of readers who differ."""
    rng = np.random.default_rng(0)
    terms = rng.normal(size=(BUCKETS, width)).astype(np.float32)
    terms[0] = 0
    center, spread = rng.normal(size=(2, width)).astype(np.float32)
    words = rng.normal(size=(WORD_BUCKETS, width)).astype(np.float32)
    words[0] = 0
    return Tastes(terms, center, np.abs(spread), words)


def tiny_bundle(
    path: Path,
    heads: Sequence[str] = ("retweet", "like", "reply", "quote"),
    seed: int = 0,
    config: ModelConfig | None = None,
    source: Sequence[str] = (),
) -> str:
    """Write a bundle with random weights into `path`; returns its fingerprint.

    The weights are random but not small, so that different pairs get different probabilities. Readers who are
    called by a letter have embeddings of their own. `source` is the vocabulary of `text_tokens`.
    """
    config = config or tiny_config()
    if source:
        config = replace(config, source_vocabulary="vocab.txt")
    tokens = Tokens(learn_tokenizer(config.text, _TEXTS * 3), config.text.max_tokens, source)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(config, len(heads), tokens.size, {})
        if not isinstance(config.text, NoText):
            network.term_weights[1:] = 1.0
            network.learn(random_tastes(config.tastes))
        if isinstance(config.user, Attention) and config.user.readers:
            torch.nn.init.normal_(network.get_parameter("user.reader.embedding.weight"), std=0.04)
            keys = np.sort(np.array([short_key(letter) for letter in ascii_lowercase], np.uint32))
            network.meet(keys, np.full(len(keys), 100))
    bundle = Bundle(
        BundleConfig(heads=list(heads), recipe=Recipe(model=config)),
        network,
        tokens,
        {head: Curve(scale=4.0, shift=-1.0) for head in heads},
    )
    return bundle.save_pretrained(path)
