"""A BERT in 8-bit integers on a CPU: products by oneDNN, what is between them in loops of our own.

Torch's operations take each number from memory and put it back; here a row stays at hand from one product to
the next: MiniLM on one core, 435 texts/s instead of 279. Knows nothing of tokenisers.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.small_layers import Floats, floats
from models.text import int8
from models.text.base import Group, TextEncoder, groups_of
from models.text.bert import Bert, Layer
from models.text.int8 import Int8Linear, Levels
from models.text.transformer import TransformerText, pooled

#: Products have a multiple of so many rows: oneDNN compiles one for each number of them, in 2 ms. Sums of
#: integers do not depend on it, so it may be less than `bert.ROWS`: a text of 30 tokens through MiniLM takes
#: 17 ms with 256, 11 with 128, 7 with 64 and with less.
_ROWS: Final = 64


class Int8Text(TextEncoder):
    """A `TransformerText` for inference: its weights are those that it had when this was made."""

    packable = True

    def __init__(self, exact: TransformerText) -> None:
        super().__init__()
        bert = exact.encoder
        assert isinstance(bert, Bert)
        self.width, self.architecture, self._pooling = exact.width, exact.architecture, exact.pooling
        self.embeddings = copy.deepcopy(bert.embeddings)
        self.layers = [Int8Layer(layer) for layer in bert.layer if isinstance(layer, Layer)]
        self._heads = bert.shape.num_attention_heads

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """See `TextEncoder`."""
        return self.packed(ids[mask], mask.sum(1).tolist())

    def packed(self, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """See `TextEncoder`; no step mixes texts."""
        groups = list(groups_of(lengths))
        texts = _Texts(groups, np.array(lengths), self._heads)
        states = self.embeddings.packed(ids, groups)
        levels = int8.levels(states.numpy(), len(ids) + -len(ids) % _ROWS)
        for layer in self.layers:
            levels = layer(states.numpy(), levels, texts)
        return pooled(states, groups, self._pooling)


class _Texts(NamedTuple):
    """Texts end to end, by groups of one length and by themselves, and heads of attention."""

    groups: Sequence[Group]
    lengths: NDArray[np.int64]
    heads: int


class _Norm(NamedTuple):
    gain: Floats
    bias: Floats
    eps: float


class Int8Layer:
    """A `Layer` whose states stay in float32."""

    def __init__(self, layer: Layer) -> None:
        self.qkv, self.mix, self.up, self.down = (
            Int8Linear(part)
            for part in (layer.qkv, layer.mix, layer.up, layer.down)
            if isinstance(part, nn.Linear)
        )
        self._mix_norm, self._norm = _norm(layer.mix_norm), _norm(layer.norm)

    def __call__(self, states: Floats, levels: Levels, texts: _Texts) -> Levels:
        """States [t, d] go through the layer in place, their levels to those of what comes out."""
        qkv, mix, up, down = self.qkv, self.mix, self.up, self.down
        mixed = _attended(qkv.products(levels.codes), levels, qkv.rest, texts)
        levels = int8.normed(mix.products(mixed.codes), mixed, mix.rest, states, *self._mix_norm)
        inner = int8.activated(up.products(levels.codes), levels, up.rest, len(states))
        return int8.normed(down.products(inner.codes), inner, down.rest, states, *self._norm)


def _norm(norm: nn.LayerNorm) -> _Norm:
    return _Norm(floats(norm.weight), floats(norm.bias), norm.eps)


def _attended(products: Floats, given: Levels, rest: int8.Rest, texts: _Texts) -> Levels:
    """Attention in float32, head by head: in MiniLM at 31 tokens on average 1.7 us a token and layer. Torch's
    takes 3.3, as its tiles are of 32: 1.0 at 32 tokens, 2.5 at 30.
    """
    groups, lengths, heads = texts
    d = products.shape[1] // 3
    apart, mixed = np.empty((3, groups[-1].end * d), np.float32), np.empty(groups[-1].end * d, np.float32)
    int8.by_head(products, given, rest, lengths, heads, apart)
    q, k, v, out = (torch.from_numpy(part) for part in (*apart, mixed))
    for g in groups:
        part, shape = slice(g.start * d, g.end * d), (g.texts * heads, g.length, d // heads)
        chances = torch.bmm(q[part].view(shape), k[part].view(shape).transpose(1, 2))
        int8.softmax(chances.view(-1, g.length).numpy())
        torch.bmm(chances, v[part].view(shape), out=out[part].view(shape))
    return int8.by_token(mixed, lengths, heads, d, len(products))
