"""A user as the bag of the engaged tweets.

Wu, Fisch, Chopra, Adams, Bordes, Weston, "StarSpace: Embed All The Things!" (2017), users as bags of
documents: one of a user's tweets, drawn at random, must be nearer to the bag of the others than tweets of
other users are, by a margin.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, relu

from models.recipe import StarSpace
from models.rounding import VECTOR
from models.state.decay import ACTION_INDEX
from models.users.base import Histories, UserEncoder, UserVectors
from models.users.parts import Circumstances, Interests, word_embeddings


class StarSpaceUser(UserEncoder):
    """The mean of the tweet vectors of what was engaged with, and of the profile's words."""

    def __init__(self, config: StarSpace, dimensions: int) -> None:
        super().__init__()
        self.config = config
        self.words = word_embeddings(dimensions)
        self.circumstances = Circumstances(dimensions)
        self.interests = Interests(dimensions, config.interests, config.interest_width)

    def forward(self, users: Histories, authors: Tensor) -> UserVectors:
        """See `UserEncoder`."""
        liked = users.mask & (users.actions != ACTION_INDEX["hide"])
        interests, filled = self.interests(users.vectors, self.circumstances(users), users.mask)
        vector = VECTOR.rounded(self._bag(users, liked))
        loss = self._ranking(users, liked) if self.training and self.config.ranking else None
        return UserVectors(vector, interests, filled, loss)

    def _bag(self, users: Histories, items: Tensor) -> Tensor:
        """Means [n, d] over words and the items of a mask [n, m]."""
        total = (users.vectors * items.unsqueeze(-1)).sum(1) + self.words(users.words)
        count = items.sum(1) + (users.words > 0).sum(1)
        mean: Tensor = total / count.clamp_min(1).unsqueeze(1)
        return mean

    def _ranking(self, users: Histories, liked: Tensor) -> Tensor:
        """The weighted margin loss of those users of the batch who have two tweets or more."""
        chosen = torch.nonzero(liked.sum(1) > 1)[:, 0]
        n = len(chosen)
        if n < 2:
            return users.vectors.sum() * 0.0
        mine = Histories(*(part[chosen] for part in users))
        drawn = torch.multinomial(liked[chosen].float(), 1)  # [n, 1]
        rest = liked[chosen].scatter(1, drawn, False)
        bags = normalize(self._bag(mine, rest), dim=-1)
        tweets = normalize(mine.vectors[torch.arange(n, device=drawn.device), drawn[:, 0]], dim=-1)
        # Negatives are what was drawn for the next users but a random number: no two of them the same.
        steps = torch.randperm(n - 1, device=drawn.device)[: self.config.negatives]
        others = (torch.arange(n, device=drawn.device).unsqueeze(1) + steps + 1) % n
        right = (bags * tweets).sum(-1, keepdim=True)
        wrong = (bags.unsqueeze(1) * tweets[others]).sum(-1)
        return self.config.ranking * relu(self.config.margin - right + wrong).mean()
