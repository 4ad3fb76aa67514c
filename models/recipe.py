"""A recipe: every choice that makes a model, typed, described, with defaults that suit any log.

Written by hand as TOML, kept in a bundle's config. Unknown keys are refused. Knows nothing of how the choices
are carried out: each encoder's module reads its own struct.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import msgspec
from msgspec import Meta

from models.hints import did_you_mean
from models.state.user import HISTORY

Size = Annotated[int, Meta(ge=1, le=65_536)]
Rate = Annotated[float, Meta(ge=0.0, lt=1.0)]


Calibration = Literal["platt", "temperature", "isotonic", "none"]


class RecipeError(Exception):
    """A recipe can't be used; the message is one line that says why."""


class Transformer(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="transformer"):
    """A Hugging Face encoder, or a small BERT of our own where `source` is empty."""

    source: Annotated[
        str, Meta(description="Folder or hub id of an encoder; empty: a small one from scratch.")
    ] = ""
    frozen: Annotated[bool, Meta(description="Keep the encoder as it is and cache its vectors on disk.")] = (
        False
    )
    pooling: Annotated[
        Literal["cls", "mean"], Meta(description="First token, or the mean of all tokens.")
    ] = "mean"
    max_tokens: Annotated[Size, Meta(description="Longer texts are cut.")] = 96
    vocabulary: Annotated[Size, Meta(description="From scratch: WordPiece entries learned from the log.")] = (
        8_000
    )
    layers: Annotated[Size, Meta(description="From scratch: transformer layers.")] = 2
    width: Annotated[Size, Meta(multiple_of=32, description="From scratch: hidden size.")] = 128
    frozen_layers: Annotated[
        int, Meta(ge=0, le=65_536, description="Fine-tuning: lowest layers left alone.")
    ] = 0


class Bag(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="bag"):
    """The mean of word-piece embeddings, which start from latent semantic analysis of the log's texts."""

    frozen: Annotated[bool, Meta(description="Keep the embeddings as they start.")] = True
    vocabulary: Annotated[Size, Meta(description="WordPiece entries learned from the log.")] = 16_000
    width: Annotated[Size, Meta(description="Embedding size.")] = 128
    max_tokens: Annotated[Size, Meta(description="Longer texts are cut.")] = 128


class Lstm(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="lstm"):
    """The last state of an LSTM over whole words, trained end to end."""

    frozen: ClassVar[bool] = False
    vocabulary: Annotated[Size, Meta(description="Most frequent words of the log that are known.")] = 20_000
    max_tokens: Annotated[Size, Meta(description="Longer texts are cut.")] = 80
    embedding: Annotated[Size, Meta(description="Length of a word's embedding.")] = 128
    units: Annotated[Size, Meta(description="Length of the state, which is the text's vector.")] = 64
    dropout: Annotated[Rate, Meta(description="Of a text's word embeddings, alike for all of its words.")] = (
        0.2
    )
    recurrent_dropout: Annotated[Rate, Meta(description="Of the state, alike for all of a text's steps.")] = (
        0.2
    )


class Cnn(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="cnn"):
    """TextCNN: filters over windows of words, the largest answer of each, trained end to end."""

    frozen: ClassVar[bool] = False
    vocabulary: Annotated[Size, Meta(description="Most frequent words of the log that are known.")] = 20_000
    max_tokens: Annotated[Size, Meta(description="Longer texts are cut.")] = 80
    embedding: Annotated[Size, Meta(description="Length of a word's embedding.")] = 128
    windows: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=32)], ...],
        Meta(min_length=1, description="Words that a filter sees."),
    ] = (3, 4, 5)
    filters: Annotated[Size, Meta(description="Filters of each window.")] = 100
    dropout: Annotated[Rate, Meta(description="Of the filters' answers, while training.")] = 0.5


class NoText(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="none"):
    """Texts are not read, neither as vectors nor as words that histories have."""

    frozen: ClassVar[bool] = False
    vocabulary: ClassVar[int] = 100
    max_tokens: ClassVar[int] = 1


TextConfig = Transformer | Bag | Lstm | Cnn | NoText


