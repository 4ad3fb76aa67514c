"""`score`: requests become predictions.

A batch is answered in parts of bounded size, whatever it asks for: what does not fit into one `process` call
is handed back as `rest`. An audience too large for one part is cut into requests of its own, which queue
behind the others: one celebrity does not hold up everybody else's followers.
Knows nothing of how pairs are looked up (`streamer.pairs`) or records are written (`streamer.predictions`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

import numpy as np
from msgspec.structs import replace

from models.events import ScoreRequest
from models.state.keys import id_key
from models.state.stores import FOLLOWS
from models.state.tweet import TweetRecord
from streamer import metrics
from streamer.dead_letters import DeadLetters
from streamer.decoding import BadRecord, Decoder, Reason
from streamer.pair_writer import texts
from streamer.pairs import Unit, load_pairs
from streamer.predictions import PredictionEncoder, ScoredTweet
from streamer.requests import REQUEST_USERS, encode_request, for_users
from streamer.stage import Batch, Block, Group, Outputs, Record
from streamer.stages.base import BackedStage
from streamer.user_matrix import MOST_USERS, UserMatrix

#: Records looked at together: their tweets are one round trip, their audiences another.
_WINDOW: Final = 512
#: Pairs scored in one `process` call: about 25 MB of records.
_PART: Final = 4 * MOST_USERS
#: Pause when a batch holds nothing but requests that wait for their tweets: they come back at once.
_PAUSE_S: Final = 0.03

assert REQUEST_USERS <= MOST_USERS <= _PART, "what is cut must fit when it comes back"

_decoder = Decoder(ScoreRequest)


class _Asked(NamedTuple):
    """A request with its tweets: (id, record or None, number of readers)."""

    record: Record
    request: ScoreRequest
    tweets: list[tuple[str, TweetRecord | None, int]]


class _Part:
    """What one `process` call has gathered so far."""

    def __init__(self, partition: int, letters: DeadLetters) -> None:
        self.letters = letters
        self.units: list[Unit] = []
        #: The record that each unit was asked for in.
        self.records: list[Record] = []
        #: How many readers each unit has at most, and all together.
        self.sizes: list[int] = []
        self.pairs = 0
        self.waiting = False
        self._partition = partition
        self._sent: dict[tuple[tuple[str, bytes], ...], tuple[list[bytes], list[Record]]] = {}

    def send_back(self, record: Record, values: Iterable[bytes]) -> None:
        """Queue requests behind the others of this partition, in the place of `record`."""
        sent, records = self._sent.setdefault(tuple(record.headers), ([], []))
        for value in values:
            sent.append(value)
            records.append(record)

    @property
    def requests(self) -> Iterator[Group]:
        """What was sent back. The oldest record's timestamp stays: latency and deadlines count from it."""
        for headers, (values, records) in self._sent.items():
            timestamps = [record.timestamp for record in records if record.timestamp >= 0]
            keys = [record.key for record in records]
            oldest = min(timestamps, default=None)
            yield Group("score-requests", keys, values, self._partition, oldest, headers)


