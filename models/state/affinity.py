"""Affinity: what one user has done with one author's tweets so far.

Knows nothing of follow edges (see `audience`) or of the user's whole history (see `user`).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from models.state.decay import ACTION_INDEX, ACTIONS, SLOW, bump

#: One packed little-endian record, 39 bytes. `seen` holds fingerprints of the last events, so that a
#: redelivered one is not counted twice; `total` counts retweets and quotes ever (saturating).
AFFINITY: Final = np.dtype(
    [
        ("counts", "<f4", (len(ACTIONS),)),
        ("newest", "<u4"),
        ("last_positive", "<u4"),
        ("total", "<u2"),
        ("seen", "<u2", (2,)),
        ("flags", "u1"),
    ]
)

_POSITIVE: Final = frozenset({"retweet", "quote", "reply", "like"})


def empty() -> NDArray[np.void]:
    """A record of nothing, as an array of shape [1]."""
    return np.zeros(1, AFFINITY)


def engaged(record: NDArray[np.void], action: str, at: int, fingerprint: int) -> bool:
    """Count one engagement at second `at` into `record` [1], in place. False if just seen."""
    mark = fingerprint & 0xFFFF or 1
    row = record[0]
    if mark in row["seen"]:
        return False
    index = ACTION_INDEX[action]
    bump(row["counts"], index, int(row["newest"]), at, SLOW)
    row["newest"] = max(int(row["newest"]), at)
    if action in _POSITIVE:
        row["last_positive"] = max(int(row["last_positive"]), at)
    if action in ("retweet", "quote"):
        row["total"] = min(int(row["total"]) + 1, 0xFFFF)
    row["seen"][1] = row["seen"][0]
    row["seen"][0] = mark
    return True


def decode(values: list[bytes]) -> NDArray[np.void]:
    """Packed records as one array [n]. Raises ValueError when one has another length."""
    if any(len(v) != AFFINITY.itemsize for v in values):
        raise ValueError(f"an affinity record has not {AFFINITY.itemsize} bytes: written by another version?")
    return np.frombuffer(b"".join(values), AFFINITY)
