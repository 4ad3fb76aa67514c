"""What every text encoder is."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class TextEncoder(nn.Module):
    """`width` is the length of its vectors, `architecture` what a transformer is rebuilt from."""

    width: int
    architecture: dict[str, Any]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids int64 [n, l] and mask bool [n, l] to vectors [n, width]."""
        raise NotImplementedError
