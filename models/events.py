"""The contracts: every public record as a typed struct, decoded and validated with msgspec.

Knows nothing of topics' partitions, stores or models. JSON Schemas and `ops/asyncapi.yaml` are generated
from these structs (`streamer schemas`), and CI fails when they drift.

Times are integer milliseconds since the Unix epoch, UTC. Ids are strings. Unknown fields are ignored.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

#: Latest time accepted: 2100-01-01. Later ones are seconds/microseconds mistakes, and would never expire.
MAX_TIME_MS = 4_102_444_800_000
#: Longest text accepted, in characters (a long post may have 25,000).
MAX_TEXT = 25_000
#: Most BERT ids accepted in one tweet.
MAX_TOKENS = 4_096
#: Most user ids one tweet's explicit audience or one score request may name.
MAX_USERS = 100_000

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128, description="An opaque identifier.")]
TimeMs = Annotated[
    int, msgspec.Meta(ge=0, le=MAX_TIME_MS, description="Milliseconds since the Unix epoch, UTC.")
]
Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Probability = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT)]
Token = Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
Tokens = Annotated[list[Token], msgspec.Meta(max_length=MAX_TOKENS, description="BERT ids in order.")]
UserIds = Annotated[list[Id], msgspec.Meta(max_length=MAX_USERS)]

TweetKind = Literal["original", "reply", "quote", "retweet"]
Action = Literal["retweet", "quote", "reply", "like", "hide", "impression"]
FollowAction = Literal["follow", "unfollow"]

#: The actions the model has heads for, in the order of every probability array.
HEADS: tuple[Literal["retweet", "like", "reply", "quote"], ...] = ("retweet", "like", "reply", "quote")


class Profile(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is known of a user apart from behaviour."""

    followers: Count = 0
    following: Count = 0
    verified: bool = False
    created_at: TimeMs = 0
    description: Text = ""
    interests: Annotated[list[Annotated[str, msgspec.Meta(max_length=128)]], msgspec.Meta(max_length=64)] = []


class Tweet(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A published tweet. Exactly one of `text` and `text_tokens` is set, and it is not empty.

    Raises `msgspec.ValidationError` while decoding when neither or both are set, or when it is blank.
    """

    tweet_id: Id
    author_id: Id
    created_at: TimeMs
    text: Text | None = None
    text_tokens: Tokens | None = None
    language: Annotated[str, msgspec.Meta(max_length=64)] | None = None
    kind: TweetKind = "original"
    original_id: Id | None = None
    mentions: Annotated[list[Id], msgspec.Meta(max_length=1000)] = []
    hashtags: Annotated[list[str], msgspec.Meta(max_length=1000)] = []
    links: Annotated[list[str], msgspec.Meta(max_length=1000)] = []
    media: Annotated[list[str], msgspec.Meta(max_length=1000)] = []
    author: Profile | None = None
    audience: UserIds | None = None

    def __post_init__(self) -> None:
        if self.text is not None and self.text_tokens is not None:
            raise ValueError("both `text` and `text_tokens` are set: send exactly one")
        if self.text is None and self.text_tokens is None:
            raise ValueError("neither `text` nor `text_tokens` is set: send exactly one")
        if (self.text is not None and not self.text.strip()) or self.text_tokens == []:
            raise ValueError("the text is empty")


class Engagement(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A user did something with a tweet."""

    user_id: Id
    tweet_id: Id
    action: Action
    at: TimeMs


class Follow(msgspec.Struct, kw_only=True, omit_defaults=True):
    """`follower_id` starts or stops following `author_id`."""

    follower_id: Id
    author_id: Id
    action: FollowAction
    at: TimeMs


class User(Profile, kw_only=True, omit_defaults=True):
    """A user's profile, whole: a later one replaces an earlier one."""

    user_id: Id


class ScoreRequest(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Ask for probabilities: of `tweet_ids` for `user_ids`, or for a shard of each author's audience.

    `at` is the time the features are taken at (default: the tweet's own `created_at`), `deadline` the time
    until which the request waits for a tweet that is not embedded yet (default: the setting `request_wait_s`
    after it was published; never longer than that or 60 s, whichever is more).
    """

    tweet_ids: Annotated[list[Id], msgspec.Meta(min_length=1, max_length=1000)]
    user_ids: UserIds | None = None
    shard: Annotated[int, msgspec.Meta(ge=0, le=65_535)] | None = None
    at: TimeMs | None = None
    deadline: TimeMs | None = None

    def __post_init__(self) -> None:
        if (self.user_ids is None) == (self.shard is None):
            raise ValueError("exactly one of `user_ids` and `shard` must be set")


class Prediction(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The probability that `user_id` acts on `tweet_id` (format `pair`).

    `id` is the same for the same tweet, user and model, so a record delivered twice can be told.
    A head the model was not trained for is left out.
    """

    id: str
    tweet_id: Id
    user_id: Id
    author_id: Id
    retweet: Probability
    like: Probability | None = None
    reply: Probability | None = None
    quote: Probability | None = None
    model: str
    cold: bool = False
    created_at: TimeMs
    scored_at: TimeMs


class PredictionColumns(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One tweet's predictions for the users of one partition (format `columnar`): equally long columns."""

    id: str
    tweet_id: Id
    author_id: Id
    users: list[Id]
    retweet: list[Probability]
    like: list[Probability] | None = None
    reply: list[Probability] | None = None
    quote: list[Probability] | None = None
    cold: list[bool]
    model: str
    created_at: TimeMs
    scored_at: TimeMs
