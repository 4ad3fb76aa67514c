"""What scorers have in common: users in slots of memory, and logits of pairs. Knows nothing of how."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.text.coverage import Asked


class UserRows(Protocol):
    """Users ready to be scored, in slots of memory; `habits` HABITS and `keys` (short keys) by slot."""

    habits: NDArray[np.void]
    keys: NDArray[np.uint32]

    @property
    def row_bytes(self) -> int:
        """Memory that a user takes."""

    def set(self, slots: NDArray[np.intp], records: NDArray[np.void], keys: NDArray[np.uint32]) -> None:
        """Put `user_vectors` records [n] of users with short keys [n] into slots [n]."""


class Scorer(Protocol):
    """Logits of pairs. May be called from several threads at a time."""

    def rows(self, capacity: int) -> UserRows:
        """Room for `capacity` users."""

    def logits(
        self,
        tweets: NDArray[np.float32],
        asked: Asked,
        tweet: NDArray[np.intp],
        rows: UserRows,
        slots: NDArray[np.intp],
        features: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Logits float32 [n, heads] of pairs (tweets[tweet[i]], slots[i]) with `pair_features` [n, e]."""
