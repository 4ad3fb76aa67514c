"""A Hugging Face folder or hub id as an encoder with its weights, and its tokeniser.

Knows nothing of training. What is read here goes into the bundle whole, so serving never comes here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import msgspec
import torch
from huggingface_hub.utils.tqdm import are_progress_bars_disabled, enable_progress_bars
from tokenizers import Tokenizer
from torch import Tensor
from transformers import AutoModel, AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from models.recipe import RecipeError
from models.text.bert import shape_of

#: The library's names of a BERT's parts, and DistilBERT's, as patterns, and what `Bert` calls them.
_NAMES: Final = tuple(
    (re.compile(pattern), name)
    for pattern, name in {
        r"^(encoder|transformer)\.layer\.": "layer.",
        r"^embeddings_project\.": "embeddings.project.",
        r"\.word_embeddings\.": ".words.",
        r"\.position_embeddings\.": ".positions.",
        r"\.token_type_embeddings\.": ".kinds.",
        r"^embeddings\.LayerNorm\.": "embeddings.norm.",
        r"\.attention\.self\.": ".",
        r"\.attention\.([qkv])_lin\.": r".\1_lin.",
        r"\.attention\.(output\.dense|out_lin)\.": ".mix.",
        r"\.(attention\.output\.LayerNorm|sa_layer_norm)\.": ".mix_norm.",
        r"\.(intermediate\.dense|ffn\.lin1)\.": ".up.",
        r"\.(output\.dense|ffn\.lin2)\.": ".down.",
        r"\.(output\.LayerNorm|output_layer_norm)\.": ".norm.",
    }.items()
)
_QUERIES: Final = re.compile(r"^(.*\.)(query|q_lin)\.(weight|bias)$")
_SIDE_BY_SIDE: Final = {"query": ("query", "key", "value"), "q_lin": ("q_lin", "k_lin", "v_lin")}


class Pretrained(NamedTuple):
    """`weights` are named as in `TransformerText.encoder`."""

    architecture: dict[str, Any]
    weights: dict[str, Tensor]
    tokenizer: Tokenizer


def load_pretrained(source: str) -> Pretrained:
    """Read an encoder. Raises RecipeError in one line."""
    _show_downloads_alone()
    with _in_one_line(source):
        model = AutoModel.from_pretrained(source, dtype="float32")
    backend = load_tokenizer(source)
    if (shape := shape_of(model.config.to_dict())) is not None:
        return Pretrained(msgspec.to_builtins(shape), as_bert(model.state_dict()), backend)
    weights = {
        f"model.{name}": value for name, value in model.state_dict().items() if not name.startswith("pooler.")
    }
    return Pretrained(model.config.to_diff_dict(), weights, backend)


def load_tokenizer(source: str) -> Tokenizer:
    """Read an encoder's tokeniser. Raises RecipeError in one line."""
    with _in_one_line(source):
        tokenizer = AutoTokenizer.from_pretrained(source, use_fast=True)
    backend: Tokenizer | None = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise RecipeError(f"text encoder {source!r} has no fast tokeniser (tokenizer.json)")
    return backend


def _show_downloads_alone() -> None:
    """No bar of how the library loads what is there, in the middle of ours."""
    hidden = are_progress_bars_disabled()
    disable_progress_bar()  # hides those of downloads too
    if not hidden:
        enable_progress_bars()


@contextmanager
def _in_one_line(source: str) -> Iterator[None]:
    try:
        yield
    # RuntimeError: a hub out of reach.
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise RecipeError(
            f"text encoder {source!r} can't be loaded: {str(error).splitlines()[0]} "
            "(a folder, or an id of a hub that can be reached?)"
        ) from error


def as_bert(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The library's weights of a BERT, or of one of its kind, named and laid out as in `Bert`."""
    out: dict[str, Tensor] = {}
    for name, value in weights.items():
        for pattern, ours in _NAMES:
            name = pattern.sub(ours, name)
        out[name] = value
    for found in [found for name in out if (found := _QUERIES.match(name))]:
        layer, query, kind = found.groups()
        parts = [out.pop(f"{layer}{part}.{kind}") for part in _SIDE_BY_SIDE[query]]
        out[f"{layer}qkv.{kind}"] = torch.cat(parts)
    return {name: value for name, value in out.items() if name.startswith(("embeddings.", "layer."))}
