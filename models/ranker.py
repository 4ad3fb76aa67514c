"""A user's vectors, a tweet vector and pair features to one logit for each action.

`z = A·u + B·t + C·(u ∘ t) + D·e`, then a small network, and `S·z` beside it (wide and deep: Cheng et al.
2016), which learns from fewer exposures: with 3,000 of a real log that was worth 1 to 3 points of RCE.
`A·u` belongs to the user and `B·t` to the tweet, so that serving computes each once (`Ranker.user`,
`Ranker.tweet`) and only `Ranker.pair` for every pair. What a recipe leaves out are weights that stay 0, so
that serving needs no code for it. Knows nothing of where the vectors come from.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import hardswish, normalize

from models.dropout import Dropout
from models.features import PAIR_FEATURES
from models.piecewise import PiecewiseLinear
from models.recipe import ModelConfig
from models.text.coverage import COVERAGE
from models.text.likeness import LIKENESS

#: Similarities to a user's interests that join the pair features: largest, mean, and what lies between,
#: the power mean of order 4 of those above 0.
SIMILARITIES = 3


class TweetSide(NamedTuple):
    """What the ranker needs of tweets: the vectors [n, d], `B·t` [n, h] and unit queries [n, w]."""

    vector: Tensor
    projected: Tensor
    query: Tensor


class Ranker(nn.Module):
    """See the module."""

    def __init__(self, model: ModelConfig, heads: int) -> None:
        super().__init__()
        config, dimensions = model.ranker, model.tweet.dimensions
        width = config.hidden
        self.features = PiecewiseLinear(len(PAIR_FEATURES) + len(COVERAGE) + len(LIKENESS))
        self.a = nn.Linear(dimensions, width)
        self.b = nn.Linear(dimensions, width, bias=False)
        self.c = nn.Linear(dimensions, width, bias=False)
        self.d = nn.Linear(self.features.width + SIMILARITIES, width, bias=False)
        self.query = nn.Linear(dimensions, model.user.interest_width, bias=False)
        self.middle = nn.Linear(width, config.hidden_last)
        self.heads = nn.Linear(config.hidden_last, heads)
        self.skip = nn.Linear(width, heads, bias=False)
        nn.init.zeros_(self.skip.weight)
        self.dropout = Dropout(config.dropout)
        if config.combine == "hadamard":
            _leave_out(self.a, self.b)
        if config.combine == "concat":
            _leave_out(self.c)
        if not model.edges:
            _leave_out(self.d)

    def start_as(self, weights: Tensor, bias: Tensor) -> None:
        """Let logit i be `bias` [heads], a tweet vector's number i, and what `weights` [heads, codes] make of
        pair features. Where the recipe leaves a way out, nothing comes from there.
        """
        heads = len(bias)
        for layer in (self.a, self.b, self.c, self.d):
            layer.weight[:heads] = 0
        self.a.bias[:heads] = 0
        if self.b.weight.requires_grad:
            self.b.weight[:heads, :heads] = torch.eye(heads)
        self.d.weight[:heads, : self.features.width] = weights
        self.skip.weight[:, :heads] = torch.eye(heads)
        self.heads.weight.zero_()
        self.heads.bias.copy_(bias)

    def user(self, vector: Tensor) -> Tensor:
        """`A·u` [n, h] of user vectors [n, d]."""
        out: Tensor = self.a(vector)
        return out

    def tweet(self, vector: Tensor) -> TweetSide:
        """What belongs to tweets [n, d] alone."""
        return TweetSide(vector, self.b(vector), normalize(self.query(vector), dim=-1))

    def pair(
        self,
        projected: Tensor,
        vector: Tensor,
        interests: Tensor,
        filled: Tensor,
        tweet: TweetSide,
        features: Tensor,
    ) -> Tensor:
        """Logits [n, heads] of pairs: the readers' `A·u`, u, interests, filled; tweets' side; features.

        `features` are `pair_features`, then `coverage`, then `likeness`.
        """
        close = self.similarities(interests, filled, tweet.query)
        e = torch.cat([self.features(features), close], dim=-1)
        z = projected + tweet.projected + self.c(vector * tweet.vector) + self.d(e)
        deep = self.middle(self.dropout(hardswish(z)))
        out: Tensor = self.heads(hardswish(deep)) + self.skip(z)
        return out

    def similarities(self, interests: Tensor, filled: Tensor, query: Tensor) -> Tensor:
        """SIMILARITIES [n, 3] of queries [n, w] to interests [n, k, w], of which `filled` [n] count.

        0 for users without interests.
        """
        close = torch.einsum("nkw,nw->nk", interests, query)
        live = torch.arange(close.shape[1], device=close.device) < filled.unsqueeze(1)
        count = filled.clamp_min(1).to(close.dtype)
        close = close * live
        power = (close.clamp_min(0.0) ** 4).sum(1) / count
        largest = close.masked_fill(~live, -8.0).amax(1)
        # The root's slope at 0 has no bound: near it, the power mean starts at 0.056.
        out = torch.stack([largest, close.sum(1) / count, (power + 1e-5) ** 0.25], dim=1)
        return torch.where(filled.unsqueeze(1) > 0, out, 0.0)


def _leave_out(*layers: nn.Linear) -> None:
    for layer in layers:
        nn.init.zeros_(layer.weight.requires_grad_(False))
