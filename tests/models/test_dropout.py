from __future__ import annotations

import pytest
import torch

from models.dropout import Dropout


@pytest.mark.parametrize("rate", [0.001, 0.1, 0.2, 0.5, 0.999])
def test_a_share_is_left_out_and_the_rest_makes_up_for_it(rate: float) -> None:
    torch.manual_seed(0)
    out = Dropout(rate)(torch.ones(1000, 1000))
    left_out = float((out == 0).float().mean())
    assert abs(left_out - rate) < 1 / 256
    assert abs(float(out.mean()) - 1) < 0.03
    kept = out[out != 0]
    assert torch.equal(kept, kept[:1].expand_as(kept))


def test_numbers_are_left_out_one_by_one() -> None:
    torch.manual_seed(0)
    gone = (Dropout(0.5)(torch.ones(64, 4096)) == 0).float()
    correlations = torch.corrcoef(gone) - torch.eye(64)
    assert correlations.abs().max() < 0.1
    assert abs(torch.corrcoef(torch.stack([gone[:, :-1].flatten(), gone[:, 1:].flatten()]))[0, 1]) < 0.02


def test_the_same_seed_leaves_out_the_same() -> None:
    x, drop = torch.randn(7, 3), Dropout(0.3)
    torch.manual_seed(1)
    first = drop(x)
    torch.manual_seed(1)
    assert torch.equal(drop(x), first)
    assert not torch.equal(drop(x), first)


def test_what_is_left_out_gets_no_gradient() -> None:
    torch.manual_seed(0)
    x = torch.ones(100, requires_grad=True)
    out = Dropout(0.3)(x)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, out.detach())


def test_nothing_is_left_out_at_rate_0_or_of_what_is_served() -> None:
    x = torch.randn(100)
    assert torch.equal(Dropout(0.0)(x), x)
    assert torch.equal(Dropout(0.3).eval()(x), x)
