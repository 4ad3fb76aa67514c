"""AdamW as a recipe wants it: its groups of parameters, and the learning rate at each step.

Knows nothing of losses or batches.
"""

from __future__ import annotations

import math

import torch

from models.network import Network
from models.recipe import Recipe, Transformer


def optimizer_of(network: Network, recipe: Recipe, share: float = 1.0) -> torch.optim.Optimizer:
    """With a `share` of the recipe's rates. The text encoder has its own; what is frozen is left out."""
    settings, text = recipe.training, recipe.model.text
    pretrained = isinstance(text, Transformer) and bool(text.source)
    rate = settings.finetune_learning_rate if pretrained else settings.text_learning_rate
    of_text = {id(p) for p in network.text.parameters()}
    learned = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in learned if id(p) not in of_text], "peak": share * settings.learning_rate},
        {"params": [p for p in learned if id(p) in of_text], "peak": share * rate},
    ]
    return torch.optim.AdamW(
        [g for g in groups if g["params"]], weight_decay=settings.weight_decay, fused=True
    )


def share_of(exposures: int) -> float:
    """Of the recipe's rates, for a log of so many: few exposures tell less than full steps would take in.

    At full rates the first epoch is as good, and each one after it worse by 2 to 8 points of RCE (1,000 and
    3,000 exposures of a real log), so that all hangs on a few held-out exposures to say where to stop.
    """
    return min(max(exposures / 10_000, 0.2), 1.0)


def set_rate(optimizer: torch.optim.Optimizer, step: int, steps: int, warmup: float) -> float:
    """Set the learning rates of step `step` (from 0) of `steps`: linear warm-up, then a cosine down to 2 %.

    Returns the first group's.
    """
    rise = max(int(steps * warmup), 1)
    if step < rise:
        factor = (step + 1) / rise
    else:
        factor = 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * (step - rise) / max(steps - rise, 1)))
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    return float(optimizer.param_groups[0]["lr"])
