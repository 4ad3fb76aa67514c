"""Make a world: people, follows, tweets, exposures and engagements, from one seed.

Knows nothing of files (`models.world.export`) or of what the best possible model would score
(`models.world.optimum`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.events import Tweet, TweetKind, User
from models.world.behaviour import Behaviour, Progress, behave
from models.world.config import WorldConfig
from models.world.grammar import Drafts, make_bio, make_drafts, make_handles, write_text
from models.world.network import Network, make_network
from models.world.vocabulary import LANGUAGES, TOPICS

#: The epoch that Twitter's ids count milliseconds from; the lowest 22 bits tell tweets of one ms apart.
_SNOWFLAKE_EPOCH_MS, _SNOWFLAKE_BITS = 1_288_834_974_657, 22
#: Part of the users who list their interests in the profile, and part of the interests that descriptions
#: name. The rest can only be told from what a user engages with.
_LISTS, _TELLS = 0.5, 0.4


_KINDS: tuple[TweetKind, ...] = ("original", "reply", "quote")


@dataclass(frozen=True, slots=True)
class World:
    """A simulated world: what a log would show, and the truth behind it.

    `users` [U] and `tweets` [T] are contracts; `tweets` are numbered as in `behaviour`, not by time.
    """

    config: WorldConfig
    network: Network
    drafts: Drafts
    behaviour: Behaviour
    users: list[User]
    handles: list[str]
    tweets: list[Tweet]


def simulate(config: WorldConfig, progress: Progress | None = None) -> World:
    """Simulate a world. `progress` is called with (tweets done, tweets in all).

    Each part draws from a generator of its own, so that a change to one leaves the others as they were.
    """
    people, topics, life, words = (
        np.random.default_rng(seed) for seed in np.random.SeedSequence(config.seed).spawn(4)
    )
    network = make_network(config, people)
    drafts = make_drafts(config, network, topics)
    behaviour = behave(config, network, drafts, life, progress)
    handles = make_handles(config.users, words)
    users = _users(network, words)
    tweets = _tweets(network, drafts, behaviour, handles, words)
    return World(config, network, drafts, behaviour, users, handles, tweets)


def _users(network: Network, rng: np.random.Generator) -> list[User]:
    count = len(network.ids)
    followers = np.bincount(network.author, minlength=count).tolist()
    following = np.bincount(network.follower, minlength=count).tolist()
    lists, tells = rng.random((count, 1)) < _LISTS, rng.random((count, len(TOPICS))) < _TELLS
    held = network.interests > 0.5
    return [
        User(
            user_id=str(user_id),
            followers=followers[i],
            following=following[i],
            verified=bool(network.verified[i]),
            created_at=int(network.created_at[i]),
            description=make_bio(np.flatnonzero(held[i] & tells[i]).tolist(), int(network.language[i])),
            interests=[TOPICS[topic] for topic in np.flatnonzero(held[i] & lists[i]).tolist()],
        )
        for i, user_id in enumerate(network.ids.tolist())
    ]


def _snowflakes(at: NDArray[np.int64]) -> list[str]:
    """Distinct ids in the order of the times `at`, which may come in any order."""
    sequence = np.empty(len(at), dtype=np.int64)
    sequence[np.argsort(at, kind="stable")] = np.arange(len(at))
    low = sequence % (1 << _SNOWFLAKE_BITS)
    return [str(i) for i in (((at - _SNOWFLAKE_EPOCH_MS) << _SNOWFLAKE_BITS) + low).tolist()]


def _tweets(
    network: Network, drafts: Drafts, behaviour: Behaviour, handles: list[str], rng: np.random.Generator
) -> list[Tweet]:
    echoes = behaviour.echoes
    at = np.concatenate([drafts.created_at, np.array([echo.at for echo in echoes], dtype=np.int64)])
    ids = _snowflakes(at)
    tweets = []
    for i, author in enumerate(drafts.author.tolist()):
        language = int(network.language[author])
        wording = write_text(drafts, i, language, handles, rng)
        mention, parent = int(drafts.mention[i]), int(drafts.parent[i])
        tweets.append(
            Tweet(
                tweet_id=ids[i],
                author_id=str(network.ids[author]),
                created_at=int(at[i]),
                text=wording.text,
                language=LANGUAGES[language],
                kind=_KINDS[drafts.kind[i]],
                original_id=ids[parent] if parent >= 0 else None,
                mentions=[str(network.ids[mention])] if mention >= 0 else [],
                hashtags=wording.hashtags,
                links=wording.links,
                media=wording.media,
            )
        )
    for i, echo in enumerate(echoes, start=len(tweets)):
        original = tweets[echo.draft]
        tweets.append(
            Tweet(
                tweet_id=ids[i],
                author_id=str(network.ids[echo.author]),
                created_at=echo.at,
                text=original.text,
                language=original.language,
                kind="retweet",
                original_id=original.tweet_id,
                mentions=original.mentions,
                hashtags=original.hashtags,
                links=original.links,
                media=original.media,
            )
        )
    return tweets
