"""How an untrained network begins: with its inputs' scales and its readers; where exposures are few
as a linear model, else with base rates.

Knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.batches import Targets, pair_inputs, targets_of
from models.dataset import Dataset
from models.linear import fit_linear
from models.network import Network
from models.text.bank import TermTable

#: Up to so many exposures, a linear model is most of what can be learned. On a real log, RCE from base rates
#: and from there, means: 1,000 exposures 30 and 47; 3,000 49 and 52; 9,000 55 and 56; 35,000 without anything
#: from before 56 and 58. At 21,000 it cost 1 point, at 140,000 1.2, at 210,000 0.6.
_FEW: Final = 50_000
#: Exposures that scales and rates are learned from, at most, spread over all.
_SAMPLE: Final = 100_000
#: Exposures read, and counted, at once.
_READ: Final = 4_096
_COUNTED: Final = 1 << 20


def start(network: Network, dataset: Dataset, terms: TermTable, rows: slice, heads: list[str]) -> None:
    """Begin with a range of the exposures, which holds some."""
    n = rows.stop - rows.start
    network.meet(*_readers(dataset, rows))
    chosen = dataset.exposures[rows.start : rows.stop : -(-n // _SAMPLE)]
    pairs = torch.from_numpy(
        np.concatenate([pair_inputs(dataset, terms, chosen[part]) for part in _parts(len(chosen))])
    )
    network.fit_scales(
        pairs,
        _features(dataset, np.unique(chosen["tweet"])),
        dataset.users["snapshot"]["stats"][np.unique(chosen["user"])],
    )
    targets = targets_of(chosen, heads, torch.device("cpu"))
    if n > _FEW:
        network.start_at(_base_rates(targets).logit())
        return
    device = network.device()
    inputs = [
        network.linear_inputs(
            pairs[part].to(device), _features(dataset, chosen[part]["tweet"]).to(device)
        ).cpu()
        for part in _parts(n)
    ]
    linear = fit_linear(torch.cat(inputs).numpy(), targets.labels.numpy(), targets.weights.numpy())
    network.start_as(torch.from_numpy(linear.weights), torch.from_numpy(linear.bias))


def _readers(dataset: Dataset, rows: slice) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """Short keys of the readers, ascending, and how many of the exposures each has."""
    readers, counts = np.empty(0, np.uint32), np.empty(0, np.int64)
    for first in range(rows.start, rows.stop, _COUNTED):
        found, times = np.unique(
            dataset.readers[first : min(first + _COUNTED, rows.stop)], return_counts=True
        )
        readers, place = np.unique(np.concatenate([readers, found]), return_inverse=True)
        counts = np.bincount(place, np.concatenate([counts, times])).astype(np.int64)
    return readers, counts


def _parts(n: int) -> Iterator[slice]:
    return (slice(first, first + _READ) for first in range(0, n, _READ))


def _features(dataset: Dataset, tweets: NDArray[np.integer[Any]]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(dataset.tweets["features"][tweets]))


def _base_rates(targets: Targets) -> Tensor:
    """Shares [heads], within 1e-6 to 1/2."""
    totals = targets.weights.sum(0).clamp_min(1.0)
    return ((targets.labels * targets.weights).sum(0) / totals).clamp(1e-6, 0.5)
