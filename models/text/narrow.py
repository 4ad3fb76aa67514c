"""A narrow BERT on a CPU: there is so little to compute that torch's calls take longer than what they do.

Three tweets through one layer of 32 dimensions: 0.74 ms with torch, and nothing beside it, 0.16 here. Knows
nothing of tokenisers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple, TypeGuard

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.compiled import compiled
from models.small_layers import Floats, floats, gelu, layer_norm, linear, softmax_row
from models.text.base import TextEncoder
from models.text.bert import Bert, Layer
from models.text.transformer import TransformerText

#: From so many dimensions on, torch's products are quicker than these loops.
WIDE: Final = 256


def is_narrow(encoder: TextEncoder) -> TypeGuard[TransformerText]:
    """Whether `NarrowText` can take its place, and would be quicker."""
    if not isinstance(encoder, TransformerText) or not isinstance(encoder.encoder, Bert):
        return False
    weight = encoder.encoder.embeddings.words.weight
    plain = all(isinstance(layer, Layer) for layer in encoder.encoder.layer)
    return encoder.width < WIDE and weight.device.type == "cpu" and plain


class NarrowText(TextEncoder):
    """What `is_narrow`, for inference: its weights are those that it had when this was made."""

    packable = True

    def __init__(self, exact: TransformerText) -> None:
        super().__init__()
        bert = exact.encoder
        assert isinstance(bert, Bert)
        self.width, self.architecture = exact.width, exact.architecture
        self._weights = _folded(bert)
        self.words = nn.Parameter(torch.from_numpy(self._weights.words), requires_grad=False)
        self._heads = bert.shape.num_attention_heads
        self._first = exact.pooling == "cls"

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """See `TextEncoder`."""
        return self.packed(ids[mask], mask.sum(1).tolist())

    def packed(self, ids: Tensor, lengths: Sequence[int]) -> Tensor:
        """See `TextEncoder`; text by text, none of which knows of the others, in whatever order.

        Raises IndexError where torch would.
        """
        net = self._weights
        if max(lengths) > len(net.places) or not 0 <= int(ids.min()) <= int(ids.max()) < len(net.words):
            raise IndexError("a token id is not in the vocabulary, or a text has more tokens than positions")
        out = np.zeros((len(lengths), self.width), np.float32)
        _encode(ids.numpy(), np.array(lengths), self._heads, self._first, net, out)
        return torch.from_numpy(out)


class _Weights(NamedTuple):
    """A BERT of d dimensions, e of which words have, f inner units and l layers.

    `places` are added to words and have their kind in them; `project` is [0, d] where words have all
    dimensions.
    """

    eps: float
    words: Floats  # [vocabulary, e]
    places: Floats  # [positions, e]
    start_gain: Floats
    start_bias: Floats
    project: Floats  # [e, d]
    project_add: Floats
    qkv: Floats  # [l, d, 3 · d]
    qkv_add: Floats
    mix: Floats  # [l, d, d]
    mix_add: Floats
    mix_gain: Floats
    mix_bias: Floats
    up: Floats  # [l, d, f]
    up_add: Floats
    down: Floats  # [l, f, d]
    down_add: Floats
    gain: Floats
    bias: Floats


def _folded(bert: Bert) -> _Weights:
    start, width = bert.embeddings, bert.shape.hidden_size
    layers = [layer for layer in bert.layer if isinstance(layer, Layer)]
    places = start.positions.weight[bert.shape.first_position :]
    if start.kinds is not None:
        places = places + start.kinds.weight[0]
    none = torch.zeros(0, width), torch.zeros(width)
    project = none if start.project is None else (start.project.weight.T, start.project.bias)

    def stacked(name: str, part: str) -> Floats:
        tensors = [getattr(layer, name).get_parameter(part) for layer in layers]
        turned = isinstance(getattr(layers[0], name), nn.Linear) and part == "weight"
        return floats(torch.stack([tensor.T if turned else tensor for tensor in tensors]))

    parts = [
        stacked(name, part)
        for name in ("qkv", "mix", "mix_norm", "up", "down", "norm")
        for part in ("weight", "bias")
    ]
    begin = map(floats, (start.words.weight, places, start.norm.weight, start.norm.bias, *project))
    return _Weights(bert.shape.layer_norm_eps, *begin, *parts)


@compiled
def _encode(
    ids: NDArray[np.int64],
    lengths: NDArray[np.int64],
    heads: int,
    first: bool,
    net: _Weights,
    out: Floats,
) -> None:
    """Texts end to end into vectors, zeros [n, d]: those of their `first` tokens, or means of all."""
    d, inner, layers = net.mix.shape[1], net.up.shape[2], len(net.mix)
    most, words = lengths.max(), net.words.shape[1]
    starts = np.zeros((most, words), np.float32)
    states, mixed, added = (
        np.zeros((most, d), np.float32),
        np.zeros((most, d), np.float32),
        np.zeros((most, d), np.float32),
    )
    qkv, wide = np.zeros((most, 3 * d), np.float32), np.zeros((most, inner), np.float32)
    chances = np.zeros((1, most), np.float32)
    at = 0
    for text in range(len(lengths)):
        n = lengths[text]
        x, s, k, m, b, y = starts[:n], states[:n], qkv[:n], mixed[:n], added[:n], wide[:n]
        for i in range(n):
            for j in range(words):
                x[i, j] = net.words[ids[at + i], j] + net.places[i, j]
        layer_norm(x, net.start_gain, net.start_bias, net.eps)
        if len(net.project):
            linear(x, net.project, net.project_add, s)
        else:
            for i in range(n):
                for j in range(d):
                    s[i, j] = x[i, j]
        for layer in range(layers):
            linear(s, net.qkv[layer], net.qkv_add[layer], k)
            if first and layer == layers - 1:  # nobody asks for the others' states
                s, m, b, y = s[:1], m[:1], b[:1], y[:1]
            _attend(k, heads, chances, m)
            linear(m, net.mix[layer], net.mix_add[layer], b)
            _add(b, s)
            layer_norm(s, net.mix_gain[layer], net.mix_bias[layer], net.eps)
            linear(s, net.up[layer], net.up_add[layer], y)
            gelu(y)
            linear(y, net.down[layer], net.down_add[layer], b)
            _add(b, s)
            layer_norm(s, net.gain[layer], net.bias[layer], net.eps)
        for i in range(len(s)):
            for j in range(d):
                out[text, j] += s[i, j] / np.float32(len(s))
        at += n


@compiled
def _add(some: Floats, to: Floats) -> None:
    for i in range(to.shape[0]):
        for j in range(to.shape[1]):
            to[i, j] += some[i, j]


@compiled
def _attend(qkv: Floats, heads: int, chances: Floats, out: Floats) -> None:
    """What attention makes of the first tokens, as many as `out` [m, d] has rows, of `qkv` [n, 3 · d]."""
    n, d = len(qkv), out.shape[1]
    width = d // heads
    scale = np.float32(1) / np.sqrt(np.float32(width))
    for i in range(len(out)):
        for j in range(d):
            out[i, j] = 0
        for head in range(heads):
            q, k, v = head * width, d + head * width, 2 * d + head * width
            for c in range(n):
                close = np.float32(0)
                for j in range(width):
                    close += qkv[i, q + j] * qkv[c, k + j]
                chances[0, c] = close * scale
            softmax_row(chances, 0, n)
            for c in range(n):
                for j in range(width):
                    out[i, q + j] += chances[0, c] * qkv[c, v + j]