class ScoreStage(BackedStage):
    """See the module."""

    name = "score"
    topics = ("score-requests",)
    perishable: Literal[True] = True

    def open(self) -> None:
        """Load the model and make room for users. Raises `StreamerError`."""
        super().open()
        backend, model = self.backend, self.backend.model
        self._encoder = PredictionEncoder(self.settings.predictions, model.heads, model.fingerprint)
        self._matrix = UserMatrix(
            model, backend.stores.vectors, backend.notices, self._encoder.user_part, self.shards
        )

    def process(self, batch: Batch) -> Outputs:
        """Score as many of the records as make one part. Raises `StageUnavailable`."""
        self._matrix.refresh()
        part = _Part(batch.partition, DeadLetters(self.name, batch))
        done = 0
        for asked in self._look_up(batch.records[:_WINDOW]):
            pairs = 0 if isinstance(asked, BadRecord) else sum(size for _, _, size in asked.tweets)
            if part.pairs and part.pairs + pairs > _PART:
                break
            if isinstance(asked, BadRecord):
                part.letters.add(batch.records[done], asked.reason, asked.error)
            else:
                self._take_on(asked, part)
            done += 1
        groups = list(self._scored(part))
        if part.waiting and not part.units:
            self.backend.wait(_PAUSE_S)
        return Outputs(
            [*part.letters.groups, *part.requests, *groups],
            origins=[record.timestamp for record in part.records if record.timestamp >= 0],
            rest=batch.records[done:],
        )

    def _look_up(self, records: Sequence[Record]) -> list[_Asked | BadRecord]:
        """Decode, and find the tweets and how many readers each has. In the order of the records."""
        found: list[_Asked | BadRecord] = []
        for record in records:
            try:
                request = _decoder(record.value)
                if request.shard is not None and request.shard >= self.shards:
                    found.append(BadRecord(Reason.BAD_VALUE, f"`shard` is not below {self.shards}"))
                    continue
            except BadRecord as bad:
                found.append(bad)
            else:
                found.append(_Asked(record, request, []))
        stores = self.backend.stores
        ids = list(dict.fromkeys(id_ for asked in _good(found) for id_ in asked.request.tweet_ids))
        tweets = dict(zip(ids, stores.tweets.get_many(list(map(id_key, ids))), strict=True))
        hits = sum(tweet is not None for tweet in tweets.values())
        metrics.cache_lookups.labels("score_tweets", "hit").inc(hits)
        metrics.cache_lookups.labels("score_tweets", "miss").inc(len(ids) - hits)
        audiences = list(
            dict.fromkeys(
                (tweet.author_id, asked.request.shard)
                for asked in _good(found)
                for id_ in asked.request.tweet_ids
                if (tweet := tweets[id_]) is not None and asked.request.shard is not None
            )
        )
        sizes = dict(zip(audiences, stores.audiences.sizes(audiences).tolist(), strict=True))
        for asked in _good(found):
            shard, named = asked.request.shard, len(asked.request.user_ids or ())
            for id_ in dict.fromkeys(asked.request.tweet_ids):
                tweet = tweets[id_]
                size = 0 if tweet is None else named if shard is None else sizes[tweet.author_id, shard]
                asked.tweets.append((id_, tweet, size))
        return found

    def _take_on(self, asked: _Asked, part: _Part) -> None:
        """Make units of a request; what cannot be scored now is sent back, or is a dead letter."""
        record, request, tweets = asked
        users = list(dict.fromkeys(request.user_ids or ()))
        unknown = [id_ for id_, tweet, _ in tweets if tweet is None]
        later: list[str] = []
        for id_, tweet, size in tweets:
            if tweet is None or not size:
                continue
            if size > MOST_USERS:
                part.send_back(record, for_users(request, id_, users or self._followers(tweet, request)))
            elif part.pairs and part.pairs + size > _PART:
                later.append(id_)
            else:
                now = tweet.created_at if request.at is None else request.at
                part.units.append(Unit(id_, tweet, now // 1000, request.shard, users))
                part.records.append(record)
                part.sizes.append(size)
                part.pairs += size
        if later:
            part.send_back(record, [encode_request(replace(request, tweet_ids=later))])
        if unknown:
            self._wait_for(unknown, record, request, part)

    def _followers(self, tweet: TweetRecord, request: ScoreRequest) -> list[str]:
        assert request.shard is not None
        return [
            user
            for users, bits in self.backend.stores.audiences.scan(tweet.author_id, request.shard)
            for user, bit in zip(users, bits.tolist(), strict=True)
            if bit & FOLLOWS and user != tweet.author_id
        ]

    def _wait_for(self, unknown: list[str], record: Record, request: ScoreRequest, part: _Part) -> None:
        """The request goes round until its deadline: the topic is the waiting room, nothing piles up here."""
        now = int(time.time() * 1000)
        deadline = request.deadline
        if deadline is None:
            published = record.timestamp if record.timestamp >= 0 else now
            deadline = published + int(self.settings.request_wait_s * 1000)
        if now < deadline:
            part.waiting = True
            part.send_back(record, [encode_request(replace(request, tweet_ids=unknown, deadline=deadline))])
        else:
            named = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
            part.letters.add(record, Reason.UNKNOWN_TWEET, f"no vector by the deadline: {named}")

    def _scored(self, part: _Part) -> Iterator[Group | Block]:
        """The predictions of the part's units, in chunks of bounded size."""
        chunk: list[int] = []
        readers = 0
        for i, size in enumerate(part.sizes):
            if chunk and readers + size > MOST_USERS:
                yield from self._score(chunk, part)
                chunk, readers = [], 0
            chunk.append(i)
            readers += size
        if chunk:
            yield from self._score(chunk, part)

    def _score(self, chunk: Sequence[int], part: _Part) -> Iterator[Group | Block]:
        units, matrix = [part.units[i] for i in chunk], self._matrix
        pairs = load_pairs(units, self.backend.stores, matrix, self.shards)
        vectors = np.stack([unit.tweet.vector for unit in units])
        terms = np.stack([unit.tweet.terms for unit in units])
        probabilities = self.backend.model.score(
            vectors, terms, pairs.unit, matrix.rows, pairs.slots, pairs.features
        )
        finite = np.isfinite(probabilities).all(axis=1)
        if not finite.all():
            for place in np.unique(pairs.unit[~finite]).tolist():
                error = f"the model gave no finite probability for tweet {units[place].tweet_id}"
                part.letters.add(part.records[chunk[place]], Reason.NOT_FINITE, error)
        tweets = [ScoredTweet(unit.tweet_id, unit.tweet.author_id, unit.tweet.created_at) for unit in units]
        shards = matrix.shards[pairs.slots]
        scored_at = int(time.time() * 1000)
        for shard in np.unique(shards).tolist():
            here = np.flatnonzero((shards == shard) & finite)
            here = here[self._encoder.selected(pairs.unit[here], probabilities[here])]
            slots, unit, chances = pairs.slots[here], pairs.unit[here], probabilities[here]
            if self.settings.predictions.format == "pair":
                for body, count in self._encoder.pairs(
                    tweets,
                    unit,
                    chances,
                    texts(matrix.keys[slots].tolist()),
                    texts(matrix.parts[slots].tolist()),
                    np.arange(len(slots)),
                    scored_at,
                    self.settings.kafka.max_send_batch_bytes,
                ):
                    yield Block("predictions", shard, body, count, scored_at)
            else:
                ids, cold = matrix.user_ids[slots], matrix.cold[slots]
                columns = list(self._encoder.columns(tweets, unit, chances, ids, cold, scored_at))
                if columns:
                    keys, values = zip(*columns, strict=True)
                    yield Group("predictions", keys, values, shard, scored_at)


def _good(found: Iterable[_Asked | BadRecord]) -> Iterator[_Asked]:
    return (asked for asked in found if isinstance(asked, _Asked))
