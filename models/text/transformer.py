"""Hugging Face encoders as text encoders; apart, because importing `transformers` takes seconds."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import AutoConfig, AutoModel, BertConfig

from models.recipe import Transformer
from models.text.base import TextEncoder


class TransformerText(TextEncoder):
    """A Hugging Face encoder with `[CLS]` or mean pooling."""

    def __init__(self, config: Transformer, architecture: dict[str, Any]) -> None:
        super().__init__()
        kind = architecture.get("model_type", "bert")
        settings = AutoConfig.for_model(**{"model_type": kind, **architecture})
        self.architecture = settings.to_diff_dict()
        self.encoder = AutoModel.from_config(settings, attn_implementation="sdpa")
        if getattr(self.encoder, "pooler", None) is not None:
            self.encoder.pooler = None  # we pool ourselves: its weights would be dead freight in every bundle
        self.pooling = config.pooling
        self.width = int(settings.hidden_size)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids int64 [n, l] and mask bool [n, l] to vectors [n, width]."""
        states: Tensor = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        if self.pooling == "cls":
            return states[:, 0]
        weights = mask.unsqueeze(-1).to(states.dtype)
        return (states * weights).sum(1) / weights.sum(1)


def small_bert(config: Transformer, vocabulary: int) -> dict[str, Any]:
    """The architecture of a small BERT to be trained from scratch."""
    settings: dict[str, Any] = BertConfig(
        vocab_size=vocabulary,
        hidden_size=config.width,
        num_hidden_layers=config.layers,
        num_attention_heads=max(config.width // 32, 1),
        intermediate_size=4 * config.width,
        max_position_embeddings=max(config.max_tokens, 128),
    ).to_diff_dict()
    return settings
