"""Pairs to logits, as fast as a machine can: a compiled loop on a CPU, batched tensors on a GPU.

Both give what `models.network.Network.pairs` gives in training, to 1e-4; one suite tests that.
"""

from __future__ import annotations

import torch

from models.network import Network
from models.scorer.cpu import CpuScorer
from models.scorer.device import DeviceScorer
from models.scorer.rows import Scorer, UserRows

__all__ = ["Scorer", "UserRows", "make_scorer"]


def make_scorer(network: Network, device: torch.device) -> Scorer:
    """The scorer for a device; `network` is on it, and changes no more."""
    return CpuScorer(network) if device.type == "cpu" else DeviceScorer(network)
