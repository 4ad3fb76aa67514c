"""Encoders of Hugging Face that are no BERT; apart, because importing `transformers` takes seconds."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel


class HuggingFace(nn.Module):
    """States of tokens, through an encoder of the library."""

    def __init__(self, architecture: dict[str, Any]) -> None:
        super().__init__()
        settings = AutoConfig.for_model(**architecture)
        self.architecture: dict[str, Any] = settings.to_diff_dict()
        self.width = int(settings.hidden_size)
        self.model = AutoModel.from_config(settings)
        if getattr(self.model, "pooler", None) is not None:
            self.model.pooler = None  # we pool ourselves: its weights would be dead freight in every bundle

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids int64 [n, l] and mask bool [n, l] to states [n, l, d]."""
        states: Tensor = self.model(input_ids=ids, attention_mask=mask).last_hidden_state
        return states
