"""What `models.text.coverage` and `models.text.likeness` tell of pairs, with tensors on any device.

Both give the same numbers; one suite tests that. Knows nothing of networks.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from models.devices import to_device
from models.state.vector import SKETCH
from models.text.coverage import LOGS, SEEN, Asked
from models.text.likeness import STEP


class DeviceAsked(NamedTuple):
    """An `Asked` of t tweets on a device: the bytes of a sketch [t, TERMS, 4] that its terms stand in and how
    far to shift them, weights and squares [t, TERMS]; tastes [t, w] and their lengths [t].
    """

    bytes: Tensor
    shifts: Tensor
    weights: Tensor
    squares: Tensor
    tastes: Tensor
    lengths: Tensor

    @classmethod
    def of(cls, asked: Asked, device: torch.device) -> DeviceAsked:
        """Send it there. Places are below 2,048."""
        arrays = asked.bits.view(np.int16), asked.weights, asked.squares, asked.tastes
        bits, weights, squares, tastes = (to_device(torch.from_numpy(array), device) for array in arrays)
        wide = bits.int()
        filters, counts = wide[..., :2], wide[..., 2:]
        return cls(
            torch.cat([filters >> 3, SEEN + (counts >> 2)], dim=-1),
            torch.cat([filters & 7, 2 * (counts & 3)], dim=-1).to(torch.uint8),
            weights,
            squares,
            tastes,
            tastes.square().sum(1).sqrt(),
        )


def device_coverage(asked: DeviceAsked, tweet: Tensor, sketches: Tensor, reader: Tensor) -> Tensor:
    """COVERAGE [n, 4] of pairs (tweet[i], sketches[reader[i]]); sketches uint8 [u, SKETCH]."""
    at = asked.bytes[tweet] + SKETCH * reader[:, None, None]
    found = sketches.view(-1)[at] >> asked.shifts[tweet]
    known = (found[..., 0] & found[..., 1] & 1).bool()
    level = torch.minimum(found[..., 2] & 3, found[..., 3] & 3)
    squares = asked.squares[tweet] * known
    logs = torch.tensor(LOGS, device=tweet.device)[level.int()]
    weighed = asked.weights[tweet] * known * logs
    sums = squares.sum(1), (squares * (level > 0)).sum(1), (squares * logs).sum(1)
    return torch.stack([*sums, weighed.amax(1)], dim=1)


def device_likeness(asked: DeviceAsked, tweet: Tensor, leanings: Tensor, reader: Tensor) -> Tensor:
    """LIKENESS [n, 2] of pairs (tastes[tweet[i]], leanings[reader[i]]); leanings int8 [u, w]."""
    leaning = leanings[reader].float()
    product = (asked.tastes[tweet] * leaning).sum(1)
    size = asked.lengths[tweet] * leaning.square().sum(1).sqrt()
    return torch.stack([product * STEP, product / (size + 1e-6)], dim=1)
