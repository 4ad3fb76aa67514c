"""The model with one thing changed at a time, for ablations. Knows nothing of how they are measured."""

from __future__ import annotations

from typing import Any, NamedTuple

from msgspec.structs import replace

from models.baselines.tweet_only import tweet_only
from models.recipe import (
    Anybody,
    Attention,
    Bag,
    Cnn,
    Lstm,
    NoText,
    ProfileOnly,
    Recipe,
    StarSpace,
    TextConfig,
    Transformer,
)


class Variant(NamedTuple):
    """`what` is for people; `slow` ones run only when named."""

    what: str
    recipe: Recipe
    slow: bool = False


def variants(default: Recipe, encoder: str = "") -> dict[str, Variant]:
    """By name, the default first. `encoder` is a Hugging Face folder or id, or empty for no such variants."""

    def model(**parts: Any) -> Recipe:
        return replace(default, model=replace(default.model, **parts))

    def tweet(**changes: Any) -> Any:
        return replace(default.model.tweet, **changes)

    def combined(**changes: Any) -> Recipe:
        return model(ranker=replace(default.model.ranker, **changes))

    def text(config: TextConfig) -> Recipe:
        return model(text=config)

    found = {
        "default": Variant("the default recipe", default),
        "text-only": Variant("the tweet's text, and nothing else", tweet_only(default)),
        "tweet-only": Variant("text, author and metadata; no reader", model(user=Anybody())),
        "user-only": Variant("everything but the text", text(NoText())),
        "concat": Variant("user and tweet vector end to end", combined(combine="concat")),
        "hadamard": Variant("their product alone", combined(combine="hadamard")),
        "no-author": Variant("no author embedding", model(tweet=tweet(author_width=0))),
        "no-tastes": Variant("readers have no tastes", model(taste=0)),
        "no-metadata": Variant(
            "no kind, media or hour, no numbers of authors", model(tweet=tweet(metadata=False))
        ),
        "no-edges": Variant("no pair features, similarities or common words", combined(edges=False)),
        "profile": Variant("user: profile alone", model(user=ProfileOnly())),
        "starspace": Variant("user: bag of engaged tweets, ranking loss", model(user=StarSpace())),
        "starspace-unranked": Variant("the same without its loss", model(user=StarSpace(ranking=0.0))),
        "bag-tuned": Variant("text: bag of word pieces, trained end to end", text(Bag(frozen=False))),
        "lstm": Variant("text: LSTM, trained end to end", text(Lstm())),
        "cnn": Variant("text: TextCNN, trained end to end", text(Cnn())),
        "bert": Variant("text: small BERT from scratch", text(Transformer())),
    }
    user = default.model.user
    if isinstance(user, Attention):
        anonymous = replace(user, readers=0)
        found["no-reader"] = Variant("readers have no embeddings of their own", model(user=anonymous))
    if isinstance(user, Attention | StarSpace):
        for length in (0, 4, 8, 16):
            of = "engagement" if length == 1 else "engagements"
            shorter = model(user=replace(user, history=length))
            found[f"history-{length}"] = Variant(f"the last {length} {of} of {user.history}", shorter)
    if encoder:
        frozen = Transformer(source=encoder, frozen=True)
        tuned = Transformer(source=encoder)
        found["encoder-frozen"] = Variant("text: pretrained encoder, as it is", text(frozen))
        found["encoder-tuned"] = Variant("text: pretrained encoder, fine-tuned", text(tuned), slow=True)
    return found
