"""Layers as a GPU has them give what they gave before."""

from __future__ import annotations

import copy

import pytest
import torch
from msgspec.structs import replace
from torch import Tensor

from models.text.base import groups_of
from models.text.bert import Bert, Shape
from models.text.fused import FusedLayer, fuse, fused

LENGTHS = [1, 4, 4, 9, 30]


PLAIN = Shape(vocab_size=50, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, intermediate_size=64)
NARROW = replace(PLAIN, embedding_size=16)
ONE_KIND = replace(PLAIN, type_vocab_size=0)


def bert(shape: Shape = PLAIN) -> Bert:
    torch.manual_seed(0)
    found = Bert(shape).eval().requires_grad_(False)
    for parameter in found.parameters():  # as it starts, every bias is 0 and every norm does nothing
        parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return found


def states(model: Bert) -> Tensor:
    ids = torch.randint(50, (sum(LENGTHS),), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model.packed(ids, list(groups_of(LENGTHS)))


@pytest.mark.parametrize("shape", [PLAIN, NARROW, ONE_KIND])
def test_the_states_are_the_same(shape: Shape) -> None:
    model = bert(shape)
    before = states(model)
    changed = copy.deepcopy(model)
    fuse(changed)
    assert all(isinstance(layer, FusedLayer) for layer in changed.layer)
    # On a CPU the activation is exact.
    torch.testing.assert_close(states(changed), before, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(states(changed), before, atol=1e-4, rtol=1e-4)  # nothing of it was overwritten


def test_a_copy_in_bfloat16() -> None:
    model = bert()
    before = states(model)
    found = fused(model)
    assert isinstance(found, Bert)
    assert {parameter.dtype for parameter in found.parameters()} == {torch.bfloat16}
    near = torch.cosine_similarity(states(found).float(), before)
    assert 0.999 < near.min() < 1
    assert torch.equal(states(model), before)
