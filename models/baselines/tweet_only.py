"""The tweet-only classifier as a baseline: a text encoder and the heads, with no reader and no author.

It is a network like the others, trained, judged and kept as a bundle is. Knows nothing of training.
"""

from __future__ import annotations

from msgspec.structs import replace

from models.recipe import Anybody, Recipe


def tweet_only(recipe: Recipe) -> Recipe:
    """The recipe, of whose model the text encoder is left: everybody gets the same probability."""
    model = recipe.model
    return replace(
        recipe,
        model=replace(model, user=Anybody(), tweet=replace(model.tweet, author_width=0, metadata=False)),
    )
