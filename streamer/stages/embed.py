"""`embed`: tweets become vectors in Redis, then score requests, one per audience shard.

Each tweet is embedded once: repeats in the batch and tweets that Redis holds are not computed again; a
retweet takes its original's vector. (Equal texts share the text encoder's work inside the model: authors and
times differ.) Knows nothing of audiences and scores.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from models.events import Profile, ScoreRequest, Tweet
from models.state.authors import increment
from models.state.keys import id_key
from models.state.stores import AUTHOR_FIELDS
from models.state.tweet import MAX_MENTIONS, TweetRecord
from streamer import metrics
from streamer.dead_letters import DeadLetters
from streamer.decoding import Decoder, Reason
from streamer.requests import encode_request, for_users
from streamer.settings import Settings
from streamer.sharding import split
from streamer.stage import Batch, Group, Outputs, Record
from streamer.stages.backend import Backend
from streamer.stages.base import BackedStage
from streamer.tweets_at_hand import TweetsAtHand

#: Records handled in one `process` call, at most and at least: enough to fill a GPU's batches of like length,
#: and few enough for the largest encoder on a CPU.
_MOST: Final = 1_024
_LEAST: Final = 16
#: How long the model may take over one call, judged by the last. Shorter than a claim lasts, and than the
#: watchdog waits for progress: a large BERT on a CPU takes minutes over 1,024 texts.
_CALL_S: Final = 2.0
#: A worker that said it computes a tweet is believed for so long, then another one does: longer than a call
#: takes, and how long the tweets of a worker that died wait.
_CLAIM_S: Final = 5.0
#: Pause between looks for vectors that another worker computes.
_LOOK_S: Final = 0.02
#: Tweets in one score request. A request is the least that a scorer takes on at once.
_REQUEST_TWEETS: Final = 16
#: Requests of tweets published in the same so many milliseconds share a timestamp, from which latency counts.
_SAME_TIME_MS: Final = 100

_TWEETS_FIELD: Final = AUTHOR_FIELDS.index("tweets")
_decoder = Decoder(Tweet, "created_at")


class _Published(NamedTuple):
    """A tweet, and the record that brought it."""

    tweet: Tweet
    batch: Batch
    record: Record

    @property
    def at(self) -> int:
        """When it was published (ms)."""
        return self.record.timestamp


class _Content(NamedTuple):
    """What the model makes of a tweet's text: shared with its retweets."""

    vector: NDArray[np.float16]
    terms: NDArray[np.uint16]


class _Authors(NamedTuple):
    """What the stores know of authors, by id: sums [len(AUTHOR_FIELDS)] of all, and profiles."""

    sums: dict[str, NDArray[np.float64]]
    profiles: dict[str, Profile | None]


