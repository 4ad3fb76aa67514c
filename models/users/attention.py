"""Self-attention over a user's profile, taste, self and last engagements."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, pad, scaled_dot_product_attention

from models.dropout import Dropout
from models.recipe import Attention
from models.rounding import VECTOR
from models.users.base import Histories, UserEncoder, UserVectors
from models.users.parts import Circumstances, Interests, Profile, Reader, Taste, dropped


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
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Tokens [n, m, d] with mask bool [n, m] to tokens [n, m, d]."""
        n, m, d = x.shape
        qkv = self.qkv(self.norm(x)).view(n, m, 3, self.heads, d // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        attended = scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        return self._through(x, attended.transpose(1, 2).reshape(n, m, d))

    def first(self, x: Tensor, mask: Tensor) -> Tensor:
        """What `forward` makes of the first token, [n, d], for a fraction of the work.

        For one query the projections of keys and values can wait: q·(K·x) is (Kᵀ·q)·x, and the mean of
        V·x is V times the mean of x. (Keys' biases add the same to all scores, which says nothing.)
        """
        n, _, d = x.shape
        normed = self.norm(x)
        of_q, of_k, of_v = self.qkv.weight.view(3, self.heads, -1, d)
        bias = self.qkv.bias.view(3, self.heads, -1)
        q = torch.einsum("nd,hed->nhe", normed[:, 0], of_q) + bias[0]
        scores = torch.einsum("nhe,hed->nhd", q, of_k) @ normed.transpose(1, 2)
        scores = (scores * (d // self.heads) ** -0.5).masked_fill(~mask.unsqueeze(1), -torch.inf)
        attended = torch.einsum("nhd,hed->nhe", scores.softmax(-1) @ normed, of_v) + bias[2]
        return self._through(x[:, 0], attended.reshape(n, d))

    def _through(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.dropout(self.out(attended))
        out: Tensor = x + self.dropout(self.down(gelu(self.up(self.norm_forward(x)))))
        return out


class AttentionUser(UserEncoder):
    """Profile, taste and the reader's own embedding are the first token; what it has become after the blocks
    is the user vector.
    """

    def __init__(self, config: Attention, dimensions: int, author_width: int, taste_width: int) -> None:
        super().__init__()
        self.config = config
        self.profile = Profile(dimensions)
        self.taste = Taste(taste_width, dimensions) if taste_width else None
        self.reader = Reader(config.readers, dimensions, config.reader_dropout) if config.readers else None
        self.circumstances = Circumstances(dimensions)
        self.author = nn.Linear(author_width, dimensions, bias=False) if author_width else None
        self.blocks = nn.ModuleList(
            AttentionBlock(dimensions, config.heads, config.dropout) for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(dimensions)
        self.interests = Interests(dimensions, config.interests, config.interest_width)

    def fit(self, profiles: Tensor) -> None:
        """See `UserEncoder`."""
        self.profile.features.fit(profiles)

    def meet(self, readers: Tensor, exposures: Tensor) -> None:
        """See `UserEncoder`."""
        if self.reader is not None:
            self.reader.meet(readers, exposures)

    def forward(self, users: Histories, authors: Tensor) -> UserVectors:
        """See `UserEncoder`."""
        mask = dropped(users.mask, self.config.item_dropout, self.training)
        circumstances = self.circumstances(users)
        items = users.vectors + circumstances
        if self.author is not None:
            items = items + self.author(authors)
        person = self.profile(users)
        if self.taste is not None:
            person = person + self.taste(users.tastes)
        if self.reader is not None:
            person = person + self.reader(users)
        x = torch.cat([person.unsqueeze(1), items], dim=1)
        seen = pad(mask, (1, 0), value=True)
        for block in self.blocks[:-1]:
            x = block(x, seen)
        vector = self.norm(cast(AttentionBlock, self.blocks[-1]).first(x, seen))
        interests, filled = self.interests(users.vectors, circumstances, mask)
        return UserVectors(VECTOR.rounded(vector), interests, filled)
