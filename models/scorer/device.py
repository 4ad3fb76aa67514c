"""Scoring with tensors on any device, in one call for all pairs at hand: the way of a GPU."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from models.devices import to_device
from models.network import Network
from models.rounding import INTEREST, VECTOR, unpack
from models.scorer.device_inputs import DeviceAsked, device_coverage, device_likeness
from models.scorer.rows import UserRows
from models.state.vector import HABITS, SKETCH
from models.text.coverage import Asked

#: Pairs at once: the gathered interests of 65,536 take 128 MB as float32.
_CHUNK: Final = 65_536


class DeviceRows:
    """See `UserRows`. Everything lies on the network's device but habits and keys."""

    def __init__(self, capacity: int, network: Network) -> None:
        device, ranker = network.device(), network.ranker
        d, h, w, k = (
            ranker.c.in_features,
            ranker.c.out_features,
            ranker.query.out_features,
            network.config.user.interests,
        )
        self.projected = torch.zeros(capacity, h, device=device)
        self.vectors = torch.zeros(capacity, d, dtype=torch.int8, device=device)
        self.interests = torch.zeros(capacity, k, w, dtype=torch.int8, device=device)
        self.filled = torch.zeros(capacity, dtype=torch.int64, device=device)
        self.sketches = torch.zeros(capacity, SKETCH, dtype=torch.uint8, device=device)
        width = len(network.tastes.center)
        self.leanings = torch.zeros(capacity, width, dtype=torch.int8, device=device)
        self.habits = np.zeros(capacity, HABITS)
        self.keys = np.zeros(capacity, np.uint32)
        self._ranker = ranker

    @property
    def row_bytes(self) -> int:
        """Memory that a user takes."""
        there = self.projected, self.vectors, self.interests, self.filled, self.sketches, self.leanings
        here = self.habits, self.keys
        return sum(t[0].nbytes for t in there) + sum(a.strides[0] for a in here)

    def set(self, slots: NDArray[np.intp], records: NDArray[np.void], keys: NDArray[np.uint32]) -> None:
        """Put `user_vectors` records [n] of users with short keys [n] into slots [n]."""
        device = self.vectors.device
        at = torch.from_numpy(np.asarray(slots, np.int64)).to(device)
        vectors = torch.from_numpy(records["vector"].copy()).to(device)
        with torch.inference_mode():
            self.projected[at] = self._ranker.user(vectors.float() * VECTOR.step)
        self.vectors[at] = vectors
        self.interests[at] = torch.from_numpy(unpack(records["interests"])).to(device)
        self.filled[at] = torch.from_numpy(records["filled"].astype(np.int64)).to(device)
        self.sketches[at] = torch.from_numpy(records["sketch"].copy()).to(device)
        self.leanings[at] = torch.from_numpy(records["leaning"].copy()).to(device)
        self.habits[slots] = records["habits"]
        self.keys[slots] = keys


class DeviceScorer:
    """See `Scorer`."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def rows(self, capacity: int) -> DeviceRows:
        """Room for `capacity` users."""
        return DeviceRows(capacity, self._network)

    def logits(
        self,
        tweets: NDArray[np.float32],
        asked: Asked,
        tweet: NDArray[np.intp],
        rows: UserRows,
        slots: NDArray[np.intp],
        features: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """See `Scorer`."""
        assert isinstance(rows, DeviceRows)
        ranker, device = self._network.ranker, self._network.device()
        out = np.empty((len(slots), self._network.heads), np.float32)
        with torch.inference_mode():
            side = ranker.tweet(torch.from_numpy(tweets).to(device))
            asks = DeviceAsked.of(asked, device)
            for start in range(0, len(slots), _CHUNK):
                part = slice(start, start + _CHUNK)
                of_tweet, of_user, given = (
                    to_device(torch.from_numpy(array[part]), device) for array in (tweet, slots, features)
                )
                covered = device_coverage(asks, of_tweet, rows.sketches, of_user)
                like = device_likeness(asks, of_tweet, rows.leanings, of_user)
                out[part] = ranker.pair(
                    rows.projected[of_user],
                    rows.vectors[of_user] * VECTOR.step,
                    rows.interests[of_user] * INTEREST.step,
                    rows.filled[of_user],
                    type(side)(*(values[of_tweet] for values in side)),
                    torch.cat([given, covered, like], dim=1),
                ).cpu()
        return out
