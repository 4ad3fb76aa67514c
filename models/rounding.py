"""Small fixed-point numbers for what is kept of every user: 8 bits for user vectors, 4 for interests.

Training rounds too, with gradients passed straight through (Bengio et al. 2013), so that a network is judged
on what will be served. Knows nothing of what the numbers are.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


class Grid(NamedTuple):
    """The numbers `step · low .. step · high`."""

    step: float
    low: int
    high: int

    def rounded(self, values: Tensor) -> Tensor:
        """The nearest of them, with the gradient of `values`."""
        near = (values.detach() / self.step).round().clamp(self.low, self.high) * self.step
        return values + (near - values.detach())

    def codes(self, values: Tensor) -> NDArray[np.int8]:
        """Rounded values as multiples of `step`."""
        out: NDArray[np.int8] = (values / self.step).round().to(torch.int8).cpu().numpy()
        return out


#: User vectors come out of a layer norm: about -3..3.
VECTOR: Final = Grid(1 / 32, -128, 127)
#: Interests are unit vectors of a dozen numbers, or shorter: what lies beyond 0.67 is rare.
INTEREST: Final = Grid(1 / 12, -8, 7)


def pack(codes: NDArray[np.int8]) -> NDArray[np.uint8]:
    """INTEREST codes [..., w] as uint8 [..., w/2]: two in a byte, the first in the lower half."""
    low, high = (codes[..., i::2].astype(np.uint8) for i in (0, 1))
    return (low & np.uint8(0xF)) | (high << np.uint8(4))


def unpack(packed: NDArray[np.uint8]) -> NDArray[np.int8]:
    """The inverse of `pack`."""
    out = np.empty((*packed.shape[:-1], 2 * packed.shape[-1]), np.int8)
    out[..., 0::2] = (packed << 4).view(np.int8) >> 4
    out[..., 1::2] = packed.view(np.int8) >> 4
    return out
