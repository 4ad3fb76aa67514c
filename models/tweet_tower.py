"""Text, author and metadata to a tweet vector.

Knows nothing of token ids (`models.text`), nor of readers.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from models.dropout import Dropout
from models.features import TWEET_FEATURES
from models.piecewise import PiecewiseLinear
from models.recipe import TweetConfig


class TweetTower(nn.Module):
    """Text vector, author and metadata to a tweet vector [n, dimensions]."""

    def __init__(self, config: TweetConfig, text_width: int) -> None:
        super().__init__()
        self.config = config
        self.features = PiecewiseLinear(len(TWEET_FEATURES))
        self.text_norm = nn.LayerNorm(text_width)
        self.author = nn.Embedding(config.author_buckets, config.author_width)
        nn.init.normal_(self.author.weight, std=0.1)
        self.text = nn.Linear(text_width, config.dimensions)
        #: Of the joint vector: text, author, metadata.
        self._parts = [text_width, config.author_width, *([self.features.width] if config.metadata else [])]
        self.hidden = nn.Linear(sum(self._parts), config.hidden)
        self.out = nn.Linear(config.hidden, config.dimensions)
        self.metadata = nn.Linear(self.features.width, config.dimensions, bias=False)
        nn.init.zeros_(self.metadata.weight).requires_grad_(config.metadata)
        self.norm = nn.LayerNorm(config.dimensions)
        self.dropout = Dropout(config.dropout)

    def start_as(self, weights: Tensor) -> None:
        """Let vectors begin with what `weights` [heads, codes] make of the metadata, and nothing else."""
        self.norm.weight[: len(weights)] = 0
        self.metadata.weight[: len(weights)] = weights

    def bucket(self, authors: Tensor) -> Tensor:
        """Author short keys int64 [n] to embedding rows; bucket 0 is for the unknown author (key 0)."""
        return torch.where(authors > 0, authors % (self.config.author_buckets - 1) + 1, 0)

    def forward(self, text: Tensor, authors: Tensor, features: Tensor) -> Tensor:
        """Text vectors [n, w], author short keys int64 [n], `tweet_features` [n, f] to vectors [n, d]."""
        if self.training and self.config.author_dropout:
            authors = authors * (
                torch.rand(authors.shape, device=authors.device) >= self.config.author_dropout
            )
        text = self.dropout(self.text_norm(text))
        codes, used = self.features.dense(features), self.features.used
        # One product for each part of the joint vector: what does not learn needs no gradients.
        of_text, of_author, *of_codes = torch.split(self.hidden.weight, self._parts, dim=1)
        hidden = linear(text, of_text, self.hidden.bias)
        hidden = hidden + linear(self.author(self.bucket(authors)), of_author)
        for weight in of_codes:
            hidden = hidden + linear(codes, weight[:, used])
        hidden = self.dropout(gelu(hidden))
        # Behind the norm, where texts do not drown what a few thousand exposures tell of metadata.
        told = linear(codes, self.metadata.weight[:, used])
        vectors: Tensor = self.norm(self.text(text) + self.out(hidden)) + told
        return vectors
