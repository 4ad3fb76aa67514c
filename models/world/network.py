"""The people of a simulated world and who follows whom.

Homophily: most follows go to authors of one of the follower's own interests, in his or her language, in
proportion to popularity, which is heavy-tailed. Knows nothing of tweets or of behaviour.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.world.config import WorldConfig
from models.world.vocabulary import LANGUAGES, TOPICS

#: Part of the follows that go to an author for a shared interest rather than for fame.
_HOMOPHILY = 0.8
#: Part of the follows that stay within the follower's language.
_SAME_LANGUAGE = 0.92
#: Probability that an author follows back a follower who is an author, too.
_RECIPROCITY = 0.3
#: Parts of the edges that begin, and that end, while the world runs.
_LATE, _ENDING = 0.08, 0.03
#: Shares of the languages.
_LANGUAGE_SHARES = (0.6, 0.25, 0.15)
#: A time before everything, and one after everything.
ALWAYS, NEVER = 0, np.iinfo(np.int64).max

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Network:
    """Users [U], of whom the first A are authors, and edges [E] sorted by (author, follower).

    `edges_of[a]:edges_of[a + 1]` are the edges of author a. An edge holds from `start` to before `end`; its
    author follows the follower back from `back_start` to before `back_end`. Times in ms.
    """

    ids: Ints
    #: [U, topics], the strength of each interest from 0 to 1.
    interests: Floats
    language: Ints
    #: How often a user is there to be shown a tweet, from 0 to 1.
    presence: Floats
    #: How much a user engages at all, in log-odds.
    activity: Floats
    created_at: Ints
    verified: NDArray[np.bool_]
    #: [A], log-odds that readers add for this author's tweets.
    quality: Floats
    #: [A], tweets per author are drawn in proportion to it.
    productivity: Floats
    edges_of: Ints
    author: Ints
    follower: Ints
    start: Ints
    end: Ints
    back_start: Ints
    back_end: Ints


def make_network(config: WorldConfig, rng: np.random.Generator) -> Network:
    """Draw people and follows; users are numbered with authors first."""
    users, authors = config.users, config.author_count
    interests = _interests(users, rng)
    language = rng.choice(len(LANGUAGES), size=users, p=_LANGUAGE_SHARES)
    popularity = 0.2 + rng.pareto(1.3, authors)
    follower, author = _follows(config, interests, language, popularity, rng)

    order = np.lexsort((follower, author))
    follower, author = follower[order], author[order]
    edges = len(author)
    span = config.end_ms - config.start_ms
    late, ending = rng.random(edges) < _LATE, rng.random(edges) < _ENDING
    start = np.where(late, config.start_ms + (rng.random(edges) * span).astype(np.int64), ALWAYS)
    end = np.where(ending, config.start_ms + (rng.random(edges) * span).astype(np.int64), NEVER)
    end = np.where(end <= start, NEVER, end)
    back = _reverse(author, follower, users)
    found = back >= 0

    following = np.bincount(follower, minlength=users)
    fame = _standard(np.log(popularity))
    return Network(
        ids=_ids(users, rng),
        interests=interests,
        language=language,
        presence=rng.beta(2 * config.shown, 2 * (1 - config.shown), users).clip(0.05, 1).astype(np.float32),
        # Half of it can be read off the profile (who follows many is busier), half only off the history.
        activity=(0.35 * _standard(np.log1p(following)) + 0.3 * rng.standard_normal(users)).astype(
            np.float32
        ),
        created_at=config.start_ms - (rng.random(users) * 10 * 365 * 86_400_000).astype(np.int64),
        verified=np.pad(fame > 1.5, (0, users - authors)),
        quality=(0.2 * fame + 0.35 * rng.standard_normal(authors)).astype(np.float32),
        productivity=rng.lognormal(0.0, 0.8, authors).astype(np.float32),
        edges_of=np.searchsorted(author, np.arange(authors + 1)),
        author=author,
        follower=follower,
        start=start,
        end=end,
        back_start=np.where(found, start[back], NEVER),
        back_end=np.where(found, end[back], NEVER),
    )


def _interests(users: int, rng: np.random.Generator) -> Floats:
    """One to three interests each, the first the strongest; a trace of all others."""
    topics = len(TOPICS)
    rank = rng.random((users, topics)).argsort(axis=1).argsort(axis=1)  # a random order of the topics
    count = rng.choice([1, 2, 3], size=users, p=[0.3, 0.45, 0.25])
    strength = np.array([1.0, 0.9, 0.8])[np.minimum(rank, 2)]
    return np.where(rank < count[:, None], strength, 0.03).astype(np.float32)


def _follows(
    config: WorldConfig,
    interests: Floats,
    language: Ints,
    popularity: NDArray[np.float64],
    rng: np.random.Generator,
) -> tuple[Ints, Ints]:
    """Return (follower, author) of distinct edges, some of them follow-backs."""
    users, authors, topics = config.users, len(popularity), len(TOPICS)
    # One row of weights per (reason, language): a topic for a reason, or fame alone (the last).
    reason_weights = np.concatenate([interests[:authors].T.astype(np.float64), np.ones((1, authors))])
    speaks = np.array([language[:authors] == spoken for spoken in range(len(LANGUAGES))], dtype=np.float64)
    weights = reason_weights[:, None, :] * speaks[None] * popularity + 1e-12
    cumulative = weights.cumsum(axis=2)
    cumulative /= cumulative[:, :, -1:]
    rows = cumulative.reshape(-1, authors)
    # Row r's distribution lies in [r, r + 1), so one binary search draws for all edges at once.
    ladder = (rows + np.arange(len(rows))[:, None]).ravel()

    spread = 0.7
    wanted = rng.lognormal(np.log(config.follows) - spread**2 / 2, spread, users)
    follower = np.repeat(np.arange(users), np.clip(np.rint(wanted).astype(np.int64), 1, authors))
    shares = (interests / interests.sum(axis=1, keepdims=True)).astype(np.float64).cumsum(axis=1)
    reason = (rng.random((len(follower), 1)) > shares[follower]).sum(axis=1).clip(0, topics - 1)
    reason = np.where(rng.random(len(follower)) < _HOMOPHILY, reason, topics)
    own = rng.random(len(follower)) < _SAME_LANGUAGE
    spoken = np.where(own, language[follower], rng.choice(len(LANGUAGES), size=len(follower)))
    row = reason * len(LANGUAGES) + spoken
    author = np.searchsorted(ladder, row + rng.random(len(follower)), side="right") - row * authors
    author = author.clip(0, authors - 1)

    back = (follower < authors) & (rng.random(len(follower)) < _RECIPROCITY)
    pairs = np.concatenate([author * users + follower, follower[back] * users + author[back]])
    pairs = np.unique(pairs)
    author, follower = pairs // users, pairs % users
    others = author != follower
    return follower[others], author[others]


def _reverse(author: Ints, follower: Ints, users: int) -> Ints:
    """Index of the edge that points back, or -1."""
    keys = author * users + follower
    wanted = follower * users + author
    at = np.searchsorted(keys, wanted).clip(0, len(keys) - 1)
    return np.where(keys[at] == wanted, at, -1)


def _ids(users: int, rng: np.random.Generator) -> Ints:
    """Distinct ids of 8 to 10 digits in no particular order."""
    ids: Ints = rng.permutation(10_000_000 + rng.integers(1, 9_000, users).cumsum())
    return ids


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    spread: NDArray[np.float64] = (values - values.mean()) / (values.std() or 1.0)
    return spread
