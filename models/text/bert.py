"""BERT and those that differ from it in sizes alone, for texts of one length, of many, or padded.

Written out here rather than imported: `transformers` takes 3 seconds of a worker's start, 7 without Python's
bytecode at hand. Tested against it. Knows nothing of tokenisers or pooling.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from models.devices import to_device
from models.dropout import Dropout
from models.text.attention import Attend, end_to_end, padded
from models.text.base import Group

_ROBERTAS: Final = frozenset({"camembert", "roberta", "xlm-roberta"})
_KINDS: Final = frozenset({"bert", "distilbert", "electra"}) | _ROBERTAS
#: DistilBERT's words for the same.
_DISTIL: Final = {
    "dim": "hidden_size",
    "n_layers": "num_hidden_layers",
    "n_heads": "num_attention_heads",
    "hidden_dim": "intermediate_size",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
}

#: Tokens of a pack are made a multiple of this. oneDNN compiles a product anew for each number of rows, which
#: takes 2 ms, and sums bfloat16 in an order that depends on it, so that a text would know its neighbours.
ROWS: Final = 256


class Shape(msgspec.Struct, kw_only=True, frozen=True):
    """A Hugging Face config, as far as it counts here; what it leaves out is as in BERT-base."""

    model_type: str = "bert"
    vocab_size: int = 30_522
    hidden_size: int = 768
    embedding_size: int | None = None  # ELECTRA's word embeddings are narrower than its layers
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3_072
    max_position_embeddings: int = 512
    type_vocab_size: int = 2
    hidden_act: str = "gelu"
    hidden_dropout_prob: float = 0.1
    attention_probs_dropout_prob: float = 0.1
    layer_norm_eps: float = 1e-12
    initializer_range: float = 0.02
    pad_token_id: int | None = None
    is_decoder: bool = False

    @property
    def first_position(self) -> int:
        """RoBERTa counts positions from after the id of its padding."""
        if self.model_type not in _ROBERTAS:
            return 0
        return 2 if self.pad_token_id is None else self.pad_token_id + 1


def shape_of(architecture: Mapping[str, Any]) -> Shape | None:
    """The shape in a Hugging Face config; None when `Bert` is not what it describes. Raises ValueError."""
    kind = architecture.get("model_type", "bert")
    if kind not in _KINDS:
        return None
    if kind == "distilbert":
        named = {_DISTIL.get(name, name): value for name, value in architecture.items()}
        architecture = {**named, "type_vocab_size": 0}
    try:
        shape = msgspec.convert(dict(architecture), Shape)
    except msgspec.ValidationError as error:
        raise ValueError(f"architecture: {error}") from error
    return None if shape.is_decoder or shape.hidden_act != "gelu" else shape


class Bert(nn.Module):
    """States of tokens, through the layers."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.embeddings = Embeddings(shape)
        self.layer = nn.ModuleList(Layer(shape) for _ in range(shape.num_hidden_layers))
        self.apply(self._start)

    def _start(self, part: nn.Module) -> None:
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=self.shape.initializer_range)
        if isinstance(part, nn.Linear):
            nn.init.zeros_(part.bias)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Ids int64 [n, l] with mask bool [n, l] to states [n, l, d]."""
        n, length = ids.shape
        shape, rate = self.shape, self.shape.attention_probs_dropout_prob if self.training else 0.0
        states = self.embeddings(ids.reshape(-1), self.embeddings.positions_of(length, ids.device).repeat(n))
        return self._through(states, padded(mask, shape.num_attention_heads, rate)).view(n, length, -1)

    def packed(self, ids: Tensor, groups: Sequence[Group]) -> Tensor:
        """Ids int64 [t] of texts end to end to states [t, d]: attention knows texts, everything else takes
        all tokens at once, and some more that belong to no text.
        """
        heads, width = self.shape.num_attention_heads, self.shape.hidden_size
        attend = end_to_end(groups, heads, width // heads, self.embeddings.words.weight)
        states = self.embeddings.packed(ids, groups, -len(ids) % ROWS)
        return self._through(states, attend)[: len(ids)]

    def _through(self, states: Tensor, attend: Attend) -> Tensor:
        for layer in self.layer:
            states = layer(states, attend)
        return states


class Embeddings(nn.Module):
    """Words and positions."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width = shape.embedding_size or shape.hidden_size
        self.words = nn.Embedding(shape.vocab_size, width)
        self.positions = nn.Embedding(shape.max_position_embeddings, width)
        self._first = shape.first_position
        self.kinds = nn.Embedding(shape.type_vocab_size, width) if shape.type_vocab_size else None
        self.norm = nn.LayerNorm(width, shape.layer_norm_eps)
        self.dropout = Dropout(shape.hidden_dropout_prob)
        self.project = nn.Linear(width, shape.hidden_size) if width != shape.hidden_size else None

    def forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        """Ids [t] at positions [t] to states [t, d]."""
        states: Tensor = self.words(ids) + self.positions(positions)
        if self.kinds is not None:
            states = states + self.kinds.weight[0]
        states = self.dropout(self.norm(states))
        return states if self.project is None else self.project(states)

    def packed(self, ids: Tensor, groups: Sequence[Group], more: int = 0) -> Tensor:
        """Ids [t] of texts end to end, and `more` that belong to none, to states [t + more, d]."""
        host = torch.device("cpu")
        positions = [self.positions_of(g.length, host).repeat(g.texts) for g in groups]
        both = ids, to_device(torch.cat(positions), ids.device)
        out: Tensor = self(*(functional.pad(part, (0, more)) for part in both))
        return out

    def positions_of(self, length: int, device: torch.device) -> Tensor:
        """Those of a text's tokens, int64 [length]."""
        return torch.arange(self._first, self._first + length, device=device)


class Layer(nn.Module):
    """Attention and two linear layers, each added to what it was given and normalised."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        width, inner = shape.hidden_size, shape.intermediate_size
        self.qkv: nn.Module = nn.Linear(width, 3 * width)
        self.mix: nn.Module = nn.Linear(width, width)
        self.mix_norm = nn.LayerNorm(width, shape.layer_norm_eps)
        self.up: nn.Module = nn.Linear(width, inner)
        self.activation: nn.Module = nn.GELU()
        self.down: nn.Module = nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width, shape.layer_norm_eps)
        self.dropout = Dropout(shape.hidden_dropout_prob)

    def forward(self, states: Tensor, attend: Attend) -> Tensor:
        """States [t, d] to states [t, d]."""
        states = self.mix_norm(states + self.dropout(self.mix(attend(self.qkv(states)))))
        out: Tensor = self.norm(states + self.dropout(self.down(self.activation(self.up(states)))))
        return out
