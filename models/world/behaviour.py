"""Who is shown what, and what they do: the known probabilities of a simulated world.

The log-odds of an action are a sum over things that can be observed or inferred: the reader's interest in
the tweet's topics, how busy the reader is, how good the author is, how often the reader has lately engaged
with the author, follow-backs, mentions, manner, media, links, kind and language. Knows nothing of words,
files or metrics.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events import HEADS
from models.world.config import DAY_MS, WorldConfig
from models.world.grammar import TOPIC_WEIGHTS, Drafts
from models.world.network import Network

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

#: Share of exposures that end in each action, about (order of HEADS).
BASE_RATES = (0.04, 0.08, 0.015, 0.01)
#: Log-odds by what they are for; columns in the order of HEADS: retweet, like, reply, quote.
WEIGHTS: dict[str, tuple[float, float, float, float]] = {
    "interest": (3.4, 3.0, 2.4, 3.2),
    "activity": (1.0, 0.9, 0.8, 1.0),
    "quality": (1.0, 1.0, 0.5, 0.9),
    "closeness": (1.5, 1.2, 1.8, 1.4),
    "follows_back": (0.4, 0.3, 1.0, 0.3),
    "mentioned": (1.5, 1.6, 3.0, 1.2),
    "media": (0.2, 0.6, 0.0, 0.1),
    "link": (0.4, -0.1, -0.2, 0.3),
    "question": (-0.4, -0.1, 1.4, 0.1),
    "call": (0.9, 0.1, -0.3, 0.3),
    "is_reply": (-0.8, -0.3, 0.5, -0.6),
    "is_quote": (0.2, 0.1, 0.0, -0.3),
    "is_retweet": (-0.3, -0.2, -0.5, -0.3),
    "foreign": (-1.3, -1.0, -1.6, -1.4),
}
#: Half-life of a past engagement in the closeness of reader and author.
_CLOSENESS_HALF_LIFE_MS = 10 * DAY_MS
#: How often someone who did nothing with a tweet hides it, where it does not interest them at all.
_HIDE = 0.008
#: Median delay of an engagement and its log-normal spread.
_DELAY_MS, _DELAY_SPREAD = 12 * 60_000, 1.2
#: Tweets between two reports of progress.
_REPORT_EVERY = 200

Progress = Callable[[int, int], None]


class Echo(NamedTuple):
    """An author's retweet, published as a tweet of its own."""

    draft: int
    author: int
    at: int


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What happened. Tweets are numbered drafts first, then echoes; exposures [X] are in time order.

    `probability` and `acted` are [X, 4] in the order of HEADS.
    """

    echoes: list[Echo]
    user: NDArray[np.int32]
    tweet: NDArray[np.int32]
    shown_at: Ints
    probability: Floats
    acted: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    #: When each action happened, [X, 4] in ms (meaningless where it did not), and when the tweet was hidden.
    acted_at: Ints


def behave(
    config: WorldConfig,
    network: Network,
    drafts: Drafts,
    rng: np.random.Generator,
    progress: Progress | None = None,
) -> Behaviour:
    """Show every tweet to its readers in time order and draw what they do.

    A tweet is shown when it is published, to each follower of its author who happens to be there, and to a
    mentioned follower in any case. `progress` gets (drafts done, drafts in all).
    """
    reader = _Reader(config, network, drafts)
    total = len(drafts.author)
    echoes: list[Echo] = []
    waiting: list[tuple[int, int, int]] = []  # (time, draft, author) of retweets to publish
    shards = []

    def publish_echoes(until: int) -> None:
        while waiting and waiting[0][0] <= until:
            at, draft, author = heapq.heappop(waiting)
            echoes.append(Echo(draft, author, at))
            shards.append(reader.show(draft, author, at, total + len(echoes) - 1, rng))

    for i, (author, at) in enumerate(zip(drafts.author.tolist(), drafts.created_at.tolist(), strict=True)):
        publish_echoes(at)
        shards.append(reader.show(i, author, at, i, rng))
        for when, who in reader.echoes(shards[-1], rng, config):
            heapq.heappush(waiting, (when, i, who))
        if progress is not None and ((i + 1) % _REPORT_EVERY == 0 or i + 1 == total):
            progress(i + 1, total)
    publish_echoes(config.end_ms)
    return Behaviour(echoes, *(np.concatenate(columns) for columns in zip(*shards, strict=True)))


class _Shard(NamedTuple):
    """Exposures of one tweet."""

    user: NDArray[np.int32]
    tweet: NDArray[np.int32]
    shown_at: Ints
    probability: Floats
    acted: NDArray[np.bool_]
    hidden: NDArray[np.bool_]
    acted_at: Ints


class _Reader:
    """The followers' state of mind: how close each is to each author, from what has happened so far."""

    def __init__(self, config: WorldConfig, network: Network, drafts: Drafts) -> None:
        self._network = network
        self._drafts = drafts
        self._authors = len(network.quality)
        self._close = np.zeros(len(network.author))
        self._close_at = np.zeros(len(network.author), dtype=np.int64)
        self._pending: list[tuple[int, int]] = []  # (time, edge) of engagements yet to come
        #: [E, 4], the part of the log-odds that neither tweet nor time changes.
        self._fixed = np.outer(network.activity[network.follower], WEIGHTS["activity"]) + np.outer(
            network.quality[network.author], WEIGHTS["quality"]
        )
        self._tweet = self._of_tweets()
        self._intercept = self._calibrate(config)

    def _of_tweets(self) -> NDArray[np.float64]:
        """[T, 4], the part of the log-odds that only the tweet decides."""
        drafts = self._drafts
        return (
            np.outer(drafts.media, WEIGHTS["media"])
            + np.outer(drafts.link, WEIGHTS["link"])
            + np.outer(drafts.manner == 1, WEIGHTS["question"])
            + np.outer(drafts.manner == 2, WEIGHTS["call"])
            + np.outer(drafts.kind == 1, WEIGHTS["is_reply"])
            + np.outer(drafts.kind == 2, WEIGHTS["is_quote"])
        )

    def _interest(self, draft: int, users: Ints) -> Floats:
        first, second = self._drafts.topic[draft].tolist()
        interests = self._network.interests
        liking: Floats = (
            TOPIC_WEIGHTS[0] * interests[users, first] + TOPIC_WEIGHTS[1] * interests[users, second]
        )
        return liking

    def _calibrate(self, config: WorldConfig) -> NDArray[np.float64]:
        """Intercepts [4] that give BASE_RATES: by bisection on a sample of exposures, closeness guessed."""
        rng = np.random.default_rng(config.seed)
        scores = []
        for draft in rng.integers(0, len(self._drafts.author), 400).tolist():
            author = self._drafts.author[draft]
            low, high = self._network.edges_of[author : author + 2].tolist()
            edges = np.arange(low, high)[:2_000]
            liking = self._interest(draft, self._network.follower[edges])
            scores.append(self._fixed[edges] + np.outer(liking, WEIGHTS["interest"]) + self._tweet[draft])
        sample = np.concatenate(scores) + 0.5 * np.array(WEIGHTS["closeness"])
        low_guess, high_guess = np.full(4, -15.0), np.full(4, 5.0)
        for _ in range(40):
            middle = (low_guess + high_guess) / 2
            above = _sigmoid(sample + middle).mean(axis=0) > BASE_RATES
            low_guess, high_guess = np.where(above, low_guess, middle), np.where(above, middle, high_guess)
        intercept: NDArray[np.float64] = (low_guess + high_guess) / 2
        return intercept

    def show(self, draft: int, author: int, at: int, number: int, rng: np.random.Generator) -> _Shard:
        """Show one tweet, number `number`, at time `at` to the followers of `author`."""
        network, drafts = self._network, self._drafts
        while self._pending and self._pending[0][0] <= at:
            self._engaged(*heapq.heappop(self._pending))
        low, high = network.edges_of[author : author + 2].tolist()
        users = network.follower[low:high]
        mentioned = users == drafts.mention[draft]
        there = (rng.random(high - low, dtype=np.float32) < network.presence[users]) | mentioned
        there &= users != drafts.author[draft]  # nobody is shown a retweet of his or her own tweet
        there &= (network.start[low:high] <= at) & (at < network.end[low:high])
        edges = low + np.flatnonzero(there)
        users, mentioned = network.follower[edges], mentioned[there]

        closeness = 1 - np.exp(
            -self._close[edges] * np.exp2((self._close_at[edges] - at) / _CLOSENESS_HALF_LIFE_MS)
        )
        back = (network.back_start[edges] <= at) & (at < network.back_end[edges])
        liking = self._interest(draft, users)
        foreign = network.language[users] != network.language[drafts.author[draft]]
        score = self._fixed[edges] + (self._tweet[draft] + self._intercept)
        if number != draft:
            score += np.array(WEIGHTS["is_retweet"])
        for name, values in (
            ("interest", liking),
            ("closeness", closeness),
            ("follows_back", back),
            ("mentioned", mentioned),
            ("foreign", foreign),
        ):
            score += np.outer(values, WEIGHTS[name])
        probability = _sigmoid(score).astype(np.float32)

        n = len(edges)
        acted = rng.random((n, len(HEADS)), dtype=np.float32) < probability
        idle = ~acted.any(axis=1)
        hidden = idle & (rng.random(n, dtype=np.float32) < _HIDE * (1 - liking))
        delay = _DELAY_MS * np.exp(_DELAY_SPREAD * rng.standard_normal((n, len(HEADS)), dtype=np.float32))
        acted_at = at + 1_000 + delay.astype(np.int64)
        for row, head in np.argwhere(acted).tolist():
            heapq.heappush(self._pending, (int(acted_at[row, head]), int(edges[row])))
        return _Shard(
            users.astype(np.int32),
            np.full(n, number, dtype=np.int32),
            np.full(n, at),
            probability,
            acted,
            hidden,
            acted_at,
        )

    def _engaged(self, at: int, edge: int) -> None:
        self._close[edge] = 1 + self._close[edge] * 2.0 ** (
            (self._close_at[edge] - at) / _CLOSENESS_HALF_LIFE_MS
        )
        self._close_at[edge] = at

    def echoes(self, shard: _Shard, rng: np.random.Generator, config: WorldConfig) -> list[tuple[int, int]]:
        """(time, author) of those of a tweet's retweets that are published to the retweeter's followers."""
        rows = np.flatnonzero(shard.acted[:, 0] & (shard.user < self._authors))
        chosen = rows[rng.random(len(rows)) < config.echo]
        times, who = shard.acted_at[chosen, 0].tolist(), shard.user[chosen].tolist()
        return [(at, author) for at, author in zip(times, who, strict=True) if at < config.end_ms]


def _sigmoid(score: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-score))
