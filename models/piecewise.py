"""Numbers as piecewise linear codes (Gorishniy et al. 2022): a network can bend at any of their edges.

A number is spread over bins: those below it are 1, those above it 0, its own says how far into it. Worth 1 to
1.5 points of RCE on a real log against standardised numbers. Knows nothing of what the numbers mean.
"""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

#: 32 bins were no better.
BINS: Final = 8


class PiecewiseLinear(nn.Module):
    """Codes [n, width · BINS] of numbers [n, width]; `fit` learns the edges once, from the training data.

    The codes are standardised: as they are, what is rarely above 0 would be learned last.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.width = width * BINS
        self.low: Tensor
        self.scale: Tensor
        self.mean: Tensor
        self.gain: Tensor
        self.register_buffer("low", torch.arange(-BINS // 2, BINS // 2, dtype=torch.float32).repeat(width, 1))
        self.register_buffer("scale", torch.ones(width, BINS))
        self.register_buffer("mean", torch.full((width, BINS), 0.5))
        self.register_buffer("gain", torch.full((width, BINS), 2.0))
        self.used: Tensor  # places of the bins that are not always 0, among all
        self.column: Tensor  # what each of them is a bin of
        self.dense_codes: Tensor  # their lows, scales, means and gains [4, used]
        for name in ("used", "column", "dense_codes"):
            self.register_buffer(name, None, persistent=False)
        _looked(self)
        self.register_load_state_dict_post_hook(_looked)  # type: ignore[no-untyped-call]

    def fit(self, values: Tensor) -> None:
        """Learn from `values` [n, width]. Bins that a column has too few distinct values for stay 0."""
        self.scale.zero_()
        for i, column in enumerate(values.cpu().numpy().T):
            edges = torch.from_numpy(_edges(column)).to(self.low)
            used = len(edges) - 1
            self.low[i, :used] = edges[:-1]
            self.scale[i, :used] = 1.0 / edges.diff()
            codes = self.codes(values[:, i : i + 1].to(self.low), slice(i, i + 1))[:, 0]
            self.mean[i] = codes.mean(0)
            self.gain[i] = (1.0 / codes.std(0, correction=0).clamp_min(1e-6)).clamp_max(8.0)
        _looked(self)

    def codes(self, values: Tensor, columns: slice = slice(None)) -> Tensor:
        """Codes [n, columns, BINS] in 0..1; what lies outside the training data is as its extremes."""
        steps = (values.unsqueeze(-1) - self.low[columns]).mul_(self.scale[columns])
        return steps.clamp_(0.0, 1.0)

    def forward(self, values: Tensor) -> Tensor:
        """Standardised codes, end to end."""
        return self.codes(values).sub_(self.mean).mul_(self.gain).flatten(1)

    def dense(self, values: Tensor) -> Tensor:
        """What `forward` has in the columns `used`, [n, used]: of a real log's metadata that is half."""
        low, scale, mean, gain = self.dense_codes
        steps = (values[:, self.column] - low).mul_(scale)
        codes: Tensor = steps.clamp_(0.0, 1.0).sub_(mean).mul_(gain)
        return codes


def _looked(codes: nn.Module, *_: object) -> None:
    """Find the bins in use, which the scales say, and gather what is known of them: to look each time took a
    tenth of the time in which a tweet is embedded.
    """
    codes.used = codes.get_buffer("scale").flatten().nonzero()[:, 0]
    codes.column = codes.used // BINS
    codes.dense_codes = torch.stack(
        [codes.get_buffer(name).flatten()[codes.used] for name in ("low", "scale", "mean", "gain")]
    )


def _edges(column: NDArray[np.float32]) -> NDArray[np.float32]:
    """Up to BINS + 1 rising edges, of about equally many values each.

    One value that most rows share, such as a count of 0, takes one bin's share: the others divide the rest.
    """
    values, counts = np.unique(column, return_counts=True)
    if len(values) <= BINS + 1:
        edges = values
    else:
        mass = counts.astype(np.float64)
        for _ in range(BINS):
            mass = np.minimum(mass, mass.sum() / BINS)
        mass = mass.cumsum()
        edges = values[np.searchsorted(mass, np.linspace(0, mass[-1], BINS + 1)).clip(max=len(values) - 1)]
    # Edges as near as rounding errors would make a step of a slope.
    apart = np.diff(edges, prepend=-np.inf) > 1e-6 * max(float(np.ptp(values)), 1.0)
    out: NDArray[np.float32] = edges[apart]
    return out
