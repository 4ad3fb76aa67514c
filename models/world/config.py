"""How large a simulated world is, and how its people behave. Plain data with defaults.

Knows nothing of how a world is made.
"""

from __future__ import annotations

from dataclasses import dataclass

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WorldConfig:
    """Sizes and habits of a world. The same configuration gives the same world on every machine.

    `tweets` counts what authors write themselves; their retweets (see `echo`) come on top.
    """

    users: int = 2_000
    #: How many of the users write tweets; None: a tenth, at least 20.
    authors: int | None = None
    tweets: int = 6_000
    days: float = 30.0
    seed: int = 1
    #: Accounts a user follows, on average (log-normal, cut off at the number of authors).
    follows: float = 25.0
    #: Probability that a follower is shown a tweet, on average over users.
    shown: float = 0.5
    #: Probability that an author's retweet is published to that author's followers as a tweet of its own.
    echo: float = 0.3
    #: The last part of the time, whose exposures are for validation.
    valid_part: float = 0.2
    #: Probability with which a training exposure without any action is kept.
    keep_rate: float = 1.0
    #: When the world begins, in ms since the epoch (default: 1 January 2024).
    start_ms: int = 1_704_067_200_000

    def __post_init__(self) -> None:
        problems = [
            (self.users < 20, "users must be at least 20"),
            (not 2 <= self.author_count <= self.users, "authors must lie between 2 and users"),
            (self.tweets < 10, "tweets must be at least 10"),
            (self.days <= 0, "days must be positive"),
            (self.follows < 1, "follows must be at least 1"),
            (not 0 < self.shown < 1, "shown must lie strictly between 0 and 1"),
            (not 0 <= self.echo <= 1, "echo must lie between 0 and 1"),
            (not 0 < self.valid_part < 1, "valid_part must lie strictly between 0 and 1"),
            (not 0 < self.keep_rate <= 1, "keep_rate must be above 0 and at most 1"),
        ]
        for wrong, message in problems:
            if wrong:
                raise ValueError(f"world: {message}")

    @property
    def author_count(self) -> int:
        """How many users write tweets."""
        return max(20, self.users // 10) if self.authors is None else self.authors

    @property
    def end_ms(self) -> int:
        """When the last tweet may be written."""
        return self.start_ms + int(self.days * DAY_MS)

    @property
    def split_ms(self) -> int:
        """Exposures from here on are for validation."""
        return self.end_ms - int(self.days * DAY_MS * self.valid_part)


#: Sizes that `streamer simulate --size` names. "small" takes under a second, "demo" a few seconds.
SIZES: dict[str, WorldConfig] = {
    "small": WorldConfig(users=200, tweets=300, authors=20, days=10, follows=8),
    "demo": WorldConfig(),
    "big": WorldConfig(users=100_000, authors=5_000, tweets=20_000, follows=25),
}
