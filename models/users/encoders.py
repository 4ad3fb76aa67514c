"""Which module builds which kind of user encoder."""

from __future__ import annotations

from models.recipe import Anybody, Attention, ProfileOnly, StarSpace, UserConfig
from models.users.attention import AttentionUser
from models.users.base import UserEncoder
from models.users.profile import NoUser, ProfileUser
from models.users.starspace import StarSpaceUser


def build_user(config: UserConfig, dimensions: int, author_width: int, taste_width: int = 0) -> UserEncoder:
    """The encoder that a recipe names, untrained, for vectors of `dimensions` numbers."""
    match config:
        case Attention():
            return AttentionUser(config, dimensions, author_width, taste_width)
        case StarSpace():
            return StarSpaceUser(config, dimensions)
        case ProfileOnly():
            return ProfileUser(dimensions)
        case Anybody():
            return NoUser(dimensions)
