"""The two towers: text, author and metadata to a tweet vector; history and profile to a user's vectors.

Knows nothing of token ids (`models.text`), of pair features or of probabilities (`models.ranker`).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, normalize, pad, scaled_dot_product_attention

from models.features import PROFILE_FEATURES, TWEET_FEATURES
from models.piecewise import PiecewiseLinear
from models.recipe import TweetConfig, UserConfig
from models.rounding import INTEREST, VECTOR
from models.state.decay import ACTIONS, DAY
from models.state.user import HISTORY, WORD_BUCKETS

#: Ages of history items fall into buckets of doubling length: under an hour, two, four, ... years.
_AGE_BUCKETS = 20


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
        joint = text_width + config.author_width + self.features.width
        self.hidden = nn.Linear(joint, config.hidden)
        self.out = nn.Linear(config.hidden, config.dimensions)
        self.norm = nn.LayerNorm(config.dimensions)
        self.dropout = nn.Dropout(config.dropout)

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
        author = self.author(self.bucket(authors))
        joint = torch.cat([text, author, self.features(features)], dim=-1)
        hidden = self.dropout(gelu(self.hidden(joint)))
        vectors: Tensor = self.norm(self.text(text) + self.out(hidden))
        return vectors


class Histories(NamedTuple):
    """A batch of users. `vectors` [n, m, d] are the tweet vectors of the items, the newest first.

    `mask` bool [n, m] is True where there is an item; `actions` and `ages` (seconds before the newest item)
    are int64 [n, m]; `profile` [n, p]; `words` int64 [n, w], 0 where there is none.
    """

    vectors: Tensor
    mask: Tensor
    authors: Tensor
    actions: Tensor
    ages: Tensor
    profile: Tensor
    words: Tensor


class UserVectors(NamedTuple):
    """`vector` [n, d], `interests` [n, k, w] of which the first `filled` int64 [n] count; all rounded."""

    vector: Tensor
    interests: Tensor
    filled: Tensor


class AttentionBlock(nn.Module):
    """Pre-norm self-attention and a feed-forward layer."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.norm_forward = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.down = nn.Linear(2 * width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Tokens [n, m, d] with mask bool [n, m] to tokens [n, m, d]."""
        n, m, d = x.shape
        qkv = self.qkv(self.norm(x)).view(n, m, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        x = x + self.dropout(self.out(attended.transpose(1, 2).reshape(n, m, d)))
        out: Tensor = x + self.dropout(self.down(gelu(self.up(self.norm_forward(x)))))
        return out


class UserTower(nn.Module):
    """History and profile to a user vector and interest vectors."""

    def __init__(self, config: UserConfig, tweet: TweetConfig, author: nn.Embedding) -> None:
        super().__init__()
        self.config = config
        d = tweet.dimensions
        self.profile = PiecewiseLinear(len(PROFILE_FEATURES))
        self.words = nn.EmbeddingBag(WORD_BUCKETS, d, mode="sum", padding_idx=0)
        nn.init.normal_(self.words.weight, std=0.05)
        self.start = nn.Linear(self.profile.width, d)
        self.action = nn.Embedding(len(ACTIONS), d)
        self.age = nn.Embedding(_AGE_BUCKETS, d)
        self.position = nn.Embedding(HISTORY, d)
        for table in (self.action, self.age, self.position):
            nn.init.normal_(table.weight, std=0.1)
        self.author = nn.Linear(author.embedding_dim, d, bias=False)
        self.blocks = nn.ModuleList(
            AttentionBlock(d, config.heads, config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(d)
        self.interest = nn.Linear(d, config.interest_width, bias=False)
        self.gate = nn.Linear(d, 1)

    def forward(self, users: Histories, author: Tensor) -> UserVectors:
        """`author` [n, m, a] are the items' author embeddings."""
        m = users.mask.shape[1]
        mask = users.mask
        if self.training and self.config.item_dropout:
            mask = mask & (torch.rand(mask.shape, device=mask.device) >= self.config.item_dropout)
        hours = users.ages.clamp_min(0).to(torch.float32) / (DAY / 24) + 1.0
        bucket = hours.log2().to(torch.int64).clamp_max(_AGE_BUCKETS - 1)
        context = self.action(users.actions) + self.age(bucket) + self.position.weight[:m]
        items = users.vectors + context + self.author(author)
        first = self.start(self.profile(users.profile)) + self.words(users.words)
        x = torch.cat([first.unsqueeze(1), items], dim=1)
        seen = pad(mask, (1, 0), value=True)
        for block in self.blocks:
            x = block(x, seen)
        x = self.norm(x)
        interests, filled = self._interests(users.vectors, context, mask)
        return UserVectors(VECTOR.rounded(x[:, 0]), interests, filled)

    def _interests(self, vectors: Tensor, context: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        k = self.config.interests
        if not self.training:
            # In float64 no number comes so near to an edge of the grid that a batch's shape decides.
            vectors, context = vectors.double(), context.double()
        # How much an item's similarity counts depends on its action, age and place.
        gate = linear(context, self.gate.weight.to(context), self.gate.bias.to(context))
        weight = torch.sigmoid(gate + 2.0)
        items = normalize(linear(vectors, self.interest.weight.to(vectors)), dim=-1) * weight
        # Items that count come first, so that `filled` can say how many there are.
        order = torch.argsort((~mask).to(torch.int8), dim=1, stable=True)[:, :k]
        items = torch.gather(items, 1, order.unsqueeze(-1).expand(-1, -1, items.shape[-1]))
        items = pad(items, (0, 0, 0, k - items.shape[1]))
        filled = mask.sum(1).clamp_max(k)
        live = torch.arange(k, device=mask.device) < filled.unsqueeze(1)
        return INTEREST.rounded(items * live.unsqueeze(-1)).float(), filled
