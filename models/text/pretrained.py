"""A Hugging Face folder or hub id as an encoder with its weights, and its tokeniser.

Knows nothing of training. What is read here goes into the bundle whole, so serving never comes here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from models.recipe import RecipeError


class Pretrained(NamedTuple):
    """`weights` are named as in `TransformerText.encoder`."""

    architecture: dict[str, Any]
    weights: dict[str, Tensor]
    tokenizer: Tokenizer


def load_pretrained(source: str) -> Pretrained:
    """Read an encoder. Raises RecipeError in one line."""
    try:
        model = AutoModel.from_pretrained(source, dtype="float32")
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True)
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise RecipeError(f"text encoder {source!r} can't be loaded: {str(error).splitlines()[0]}") from error
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise RecipeError(f"text encoder {source!r} has no fast tokeniser (tokenizer.json)")
    weights = {name: value for name, value in model.state_dict().items() if not name.startswith("pooler.")}
    return Pretrained(model.config.to_diff_dict(), weights, backend)
