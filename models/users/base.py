"""What every user encoder takes and gives. Knows nothing of how."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from models.recipe import ProfileOnly
from models.rounding import VECTOR


class Histories(NamedTuple):
    """A batch of users. `vectors` [n, m, d] are the tweet vectors of the items, the newest first.

    `mask` bool [n, m] is True where there is an item; `authors` (short keys), `actions` and `ages` (seconds
    before the newest item) are int64 [n, m]; `profile` [n, p]; `words` int64 [n, w], 0 where there is none;
    `tastes` [n, t] are `models.text.tastes.Tastes.features`; `readers` int64 [n] the users' own short keys, 0
    for those of whom nothing is known.
    """

    vectors: Tensor
    mask: Tensor
    authors: Tensor
    actions: Tensor
    ages: Tensor
    profile: Tensor
    words: Tensor
    tastes: Tensor
    readers: Tensor


class UserVectors(NamedTuple):
    """`vector` [n, d], `interests` [n, k, w] of which the first `filled` int64 [n] count; all rounded.

    `loss` is what the encoder itself wants to learn by, weighted, while it is trained; else None.
    """

    vector: Tensor
    interests: Tensor
    filled: Tensor
    loss: Tensor | None = None


class UserEncoder(nn.Module):
    """A batch of users to their vectors; no user's depend on the others in the batch."""

    def fit(self, profiles: Tensor) -> None:
        """Learn the scales of `profile_features` [n, p] of known profiles."""

    def meet(self, readers: Tensor, exposures: Tensor) -> None:
        """Get to know the readers: short keys int64 [n], ascending, and how many exposures [n] each has among
        those that are learned from.
        """

    def forward(self, users: Histories, authors: Tensor) -> UserVectors:
        """`authors` [n, m, a] are the embeddings of the items' authors."""
        raise NotImplementedError


def without_interests(vector: Tensor) -> UserVectors:
    """Of encoders that compare with no engaged tweet: room for one, which stays empty."""
    n = len(vector)
    room = vector.new_zeros(n, ProfileOnly.interests, ProfileOnly.interest_width)
    return UserVectors(VECTOR.rounded(vector), room, vector.new_zeros(n).long())
