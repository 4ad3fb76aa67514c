"""What user encoders are made of: the profile, the circumstances of engagements, the interests.

Knows nothing of which encoder has which.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear, normalize, pad

from models.features import PROFILE_FEATURES
from models.piecewise import PiecewiseLinear
from models.rounding import INTEREST
from models.state.decay import ACTIONS, DAY
from models.state.user import HISTORY, WORD_BUCKETS
from models.users.base import Histories

#: Ages of history items fall into buckets of doubling length: under an hour, two, four, ... years.
_AGE_BUCKETS = 20
#: By how much faster than the rest readers' embeddings learn: AdamW moves a number by its rate at most in
#: each step, and a reader is in few of them.
_READER_RATE = 50.0
#: Exposures of a reader with which the embedding counts for a quarter. Those of few must not learn at all:
#: with 20 each, on a simulated log, RCE 12.9 where the share fell with the first power (and 100), 13.9 so,
#: 14.0 without embeddings. With 1,000 each either is worth the same.
_READER_PRIOR = 300.0
#: Above all short keys.
_NOBODY = 1 << 32


def word_embeddings(dimensions: int) -> nn.EmbeddingBag:
    """Sums of embeddings of profile words; bucket 0 is none."""
    words = nn.EmbeddingBag(WORD_BUCKETS, dimensions, mode="sum", padding_idx=0)
    nn.init.normal_(words.weight, std=0.05)
    return words


class Profile(nn.Module):
    """Profile features and words as one vector [n, d]."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.features = PiecewiseLinear(len(PROFILE_FEATURES))
        self.words = word_embeddings(dimensions)
        self.start = nn.Linear(self.features.width, dimensions)

    def forward(self, users: Histories) -> Tensor:
        """See the class."""
        out: Tensor = self.start(self.features(users.profile)) + self.words(users.words)
        return out


class Taste(nn.Module):
    """How a user leans, by all that was engaged with and shown, as vectors [n, d]."""

    def __init__(self, width: int, dimensions: int) -> None:
        super().__init__()
        self.plain = nn.Linear(2 * width + 2, dimensions)
        self.up = nn.Linear(2 * width + 2, 2 * dimensions)
        self.down = nn.Linear(2 * dimensions, dimensions)

    def forward(self, tastes: Tensor) -> Tensor:
        """See the class; of `Histories.tastes`."""
        out: Tensor = self.plain(tastes) + self.down(gelu(self.up(tastes)))
        return out


class Reader(nn.Module):
    """What is particular to each reader, as vectors [n, d]: the only trace of what was shown in vain.

    Of the `most` readers with the most exposures to learn from; it counts for less the fewer those are, and
    for nothing of others, or where nothing is known of a user.
    """

    def __init__(self, most: int, dimensions: int, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(most, dimensions)
        nn.init.zeros_(self.embedding.weight)
        self.keys: Tensor  # whose rows they are, ascending
        self.register_buffer("keys", torch.full((most,), _NOBODY))
        self.exposures: Tensor  # to learn from, by row
        self.register_buffer("exposures", torch.zeros(most))
        self.dropout = dropout

    def meet(self, readers: Tensor, exposures: Tensor) -> None:
        """See `UserEncoder.meet`."""
        most = exposures.argsort(descending=True, stable=True)[: len(self.keys)].sort().values
        self.keys[: len(most)] = readers[most]
        self.exposures[: len(most)] = exposures[most].to(self.exposures)

    def forward(self, users: Histories) -> Tensor:
        """See the class."""
        row = torch.searchsorted(self.keys, users.readers).clamp_max(len(self.keys) - 1)
        known = self.keys[row] == users.readers
        if self.training and self.dropout:
            known = known & (torch.rand(known.shape, device=known.device) >= self.dropout)
        count = self.exposures[row]
        weight = known * _READER_RATE * (count / (count + _READER_PRIOR)) ** 2
        out: Tensor = self.embedding(row) * weight.unsqueeze(1)
        return out


class Circumstances(nn.Module):
    """What was done, how long ago and at which place in the history, as vectors [n, m, d]."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.action = nn.Embedding(len(ACTIONS), dimensions)
        self.age = nn.Embedding(_AGE_BUCKETS, dimensions)
        self.position = nn.Embedding(HISTORY, dimensions)
        for table in (self.action, self.age, self.position):
            nn.init.normal_(table.weight, std=0.1)

    def forward(self, users: Histories) -> Tensor:
        """See the class."""
        hours = users.ages.clamp_min(0).to(torch.float32) / (DAY / 24) + 1.0
        bucket = hours.log2().to(torch.int64).clamp_max(_AGE_BUCKETS - 1)
        place = self.position.weight[: users.mask.shape[1]]
        out: Tensor = self.action(users.actions) + self.age(bucket) + place
        return out


class Interests(nn.Module):
    """The newest `count` engaged tweets, as `width` numbers each to compare tweets with."""

    def __init__(self, dimensions: int, count: int, width: int) -> None:
        super().__init__()
        self.count = count
        self.interest = nn.Linear(dimensions, width, bias=False)
        self.gate = nn.Linear(dimensions, 1)

    def forward(self, vectors: Tensor, circumstances: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Tweet vectors and circumstances [n, m, d], mask [n, m] to interests [n, k, w] and filled [n]."""
        k = self.count
        if not self.training:
            # In float64 no number comes so near to an edge of the grid that a batch's shape decides.
            vectors, circumstances = vectors.double(), circumstances.double()
        # How much an item's similarity counts depends on its action, age and place.
        gate = linear(circumstances, self.gate.weight.to(circumstances), self.gate.bias.to(circumstances))
        items = normalize(linear(vectors, self.interest.weight.to(vectors)), dim=-1)
        items = items * torch.sigmoid(gate + 2.0)
        # Items that count come first, so that `filled` can say how many there are.
        order = torch.argsort((~mask).to(torch.int8), dim=1, stable=True)[:, :k]
        items = torch.gather(items, 1, order.unsqueeze(-1).expand(-1, -1, items.shape[-1]))
        items = pad(items, (0, 0, 0, k - items.shape[1]))
        filled = mask.sum(1).clamp_max(k)
        live = torch.arange(k, device=mask.device) < filled.unsqueeze(1)
        return INTEREST.rounded(items * live.unsqueeze(-1)).float(), filled


def dropped(mask: Tensor, rate: float, training: bool) -> Tensor:
    """A mask of items with a share left out while training."""
    if not training or not rate:
        return mask
    return mask & (torch.rand(mask.shape, device=mask.device) >= rate)
