from __future__ import annotations

import numpy as np
import torch
from torch import nn

from models.average import Average


def network() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    net[0].requires_grad_(False)
    return net


def weights(net: nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in net.named_parameters()}


def moved(net: nn.Module, by: float) -> None:
    with torch.no_grad():
        for p in net.parameters():
            if p.requires_grad:
                p.add_(by)


def test_the_mean_is_of_a_tenth_of_the_steps_then_of_the_last_hundred() -> None:
    net = network()
    average, mean, value = Average(net), 0.0, 0.0
    before = weights(net)
    for step in range(1, 2_001):
        moved(net, 1 / step)
        value += 1 / step
        average.add(step)
        stays = min(0.99, step / (step + 9))
        mean = stays * mean + (1 - stays) * value
    assert average.means.keys() == {"1.weight", "1.bias"}, "what is not learned is left out"
    for name, found in average.means.items():
        np.testing.assert_allclose(found - before[name], mean, atol=1e-3)


def test_the_first_step_counts_for_most_of_the_first_mean() -> None:
    net = network()
    average, before = Average(net), weights(net)
    moved(net, 1.0)
    average.add(1)
    torch.testing.assert_close(average.means["1.bias"], before["1.bias"] + 0.9)


def test_means_are_in_the_network_within_the_block_only() -> None:
    net = network()
    average, first = Average(net), weights(net)
    moved(net, 1.0)
    last = weights(net)
    with average.applied():
        torch.testing.assert_close(weights(net), first)
    torch.testing.assert_close(weights(net), last)
    torch.testing.assert_close(dict(average.means), {name: first[name] for name in average.means})
    moved(net, 1.0)
    torch.testing.assert_close(dict(average.means), {name: first[name] for name in average.means})


def test_kept_and_gone_on_with() -> None:
    net = network()
    average, first = Average(net), weights(net)
    other = {name: mean + 5 for name, mean in average.means.items()}
    average.restore(other)
    average.keep()
    assert torch.equal(weights(net)["0.weight"], first["0.weight"])
    torch.testing.assert_close(weights(net)["1.weight"], first["1.weight"] + 5)
    moved(net, 1.0)
    torch.testing.assert_close(average.means["1.weight"], first["1.weight"] + 5)
