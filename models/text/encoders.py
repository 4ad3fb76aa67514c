"""Text encoders: token ids to one vector a text; which module builds which kind.

Knows nothing of tokenisers beyond their size, nor of authors and metadata (`models.towers`).
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from models.recipe import Bag, TextConfig, Transformer


class TextEncoder(Protocol):
    """A module. `width` is the length of its vectors."""

    width: int

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids int64 [n, l] and mask bool [n, l] to vectors [n, width]."""


def build_text(config: TextConfig, vocabulary: int, architecture: dict[str, Any]) -> TextEncoder:
    """The encoder that a recipe names, untrained. `architecture` is a transformer's Hugging Face config."""
    match config:
        case Transformer():
            from models.text.transformer import TransformerText, small_bert

            return TransformerText(config, architecture or small_bert(config, vocabulary))
        case Bag():
            from models.text.bag import BagText

            return BagText(config, vocabulary)
