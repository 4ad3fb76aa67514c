"""A bag of word pieces as a text encoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from models.recipe import Bag
from models.text.base import TextEncoder


class BagText(TextEncoder):
    """The mean of the word pieces' embeddings."""

    def __init__(self, config: Bag, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(vocabulary, config.width, mode="sum")
        nn.init.normal_(self.embedding.weight, std=config.width**-0.5)
        self.width = config.width
        self.architecture = {}

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids int64 [n, l] and mask bool [n, l] to vectors [n, width]."""
        return self._sums(ids[mask], mask.sum(1))  # end to end: padding would double the work

    def packed(self, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """See `TextEncoder`."""
        return self._sums(ids, torch.tensor(lengths, device=ids.device))

    def _sums(self, ids: Tensor, lengths: Tensor) -> Tensor:
        total: Tensor = self.embedding(ids, lengths.cumsum(0) - lengths)
        return total / lengths.unsqueeze(1).sqrt()
