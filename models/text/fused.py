"""A BERT's layers for inference on a GPU: 7 kernels each instead of 12, with as much arithmetic.

There, what is not a matrix product takes time by the bytes it moves. So the activation goes into the product
before it (GELU by tanh, Hendrycks and Gimpel 2016, at most 5e-4 from the exact one), and residuals are what
products add to. They then have no place for a bias: it moves into the norm before the residual, and the other
product that reads that norm takes it off again. Knows nothing of attention, nor of embeddings' insides.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from models.text.attention import Attend
from models.text.bert import Bert, Layer
from models.text.layer_norm import norm_for


class FusedLayer(nn.Module):
    """A `Layer` whose states come with `mix`'s bias added, and leave with `extra` [d] added."""

    def __init__(self, layer: Layer, extra: Tensor) -> None:
        super().__init__()
        qkv, mix, up, down = (_linear(part) for part in (layer.qkv, layer.mix, layer.up, layer.down))
        self.qkv = _without(qkv, mix.bias)
        self.mix = _unbiased(mix)
        self.mix_norm = _plus(layer.mix_norm, down.bias)
        self.up = _without(up, down.bias)
        self.down = _unbiased(down)
        self.norm = _plus(layer.norm, extra)
        self._normed = norm_for(qkv.weight.device)

    def forward(self, states: Tensor, attend: Attend) -> Tensor:
        """States [t, d], which are overwritten, to states [t, d]."""
        mixed = attend(self.qkv(states))
        states = self._normed(states.addmm_(mixed, self.mix.weight.t()), self.mix_norm)
        inner = torch._addmm_activation(self.up.bias, states, self.up.weight.t(), use_gelu=True)
        return self._normed(states.addmm_(inner, self.down.weight.t()), self.norm)


def fused(module: nn.Module) -> nn.Module:
    """A copy in bfloat16, its layers `FusedLayer`."""
    out = copy.deepcopy(module).requires_grad_(False)
    for bert in [part for part in out.modules() if isinstance(part, Bert)]:
        fuse(bert)
    return out.to(torch.bfloat16)


def fuse(bert: Bert) -> None:
    """Make its layers `FusedLayer`, in place, in the precision that they have. For inference only."""
    layers = [part for part in bert.layer if isinstance(part, Layer)]
    extras = [_linear(layer.mix).bias for layer in layers]
    with torch.no_grad():
        (bert.embeddings.project or bert.embeddings.norm).bias.add_(extras[0])
        after = [*extras[1:], torch.zeros_like(extras[0])]
        bert.layer = nn.ModuleList(map(FusedLayer, layers, after))


def _linear(part: nn.Module) -> nn.Linear:
    assert isinstance(part, nn.Linear)
    return part


def _without(linear: nn.Linear, extra: Tensor) -> nn.Linear:
    """For inputs that have `extra` added: its share is taken off the bias."""
    out = copy.deepcopy(linear)
    out.bias.sub_(linear.weight @ extra)
    return out


def _plus(norm: nn.LayerNorm, extra: Tensor) -> nn.LayerNorm:
    out = copy.deepcopy(norm)
    out.bias.add_(extra)
    return out


def _unbiased(linear: nn.Linear) -> nn.Linear:
    out = nn.Linear(linear.in_features, linear.out_features, bias=False, device="meta")
    out.weight = nn.Parameter(linear.weight.detach().clone(), requires_grad=False)
    return out
