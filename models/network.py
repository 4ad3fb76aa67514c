"""The whole network: a text encoder, the two towers and the ranker, built from a model config.

Knows nothing of training, of files or of serving.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.features import profile_features
from models.ranker import Ranker
from models.recipe import ModelConfig
from models.text.encoders import build_text
from models.text.tastes import Tastes, no_tastes
from models.text.terms import BUCKETS
from models.tweet_tower import TweetTower
from models.users.base import Histories, UserVectors
from models.users.encoders import build_user


class Network(nn.Module):
    """`heads` logits for pairs of readers and tweets."""

    def __init__(
        self, config: ModelConfig, heads: int, vocabulary: int, architecture: dict[str, Any]
    ) -> None:
        super().__init__()
        self.config, self.heads = config, heads
        self.text = build_text(config.text, vocabulary, architecture)
        self.tweet = TweetTower(config.tweet, self.text.width)
        self.user = build_user(config.user, config.tweet.dimensions, config.tweet.author_width, config.tastes)
        self.term_weights: Tensor  # of `models.text.terms`
        self.register_buffer("term_weights", torch.zeros(BUCKETS))
        for name, values in no_tastes(config.tastes)._asdict().items():
            self.register_buffer(f"taste_{name}", torch.from_numpy(values))
        self.ranker = Ranker(config, heads)

    @property
    def tastes(self) -> Tastes:
        """What tweets' and readers' tastes are made of."""
        return Tastes(*(self.get_buffer(f"taste_{name}").cpu().numpy() for name in Tastes._fields))

    def learn(self, tastes: Tastes) -> None:
        """Put in what `learn_tastes` found."""
        for name, values in tastes._asdict().items():
            self.get_buffer(f"taste_{name}").copy_(torch.from_numpy(values))

    def users(self, histories: Histories) -> UserVectors:
        """User vectors of a batch of histories."""
        author = self.tweet.author(self.tweet.bucket(histories.authors))
        vectors: UserVectors = self.user(histories, author)
        return vectors

    def pairs(
        self, users: UserVectors, user: Tensor, tweets: Tensor, tweet: Tensor, features: Tensor
    ) -> Tensor:
        """Logits [n, heads] of pairs (user[i], tweet[i]) with `models.batches.pair_inputs` [n, e]."""
        side = self.ranker.tweet(tweets)
        side = type(side)(*(part[tweet] for part in side))
        projected = self.ranker.user(users.vector)
        logits: Tensor = self.ranker.pair(
            projected[user], users.vector[user], users.interests[user], users.filled[user], side, features
        )
        return logits

    def fit_scales(self, pairs: Tensor, tweets: Tensor, stats: NDArray[np.void]) -> None:
        """Learn the scales of what `pairs` takes, of `tweet_features` and of profiles (STATS)."""
        self.ranker.features.fit(pairs)
        self.tweet.features.fit(tweets)
        known = stats[stats["known"] > 0]
        if len(known):
            self.user.fit(torch.from_numpy(profile_features(known)))

    def meet(self, readers: NDArray[np.uint32], exposures: NDArray[np.int64]) -> None:
        """Get to know readers: short keys [n], ascending, and how many exposures [n] teach of each."""
        device = self.device()
        self.user.meet(
            torch.from_numpy(readers.astype(np.int64)).to(device), torch.from_numpy(exposures).to(device)
        )

    def linear_inputs(self, pairs: Tensor, tweets: Tensor) -> Tensor:
        """What the network can be linear in, [n, i], of `models.batches.pair_inputs` and `tweet_features`.

        0 where the recipe leaves the way from there to the logits out.
        """
        pair = self.ranker.features(pairs) * self.ranker.d.weight.requires_grad
        way = self.ranker.b.weight.requires_grad and self.tweet.metadata.weight.requires_grad
        return torch.cat([pair, self.tweet.features(tweets) * way], dim=1)

    def start_as(self, weights: Tensor, bias: Tensor) -> None:
        """Let an untrained network be `weights` [heads, i] · `linear_inputs` + `bias` [heads], exactly.

        Number i of a tweet vector is then what the metadata say for head i, and of the joint layer the logit.
        """
        pairs = self.ranker.features.width
        with torch.no_grad():
            self.tweet.start_as(weights[:, pairs:])
            self.ranker.start_as(weights[:, :pairs], bias)

    def start_at(self, logits: Tensor) -> None:
        """Let an untrained network give these logits [heads], about, to everybody."""
        with torch.no_grad():
            self.ranker.heads.bias.copy_(logits)
            self.ranker.heads.weight.mul_(0.1)

    def device(self) -> torch.device:
        """Where its parameters are."""
        return next(self.parameters()).device
