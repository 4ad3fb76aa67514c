"""Hugging Face encoders as text encoders; apart, because importing `transformers` takes seconds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import AutoConfig, AutoModel, BertConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask
from transformers.modeling_utils import AttentionInterface

from models.recipe import Transformer
from models.text.base import Group, TextEncoder, groups_of

#: Encoders that take texts end to end: positions are an argument, and attention is ours to compute.
_PACKABLE: Final = frozenset({"bert", "camembert", "distilbert", "electra", "roberta", "xlm-roberta"})
_ATTENTION: Final = "packed"


class TransformerText(TextEncoder):
    """A Hugging Face encoder with `[CLS]` or mean pooling."""

    def __init__(self, config: Transformer, architecture: dict[str, Any]) -> None:
        super().__init__()
        kind = architecture.get("model_type", "bert")
        settings = AutoConfig.for_model(**{"model_type": kind, **architecture})
        self.architecture = settings.to_diff_dict()
        self.packable = kind in _PACKABLE
        attention = _ATTENTION if self.packable else None  # None: the fastest that the library has for it
        self.encoder = AutoModel.from_config(settings, attn_implementation=attention)
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

    def packed(self, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """See `TextEncoder`. All but attention runs on all tokens at once, attention on texts of one length.

        No step mixes texts or depends on how many there are, so that a text's vector is the same to the last
        bit (on a CPU) whatever it is packed with: the rounding of int8 would make percents of any difference.
        """
        if not self.packable:
            return super().packed(ids, lengths)
        groups = list(groups_of(lengths))
        first = getattr(self.encoder.embeddings.position_embeddings, "padding_idx", None)
        start = 0 if first is None else first + 1
        positions = [torch.arange(start, start + g.length, device=ids.device).repeat(g.texts) for g in groups]
        states: Tensor = self.encoder(
            input_ids=ids[None], position_ids=torch.cat(positions)[None], groups=groups
        ).last_hidden_state[0]
        texts = [states[g.start : g.end].view(g.texts, g.length, -1) for g in groups]
        if self.pooling == "cls":
            return torch.cat([text[:, 0] for text in texts])
        return torch.cat([text.mean(1, dtype=torch.float32) for text in texts])


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    groups: Sequence[Group] | None = None,
    scaling: float | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of heads [1, h, t, w] within each text of a pack; without `groups`, that of the library."""
    if groups is None:
        out: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **others
        )
        return out
    heads = (query, key, value)
    parts = []
    for g in groups:
        q, k, v = (
            x[0, :, g.start : g.end].view(-1, g.texts, g.length, x.shape[-1]).transpose(0, 1) for x in heads
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, scale=scaling)  # [texts, h, length, w]
        parts.append(mixed.transpose(1, 2).flatten(0, 1))
    return torch.cat(parts)[None], None


AttentionInterface.register(_ATTENTION, _attention)
AttentionMaskInterface.register(_ATTENTION, sdpa_mask)


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
