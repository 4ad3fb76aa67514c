"""Scoring on a CPU: rows laid out for `models.scorer.kernel`, weights folded for it once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.cores import cores
from models.features import PAIR_FEATURES
from models.network import Network
from models.piecewise import BINS, PiecewiseLinear
from models.ranker import SIMILARITIES, Ranker
from models.rounding import INTEREST, VECTOR, unpack
from models.scorer.kernel import STEPS, Kernel, Sizes, Tweets, Users, Weights, kernel, lanes_of
from models.scorer.rows import UserRows
from models.small_layers import Floats, add_linear, aligned, floats
from models.state.vector import HABITS
from models.text.coverage import Asked
from models.text.likeness import lengths

#: Pairs that are worth a thread of their own: about 1.5 ms.
_SHARE: Final = 2_048
#: Least length of a query that is divided by: torch's.
_LEAST: Final = np.float32(1e-12)


class CpuRows:
    """See `UserRows`."""

    def __init__(self, capacity: int, ranker: Ranker, sizes: Sizes, base: Tensor) -> None:
        self.habits = np.zeros(capacity, HABITS)
        self.keys = np.zeros(capacity, np.uint32)
        self._bytes = aligned((capacity, sizes.row), np.uint8)
        self._projected = aligned((capacity, sizes.h), np.float32)
        self._ranker, self._sizes, self._base = ranker, sizes, base

    @property
    def row_bytes(self) -> int:
        """Memory that a user takes."""
        return sum(a.strides[0] for a in (self.habits, self.keys, self._bytes, self._projected))

    @property
    def users(self) -> Users:
        """As the kernel reads them."""
        return Users(self._projected, self._bytes.view(np.int8), self._bytes)

    def set(self, slots: NDArray[np.intp], records: NDArray[np.void], keys: NDArray[np.uint32]) -> None:
        """Put `user_vectors` records [n] of users with short keys [n] into slots [n]."""
        vectors = torch.from_numpy(records["vector"].astype(np.float32)) * VECTOR.step
        with torch.inference_mode():
            self._projected[slots] = (self._ranker.user(vectors) + self._base).numpy()
        interests = unpack(records["interests"]).transpose(0, 2, 1).reshape(len(records), -1)
        parts = [
            records["vector"],
            interests,
            records["leaning"],
            records["sketch"],
            records["filled"][:, None],
        ]
        joined = np.concatenate([part.view(np.uint8) for part in parts], axis=1)
        self._bytes[slots, : joined.shape[1]] = joined
        self.habits[slots] = records["habits"]
        self.keys[slots] = keys


class CpuScorer:
    """See `Scorer`."""

    def __init__(self, network: Network) -> None:
        ranker, given = network.ranker, len(PAIR_FEATURES)
        self._ranker = ranker
        low, scale, knots, start = _folded(ranker.features, ranker.d.weight)
        self._net = Weights(
            c=floats(ranker.c.weight.T * VECTOR.step),
            low=low,
            scale=scale,
            knots=knots,
            similarity=floats(ranker.d.weight[:, -SIMILARITIES:].T),
            middle=floats(ranker.middle.weight.T),
            middle_bias=floats(ranker.middle.bias),
            heads=floats(torch.cat([ranker.skip.weight, ranker.heads.weight], 1)),
            heads_bias=floats(ranker.heads.bias),
        )
        # `Ranker.tweet`: for a few tweets torch's calls take ten times as long.
        self._b, self._query = floats(ranker.b.weight.T), floats(ranker.query.weight.T)
        self._start = start
        k, w = network.config.user.interests, ranker.query.out_features
        d, h, last = ranker.c.in_features, ranker.c.out_features, ranker.middle.out_features
        t = len(network.tastes.center)
        self._sizes = Sizes(d, h, last, k, w, t, given, len(ranker.features.low), ranker.heads.out_features)
        self._kernel: Kernel = kernel(self._sizes)
        # Not as many as torch's: these don't spin while they wait, and what else runs here loses nothing.
        self._threads = cores()
        self._pool = ThreadPoolExecutor(self._threads, "pairs")

    def rows(self, capacity: int) -> CpuRows:
        """Room for `capacity` users."""
        return CpuRows(capacity, self._ranker, self._sizes, self._start)

    def logits(
        self,
        tweets: Floats,
        asked: Asked,
        tweet: NDArray[np.intp],
        rows: UserRows,
        slots: NDArray[np.intp],
        features: Floats,
    ) -> Floats:
        """See `Scorer`."""
        assert isinstance(rows, CpuRows)
        tweets = np.ascontiguousarray(tweets)
        projected, query = (_product(tweets, weight) for weight in (self._b, self._query))
        query *= np.float32(INTEREST.step) / np.maximum(np.linalg.norm(query, axis=1, keepdims=True), _LEAST)
        columns = Tweets(tweets, projected, query, *asked, lengths(asked.tastes))
        out = np.empty((len(slots), self._sizes.heads), np.float32)
        features = np.ascontiguousarray(features, np.float32)
        users = rows.users
        shares = max(min(self._threads, len(slots) // _SHARE), 1)
        bounds = [len(slots) * i // shares for i in range(shares + 1)]

        def run(start: int, stop: int) -> None:
            part = slice(start, stop)
            self._kernel(columns, tweet[part], users, slots[part], features[part], self._net, out[part])

        if shares == 1:
            run(0, len(slots))
        else:  # the kernel runs without the GIL
            list(self._pool.map(run, bounds[:-1], bounds[1:]))
        return out


def _product(rows: Floats, weight: Floats) -> Floats:
    """`rows` [n, m] @ `weight` [m, k]. Not NumPy's: its threads spin on the cores that the pairs need."""
    out = aligned((len(rows), weight.shape[1]), np.float32)
    add_linear(rows, weight, out)
    return out


def _folded(codes: PiecewiseLinear, weight: Tensor) -> tuple[Floats, Floats, Floats, Tensor]:
    """Lows, scales and knots of standardised codes times `weight` [h, f · 8 + ...]; see `kernel.Weights`.

    The last is what they add where every feature lies below its first bin: [h].
    """
    f, h = len(codes.low), len(weight)
    lanes = lanes_of(f)
    slope = weight.detach()[:, : codes.width].T.reshape(f, BINS, h) * codes.gain.unsqueeze(-1)
    start = -(slope * codes.mean.unsqueeze(-1)).sum((0, 1))
    low, scale, knots = torch.zeros(BINS, lanes), torch.zeros(BINS, lanes), torch.zeros(lanes, STEPS, h)
    low[:, :f], scale[:, :f] = codes.low.T, codes.scale.T
    # Bins that are not in use come last, and have no scale: nothing gets into them.
    knots[:f, 1 : BINS + 1] = slope.cumsum(1)
    knots[:, BINS + 1] = knots[:, BINS]
    return floats(low), floats(scale), floats(knots.flatten(0, 1)), start
