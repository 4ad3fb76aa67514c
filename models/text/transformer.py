"""Transformers as text encoders: a BERT of whatever size, or by way of `transformers` any other.

Knows nothing of tokenisers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from models.recipe import Transformer
from models.text.base import Group, TextEncoder, groups_of
from models.text.bert import Bert, Shape, shape_of

Pooling = Literal["cls", "mean"]


class TransformerText(TextEncoder):
    """An encoder with `[CLS]` or mean pooling. `architecture` is its Hugging Face config."""

    def __init__(self, config: Transformer, architecture: dict[str, Any]) -> None:
        super().__init__()
        self.pooling = config.pooling
        shape = shape_of(architecture)
        self.packable = shape is not None
        self.encoder: nn.Module
        if shape is not None:
            self.encoder, self.width = Bert(shape), shape.hidden_size
            self.architecture = msgspec.to_builtins(shape)
        else:
            from models.text.huggingface import HuggingFace  # it imports `transformers`, which takes seconds

            self.encoder = HuggingFace(architecture)
            self.width, self.architecture = self.encoder.width, self.encoder.architecture

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids int64 [n, l] and mask bool [n, l] to vectors [n, width]."""
        states: Tensor = self.encoder(ids, mask)
        if self.pooling == "cls":
            return states[:, 0]
        weights = mask.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1)

    def packed(self, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """See `TextEncoder`.

        No step mixes texts or depends on how many there are, so that a text's vector is the same (to the
        rounding of float32 sums) whatever it is packed with: int8 would make percents of larger differences.
        """
        if not isinstance(self.encoder, Bert):
            return super().packed(ids, lengths)
        groups = list(groups_of(lengths))
        return pooled(self.encoder.packed(ids, groups), groups, self.pooling)


def pooled(states: Tensor, groups: Sequence[Group], pooling: Pooling) -> Tensor:
    """States [t.., d] of texts end to end as vectors [n, d] of texts."""
    texts = [states[g.start : g.end].view(g.texts, g.length, -1) for g in groups]
    if pooling == "cls":
        return torch.cat([text[:, 0] for text in texts])
    return torch.cat([text.mean(1, dtype=torch.float32) for text in texts])


def small_bert(config: Transformer, vocabulary: int) -> dict[str, Any]:
    """The architecture of a small BERT to be trained from scratch."""
    shape = Shape(
        vocab_size=vocabulary,
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=max(config.width // 32, 1),
        intermediate_size=4 * config.width,
        max_position_embeddings=max(config.max_tokens, 128),
    )
    out: dict[str, Any] = msgspec.to_builtins(shape)
    return out