class EmbedStage(BackedStage):
    """See the module."""

    name = "embed"
    topics = ("tweets",)
    perishable: Literal[True] = True

    def __init__(self, settings: Settings, backend: Backend, at_hand: TweetsAtHand) -> None:
        """What it embeds, it puts `at_hand`."""
        super().__init__(settings, backend)
        self._at_hand = at_hand
        #: Records of the next call.
        self._size = _LEAST

    @property
    def pace_s(self) -> float:
        """See `Paced`: each call makes one of `score` follow, and two to five requests to Kafka."""
        return self.settings.pace_ms / 1000

    def process(self, batches: Sequence[Batch]) -> Outputs:
        """Embed what is new of the first records, then ask for scores of all those.

        Raises `StageUnavailable`.

        Requests leave also for tweets that Redis knew: whoever had this batch first may have died before
        its requests were durable.
        """
        letters = DeadLetters(self.name)
        first, rest = _first(batches, self._size)
        tweets: dict[int, _Published] = {}
        for batch, record, tweet in letters.decode(first, _decoder):
            problem = self.backend.model.check(tweet)
            if problem is not None:
                letters.add(batch, record, Reason.UNKNOWN_TOKEN, problem)
            else:
                tweets.setdefault(id_key(tweet.tweet_id), _Published(tweet, batch, record))
        for key in self._embed({key: published.tweet for key, published in tweets.items()}):
            _, batch, record = tweets.pop(key)
            letters.add(batch, record, Reason.NOT_FINITE, "the model gave no finite vector")
        return Outputs([*letters.groups, *self._requests(list(tweets.values()))], rest=rest)

    def _embed(self, tweets: dict[int, Tweet]) -> set[int]:
        """Make sure that Redis holds these tweets; returns the keys of those that have no finite vector."""
        authors = list(dict.fromkeys(tweet.author_id for tweet in tweets.values()))
        # Whose profile does not come with every tweet.
        asked = list(dict.fromkeys(tweet.author_id for tweet in tweets.values() if tweet.author is None))
        impossible: set[int] = set()
        looks, give_up = 0, time.monotonic() + _CLAIM_S
        while tweets:
            found = self.backend.stores.intake.look(list(tweets), _CLAIM_S, authors, asked)
            known = _Authors(
                dict(zip(authors, found.sums, strict=True)),
                {name: state.profile() for name, state in zip(asked, found.states, strict=True) if state},
            )
            late = time.monotonic() >= give_up
            missing: dict[int, Tweet] = {}
            ours: dict[int, Tweet] = {}
            for (key, tweet), record, mine in zip(tweets.items(), found.records, found.ours, strict=True):
                if record is None:
                    (ours if mine or late else missing)[key] = tweet
            if not looks:
                new = len(ours) + len(missing)
                metrics.cache_lookups.labels("tweets", "hit").inc(len(tweets) - new)
                metrics.cache_lookups.labels("tweets", "miss").inc(new)
            impossible |= self._store(ours, known)
            tweets = missing
            looks += 1
            if tweets:  # a rebalance is under way, and another worker computes them
                self.backend.wait(_LOOK_S)
        return impossible

    def _store(self, tweets: dict[int, Tweet], authors: _Authors) -> set[int]:
        """Compute and store; returns the keys of tweets that have no finite vector."""
        if not tweets:
            return set()
        originals = {original for tweet in tweets.values() if (original := _original(tweet)) is not None}
        contents = self._stored(originals - tweets.keys())
        # The key of the tweet whose vector each one takes: its own, or what it retweets, where that is known.
        sources: dict[int, int] = {}
        for key, tweet in tweets.items():
            if (original := _original(tweet)) is None:
                sources[key] = key
            elif original in sources:
                sources[key] = sources[original]
            else:
                sources[key] = original if original in contents else key
        computed = {key: tweet for key, tweet in tweets.items() if sources[key] == key}
        contents |= zip(computed, self._contents(tweets, computed, authors), strict=True)
        finite = {key for key in tweets if np.isfinite(contents[sources[key]].vector).all()}
        records = {
            key: TweetRecord(
                tweet.author_id,
                tweet.created_at,
                tuple(tweet.mentions[:MAX_MENTIONS]),
                *contents[sources[key]],
                retweet=tweet.kind == "retweet",
            )
            for key, tweet in tweets.items()
            if key in finite
        }
        fresh = self.backend.stores.intake.put(records)
        self._at_hand.put(
            {key: record for (key, record), new in zip(records.items(), fresh, strict=True) if new}
        )
        metrics.embeddings_computed.inc(len(computed))
        metrics.duplicate_computations.inc(
            sum(not new and key in computed for key, new in zip(records, fresh, strict=True))
        )
        return tweets.keys() - finite

    def _stored(self, keys: set[int]) -> dict[int, _Content]:
        """The contents of those of these tweets that Redis holds."""
        if not keys:
            return {}
        found = self.backend.stores.tweets.get_many(list(keys))
        pairs = zip(keys, found, strict=True)
        return {key: _Content(record.vector, record.terms) for key, record in pairs if record is not None}

    def _contents(
        self, tweets: dict[int, Tweet], computed: dict[int, Tweet], authors: _Authors
    ) -> list[_Content]:
        """Contents of `computed`, given all new `tweets` in their order."""
        if not computed:
            return []
        sums = []
        # An author's earlier tweets of this batch count as if each had come alone: no vector may depend on
        # how the stream was cut into batches.
        for key, tweet in tweets.items():
            if key in computed:
                sums.append(authors.sums[tweet.author_id].copy())
            authors.sums[tweet.author_id][_TWEETS_FIELD] += increment(tweet.created_at // 1000)
        model, new = self.backend.model, list(computed.values())
        profiles = [tweet.author or authors.profiles.get(tweet.author_id) for tweet in new]
        started = time.monotonic()
        vectors = model.embed(new, profiles, np.array(sums))
        pace = len(new) / max(time.monotonic() - started, 1e-3)
        self._size = min(max(int(pace * _CALL_S), _LEAST), _MOST)
        return list(map(_Content, vectors, model.terms(new)))

    def _requests(self, tweets: Sequence[_Published]) -> Iterator[Group]:
        """Score requests: for each shard of the authors' followers, or for the users a tweet names."""
        by_time: dict[int, list[_Published]] = {}
        for published in tweets:
            by_time.setdefault(published.at // _SAME_TIME_MS, []).append(published)
        for together in by_time.values():
            at = min(published.at for published in together)
            values: dict[int, list[bytes]] = {shard: [] for shard in range(self.shards)}
            followed = [
                published.tweet.tweet_id for published in together if published.tweet.audience is None
            ]
            for start in range(0, len(followed), _REQUEST_TWEETS):
                tweet_ids = followed[start : start + _REQUEST_TWEETS]
                for shard in range(self.shards):
                    values[shard] += encode_request(ScoreRequest(tweet_ids=tweet_ids, shard=shard))
            named = [(p.tweet.tweet_id, p.tweet.audience) for p in together if p.tweet.audience]
            for tweet_id, audience in named:
                for shard, users in split(audience, self.shards).items():
                    values[shard] += for_users(
                        ScoreRequest(tweet_ids=[tweet_id], shard=shard), tweet_id, users
                    )
            for shard, requests in values.items():
                if requests:
                    keys = [b"%d" % shard] * len(requests)
                    yield Group("score-requests", keys, requests, shard, at if at >= 0 else None)


def _first(batches: Sequence[Batch], size: int) -> tuple[list[Batch], dict[int, Sequence[Record]]]:
    """So many records, and the others by the place of their batch."""
    first: list[Batch] = []
    rest: dict[int, Sequence[Record]] = {}
    for place, batch in enumerate(batches):
        taken = batch.records[:size]
        size -= len(taken)
        if taken:
            first.append(Batch(batch.topic, batch.partition, taken))
        if len(taken) < len(batch.records):
            rest[place] = batch.records[len(taken) :]
    return first, rest


def _original(tweet: Tweet) -> int | None:
    """The key of the tweet whose vector this one shares, if it is a retweet."""
    return id_key(tweet.original_id) if tweet.kind == "retweet" and tweet.original_id else None
