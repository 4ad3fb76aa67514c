"""The tweet tower for few tweets at a time, as they come from a stream; on a GPU, torch's own.

Knows nothing of where text vectors come from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from models.compiled import compiled
from models.small_layers import Floats, add_linear, floats, gelu, layer_norm, linear
from models.tweet_tower import TweetTower

#: Text vectors [n, w], authors' short keys [n] and `tweet_features` [n, f] to tweet vectors [n, d].
Tower = Callable[[Floats, NDArray[np.uint32], Floats], Floats]


def make_tower(tower: TweetTower, device: torch.device) -> Tower:
    """The tower for a device; `tower` is on it, and changes no more."""
    return CompiledTower(tower) if device.type == "cpu" else DeviceTower(tower, device)


class DeviceTower:
    """`TweetTower`, to and from a device."""

    def __init__(self, tower: TweetTower, device: torch.device) -> None:
        self._tower, self._device = tower, device

    def __call__(self, text: Floats, authors: NDArray[np.uint32], features: Floats) -> Floats:
        """See `Tower`."""
        columns = map(torch.from_numpy, (text, authors.astype(np.int64), features))
        with torch.inference_mode():
            out: Floats = self._tower(*(column.to(self._device) for column in columns)).float().cpu().numpy()
        return out


class _Codes(NamedTuple):
    """`models.piecewise.PiecewiseLinear`: [used]."""

    column: NDArray[np.int64]
    low: Floats
    scale: Floats
    mean: Floats
    gain: Floats


class _Weights(NamedTuple):
    """The tower, for texts of w numbers, authors of a, u codes in use, h hidden units, d dimensions.

    `hidden` [w + a + u, h] takes text, author and codes side by side.
    """

    authors: Floats  # [buckets, a]
    text_gain: Floats
    text_bias: Floats
    text: Floats  # [w, d]
    text_add: Floats
    hidden: Floats
    hidden_add: Floats
    out: Floats  # [h, d]
    out_add: Floats
    metadata: Floats  # [u, d]
    gain: Floats
    bias: Floats
    text_eps: float
    eps: float


class CompiledTower:
    """A `TweetTower` without dropout, row by row: a tweet does not know its neighbours."""

    def __init__(self, tower: TweetTower) -> None:
        codes = tower.features
        self._codes = _Codes(codes.column.numpy().astype(np.int64), *map(floats, codes.dense_codes))
        texts, width = len(tower.text_norm.weight), tower.config.author_width
        used = codes.used if tower.config.metadata else codes.used[:0]
        joint = torch.cat([torch.arange(texts + width), texts + width + used])
        self._net = _Weights(
            authors=floats(tower.author.weight),
            text_gain=floats(tower.text_norm.weight),
            text_bias=floats(tower.text_norm.bias),
            text=floats(tower.text.weight.T),
            text_add=floats(tower.text.bias),
            hidden=floats(tower.hidden.weight[:, joint].T),
            hidden_add=floats(tower.hidden.bias),
            out=floats(tower.out.weight.T),
            out_add=floats(tower.out.bias),
            metadata=floats(tower.metadata.weight[:, codes.used].T),
            gain=floats(tower.norm.weight),
            bias=floats(tower.norm.bias),
            text_eps=tower.text_norm.eps,
            eps=tower.norm.eps,
        )

    def __call__(self, text: Floats, authors: NDArray[np.uint32], features: Floats) -> Floats:
        """See `Tower`."""
        out = np.empty((len(text), self._net.out.shape[1]), np.float32)
        _tower(text, authors, features, self._codes, self._net, out)
        return out


@compiled
def _tower(
    text: Floats,
    authors: NDArray[np.uint32],
    features: Floats,
    codes: _Codes,
    net: _Weights,
    out: Floats,
) -> None:
    """Into `out` [n, d]."""
    w, a, u = text.shape[1], net.authors.shape[1], len(codes.column)
    inputs, h = net.hidden.shape
    known, d = inputs - w - a, out.shape[1]  # codes that join the text are all or none
    plain, joint = np.zeros((1, w), np.float32), np.zeros((1, inputs), np.float32)
    hidden, code = np.zeros((1, h), np.float32), np.zeros((1, u), np.float32)
    vector, added = np.zeros((1, d), np.float32), np.zeros((1, d), np.float32)
    for i in range(len(text)):
        for j in range(w):
            plain[0, j] = text[i, j]
        layer_norm(plain, net.text_gain, net.text_bias, net.text_eps)
        for j in range(w):
            joint[0, j] = plain[0, j]
        author = np.int64(authors[i])
        bucket = author % (len(net.authors) - 1) + 1 if author else 0  # `TweetTower.bucket`
        for j in range(a):
            joint[0, w + j] = net.authors[bucket, j]
        for j in range(u):
            x = (features[i, codes.column[j]] - codes.low[j]) * codes.scale[j]
            x = np.float32(0) if x < 0 else np.float32(1) if x > 1 else x  # NaN stays NaN
            code[0, j] = (x - codes.mean[j]) * codes.gain[j]
        for j in range(known):
            joint[0, w + a + j] = code[0, j]
        linear(joint, net.hidden, net.hidden_add, hidden)
        gelu(hidden)
        linear(hidden, net.out, net.out_add, vector)
        linear(plain, net.text, net.text_add, added)
        for j in range(d):
            vector[0, j] += added[0, j]
        layer_norm(vector, net.gain, net.bias, net.eps)
        add_linear(code, net.metadata, vector)
        for j in range(d):
            out[i, j] = vector[0, j]