class TweetConfig(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How text, author and metadata become one tweet vector."""

    dimensions: Annotated[
        Size, Meta(multiple_of=4, description="Length of the tweet vector that is kept and scored.")
    ] = 64
    hidden: Annotated[Size, Meta(description="Width of the hidden layer.")] = 128
    author_buckets: Annotated[
        int,
        Meta(
            ge=2,
            le=65_536,
            description="Authors are hashed into this many embeddings, the first of which is nobody's.",
        ),
    ] = 16_384
    author_width: Annotated[
        int, Meta(ge=0, le=65_536, description="Length of an author's embedding; 0: authors have none.")
    ] = 32
    metadata: Annotated[
        bool, Meta(description="Kind, media, links, hour, and the author's numbers join the text.")
    ] = True
    dropout: Annotated[Rate, Meta(description="Dropout of inputs and hidden layer while training.")] = 0.2
    author_dropout: Annotated[
        Rate, Meta(description="Authors made unknown while training, so that new ones work.")
    ] = 0.2


History = Annotated[int, Meta(ge=0, le=HISTORY, description="Of the last engagements, how many count.")]
Interests = Annotated[int, Meta(ge=1, le=255, description="Engaged tweets kept to compare with.")]
InterestWidth = Annotated[
    int, Meta(ge=4, le=1024, multiple_of=4, description="Numbers, of 4 bits, kept of each of them.")
]


class Attention(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="attention"):
    """Self-attention with positions over the last engagements."""

    layers: Annotated[Size, Meta(description="Attention blocks.")] = 1
    heads: Annotated[Size, Meta(description="Attention heads; must divide the tweet vector's length.")] = 4
    history: History = HISTORY
    interests: Interests = 32
    interest_width: InterestWidth = 12
    readers: Annotated[
        int,
        Meta(
            ge=0, le=2**24, description="So many readers, those of most exposures, have embeddings; 0: none."
        ),
    ] = 16_384
    reader_dropout: Annotated[
        Rate, Meta(description="Readers made unknown while training, so that new ones work.")
    ] = 0.1
    dropout: Annotated[Rate, Meta(description="Dropout while training.")] = 0.2
    item_dropout: Annotated[Rate, Meta(description="Engagements left out while training.")] = 0.1


class StarSpace(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="starspace"):
    """The bag of the last engaged tweets and of the profile's words, with a ranking loss of its own."""

    history: History = HISTORY
    interests: Interests = 32
    interest_width: InterestWidth = 12
    margin: Annotated[
        float, Meta(gt=0, le=2, description="By which the cosine to a tweet of the user's must be larger.")
    ] = 0.05
    negatives: Annotated[Size, Meta(description="Other users' tweets that each is compared with.")] = 10
    ranking: Annotated[
        float,
        Meta(ge=0, le=1_000, description="Weight of the ranking loss beside that of the actions; 0: none."),
    ] = 1.0


class ProfileOnly(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="profile"):
    """Profile features and words, no history."""

    history: ClassVar[int] = 0
    interests: ClassVar[int] = 1
    interest_width: ClassVar[int] = 4


class Anybody(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, tag="none"):
    """Tweets alone are judged: everybody gets the same probability, whatever there is between two people."""

    history: ClassVar[int] = 0
    interests: ClassVar[int] = 1
    interest_width: ClassVar[int] = 4


UserConfig = Attention | StarSpace | ProfileOnly | Anybody


class RankerConfig(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How a user vector, a tweet vector and their pair features become probabilities."""

    combine: Annotated[
        Literal["concat", "hadamard", "both"],
        Meta(description="Of user and tweet vector: end to end, their product, or both."),
    ] = "both"
    edges: Annotated[
        bool,
        Meta(description="What is between the two: pair features, similarities to interests, common words."),
    ] = True
    hidden: Annotated[Size, Meta(multiple_of=4, description="Width of the joint layer.")] = 64
    hidden_last: Annotated[Size, Meta(description="Width of the layer before the heads.")] = 32
    dropout: Annotated[Rate, Meta(description="Dropout while training.")] = 0.3


class ModelConfig(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """What the model is made of."""

    text: Annotated[TextConfig, Meta(description="The text encoder, by `type`.")] = Bag()
    tweet: TweetConfig = TweetConfig()
    taste: Annotated[
        int,
        Meta(
            ge=0,
            le=256,
            description="Numbers that tell which words the same readers care for, and what each reader's "
            "taste is kept in; 0: none.",
        ),
    ] = 32
    user: Annotated[UserConfig, Meta(description="The user encoder, by `type`.")] = Attention()
    ranker: RankerConfig = RankerConfig()
    source_vocabulary: Annotated[
        str,
        Meta(description="WordPiece vocabulary file of `text_tokens`; empty: the text encoder's own."),
    ] = ""

    def __post_init__(self) -> None:
        """Raises ValueError, of which `Recipe.load` makes a RecipeError."""
        if isinstance(self.user, Anybody) and self.ranker.combine == "hadamard":
            raise ValueError("without a user there is no product of vectors: combine = 'concat' or 'both'")
        if isinstance(self.user, Attention) and self.tweet.dimensions % self.user.heads:
            raise ValueError(
                f"user.heads = {self.user.heads} does not divide tweet.dimensions = {self.tweet.dimensions}: "
                "choose heads that do"
            )

    @property
    def reads_ids(self) -> bool:
        """Whether `text_tokens` mean anything: their vocabulary is named, or a pretrained encoder's."""
        return bool(self.source_vocabulary or (isinstance(self.text, Transformer) and self.text.source))

    @property
    def tastes(self) -> int:
        """`taste`, where words are read."""
        return 0 if isinstance(self.text, NoText) else self.taste

    @property
    def remembers(self) -> bool:
        """Whether readers have tastes."""
        return bool(self.tastes) and self.user.history > 0

    @property
    def edges(self) -> bool:
        """Whether what is between reader and tweet counts."""
        return self.ranker.edges and not isinstance(self.user, Anybody)


class TrainingConfig(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """How the model is trained."""

    seed: Annotated[int, Meta(ge=0, le=2**32 - 1, description="Of initialisation, order and dropout.")] = 0
    epochs: Annotated[Size, Meta(description="Most passes over the exposures.")] = 6
    patience: Annotated[
        Size, Meta(description="Stop after this many epochs without a better held-out loss.")
    ] = 2
    other_heads: Annotated[
        float, Meta(ge=0, le=1_000, description="Weight of each other action's loss, where a retweet's is 1.")
    ] = 1.0
    batch: Annotated[
        int,
        Meta(
            ge=0,
            le=65_536,
            description="Exposures in a step, of all processes together; 0: few enough for some 180 steps "
            "an epoch, 16 to 1,024.",
        ),
    ] = 0
    accumulate: Annotated[
        Size,
        Meta(description="Parts of a step that are computed one after the other, for less memory."),
    ] = 1
    precision: Annotated[
        Literal["auto", "float32", "bfloat16"],
        Meta(description="Of the forward pass; auto: bfloat16 on a GPU that has it."),
    ] = "auto"
    checkpoint_minutes: Annotated[
        float,
        Meta(ge=0, le=525_600, description="Between checkpoints; there is one after each epoch as well."),
    ] = 10.0
    learning_rate: Annotated[
        float,
        Meta(
            gt=0,
            le=1,
            description="Peak of AdamW, for all but the text encoder. Logs of fewer than 10,000 exposures "
            "get a share of each rate, 0.2 at the least.",
        ),
    ] = 1e-3
    text_learning_rate: Annotated[
        float, Meta(gt=0, le=1, description="Peak of AdamW, text encoder from scratch.")
    ] = 1e-3
    finetune_learning_rate: Annotated[
        float, Meta(gt=0, le=1, description="Peak of AdamW, pretrained encoder.")
    ] = 2e-5
    weight_decay: Annotated[float, Meta(ge=0, le=1, description="Of AdamW.")] = 0.01
    warmup: Annotated[Rate, Meta(description="Share of the steps over which the rate rises.")] = 0.05
    held_out: Annotated[
        Rate, Meta(description="The last share of exposures, for stopping and calibration.")
    ] = 0.1
    taste_part: Annotated[
        Rate,
        Meta(
            description="The first share of exposures: engagements up to there teach tastes, which readers "
            "have from there on."
        ),
    ] = 0.4
    refit: Annotated[
        int,
        Meta(
            ge=0, le=100, description="Passes over the held-out part at last, so that the newest count too."
        ),
    ] = 3
    calibration: Annotated[
        Calibration, Meta(description="Curve fitted on the held-out part, as far as it is large.")
    ] = "platt"
    threads: Annotated[
        int, Meta(ge=0, le=65_536, description="Torch threads; 0: as many as there are cores to run on.")
    ] = 0


class Recipe(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True):
    """Everything that `train` needs to know beside the log."""

    model: ModelConfig = ModelConfig()
    training: TrainingConfig = TrainingConfig()

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a TOML file. Raises RecipeError, which names the key that is wrong."""
        try:
            return msgspec.toml.decode(path.read_bytes(), type=cls)
        except OSError as error:
            raise RecipeError(f"recipe {path}: {error.strerror}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RecipeError(f"recipe {path}: {error}{_hint(str(error))}") from error


def _hint(message: str) -> str:
    """The key that may have been meant, where msgspec knows none of a name."""
    name = message.partition("unknown field `")[2].partition("`")[0]
    groups = msgspec.json.schema(Recipe)["$defs"].values() if name else ()
    return did_you_mean(name, sorted({key for group in groups for key in group.get("properties", ())}))
