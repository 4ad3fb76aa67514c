"""A user as profile features and words alone, whatever the history; and no user at all."""

from __future__ import annotations

from torch import Tensor, nn

from models.users.base import Histories, UserEncoder, UserVectors, without_interests
from models.users.parts import Profile


class ProfileUser(UserEncoder):
    """Profile features and words."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.profile = Profile(dimensions)
        self.norm = nn.LayerNorm(dimensions)

    def fit(self, profiles: Tensor) -> None:
        """See `UserEncoder`."""
        self.profile.features.fit(profiles)

    def forward(self, users: Histories, authors: Tensor) -> UserVectors:
        """See `UserEncoder`."""
        return without_interests(self.norm(self.profile(users)))


class NoUser(UserEncoder):
    """The same nothing for everybody: what is left is a classifier of tweets."""

    def __init__(self, dimensions: int) -> None:
        super().__init__()
        self.dimensions = dimensions

    def forward(self, users: Histories, authors: Tensor) -> UserVectors:
        """See `UserEncoder`."""
        return without_interests(users.profile.new_zeros(len(users.profile), self.dimensions))
