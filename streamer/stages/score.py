"""`score`: requests become predictions.

Batches are answered in parts of bounded size, whatever they ask for: what does not fit into one `process`
call is handed back as `rest`, and takes turns with what comes meanwhile. What is asked for very many readers
is read piece by piece, one a call: a celebrity does not hold up everybody else's followers.
Knows nothing of how pairs are looked up (`streamer.pairs`) or records are written (`streamer.predictions`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Final, Literal

import numpy as np
from msgspec.structs import replace as changed

from models.events import ScoreRequest
from models.state.keys import id_key
from models.state.tweet import TweetRecord
from streamer import metrics
from streamer.audiences import Audiences, followers
from streamer.dead_letters import DeadLetters
from streamer.decoding import BadRecord, Decoder, Reason
from streamer.pair_writer import warm_up
from streamer.pairs import Unit, load_pairs
from streamer.predictions import PredictionEncoder, ScoredTweet
from streamer.requests import can_go_back, encode_request
from streamer.settings import Settings
from streamer.stage import Batch, Block, Group, Headers, Outputs, Record
from streamer.stages.backend import Backend
from streamer.stages.base import BackedStage
from streamer.tweets_at_hand import TweetsAtHand
from streamer.user_matrix import MOST_USERS, UserMatrix

#: Tweets looked up together: one round trip, and another for their audiences.
_WINDOW: Final = 256
#: Pairs scored in one `process` call: about 5 MB of records, and 30 ms.
_PART: Final = MOST_USERS
#: A tweet of more readers than this is scored piece by piece, one in each call, of about 12 ms: that is what
#: a tweet of 100,000 followers holds up others by.
_LARGE: Final = 4_096
_PIECE: Final = 2_048
#: So long after the last tweet of few readers, one of many has all the time.
_ALONE_S: Final = 1.0
#: Pause when a batch holds nothing but requests that wait for their tweets: they come back at once.
_PAUSE_S: Final = 0.03

_decoder = Decoder(ScoreRequest)


class _Asked:
    """A record of a batch, looked up, with the units that are left to score. Stands for it in `rest`."""

    __slots__ = ("batch", "large", "record", "units")

    def __init__(self, batch: Batch, record: Record, units: Iterator[Unit], *, large: bool) -> None:
        self.batch, self.record, self.units, self.large = batch, record, units, large

    @property
    def offset(self) -> int:
        """See `Record`."""
        return self.record.offset

    @property
    def timestamp(self) -> int:
        """See `Record`."""
        return self.record.timestamp

    @property
    def key(self) -> bytes | None:
        """See `Record`."""
        return self.record.key

    @property
    def value(self) -> bytes | None:
        """See `Record`."""
        return self.record.value

    @property
    def headers(self) -> Headers:
        """See `Record`."""
        return self.record.headers


class _Part:
    """What one `process` call has gathered so far."""

    def __init__(self, letters: DeadLetters) -> None:
        self.letters = letters
        self.units: list[Unit] = []
        #: What each unit was asked for in.
        self.asked: list[_Asked] = []
        self.pairs = 0
        self.waiting = False
        self._sent: dict[tuple[int, Headers], tuple[list[bytes], list[Record]]] = {}

    def take(self, asked: _Asked) -> bool:
        """Units of a record, as far as there is room; whether any are left over."""
        for unit in asked.units:
            if self.pairs and self.pairs + unit.size > _PART:
                asked.units = chain([unit], asked.units)
                return True
            self.add(unit, asked)
        return False

    def add(self, unit: Unit, asked: _Asked) -> None:
        """Score this unit."""
        self.units.append(unit)
        self.asked.append(asked)
        self.pairs += unit.size

    def send_back(self, batch: Batch, record: Record, value: bytes) -> None:
        """Queue a request behind the others of its partition, in the place of `record`."""
        sent, records = self._sent.setdefault((batch.partition, tuple(record.headers)), ([], []))
        sent.append(value)
        records.append(record)

    @property
    def requests(self) -> Iterator[Group]:
        """What was sent back. The oldest record's timestamp stays: latency and deadlines count from it."""
        for (partition, headers), (values, records) in self._sent.items():
            timestamps = [record.timestamp for record in records if record.timestamp >= 0]
            keys = [record.key for record in records]
            oldest = min(timestamps, default=None)
            yield Group("score-requests", keys, values, partition, oldest, headers)


class ScoreStage(BackedStage):
    """See the module."""

    name = "score"
    topics = ("score-requests",)
    perishable: Literal[True] = True

    def __init__(self, settings: Settings, backend: Backend, at_hand: TweetsAtHand) -> None:
        """Looks for tweets `at_hand` first."""
        super().__init__(settings, backend)
        self._at_hand = at_hand
        #: When tweets of few readers were scored last.
        self._ordinary_at = -math.inf

    def open(self) -> None:
        """Load the model and make room for users. Raises `StreamerError`."""
        super().open()
        backend, model, memory = self.backend, self.backend.model, self.settings.cache_mb * 2**20
        self._encoder = PredictionEncoder(self.settings.predictions, model.heads, model.fingerprint)
        self._matrix = UserMatrix(
            model, backend.stores.vectors, self._encoder.user_part, self.shards, memory * 3 // 4
        )
        self._audiences = Audiences(backend.stores, self._matrix, self.shards, memory // 4)
        warm_up()

    def process(self, batches: Sequence[Batch]) -> Outputs:
        """Score as many of the records as make one part. Raises `StageUnavailable`."""
        started = time.monotonic()
        changes = self.backend.notices.poll()
        self._matrix.refresh(None if changes is None else changes.users)
        self._audiences.refresh(changes)
        part = _Part(DeadLetters(self.name))
        rest: dict[int, list[Record]] = {}
        large: list[tuple[int, _Asked]] = []
        given = [(place, record) for place, batch in enumerate(batches) for record in batch.records]
        done = 0
        while done < len(given) and part.pairs < _PART:
            found, looked_at = self._look_up(given[done:], batches, part)
            done += looked_at
            for place, asked in found:
                if asked.large:
                    large.append((place, asked))
                elif part.take(asked):
                    rest.setdefault(place, []).append(asked)
        for place, record in given[done:]:
            rest.setdefault(place, []).append(record)
        if part.pairs:
            self._ordinary_at = started
        if large:
            # One piece of one record; its next comes after those of the others.
            place, first = large.pop(0)
            piece = next((unit for unit in first.units if unit.size), None)
            if piece is not None:
                part.add(piece, first)
                large.append((place, first))
        for place, asked in large:
            rest.setdefault(place, []).append(asked)
        groups = list(self._scored(part))
        if part.waiting and not part.units:
            self.backend.wait(_PAUSE_S)
        return Outputs(
            [*part.letters.groups, *part.requests, *groups],
            origins=[asked.timestamp for asked in part.asked if asked.timestamp >= 0],
            rest=rest,
            later=self._later(rest, started),
        )

    def _later(self, rest: Mapping[int, Sequence[Record]], started: float) -> dict[int, float]:
        """Large audiences have half of the time where there are others, and all of it where there are none.

        With all of it, ordinary tweets' p99 beside one of 100,000 followers was 426 ms; with half, 264
        (medians of three pairs of runs on 2 cores).
        """
        now = time.monotonic()
        if now - self._ordinary_at > _ALONE_S:
            return {}
        return {
            place: now - started
            for place, records in rest.items()
            if all(isinstance(record, _Asked) and record.large for record in records)
        }

    def _look_up(
        self, records: Sequence[tuple[int, Record]], batches: Sequence[Batch], part: _Part
    ) -> tuple[list[tuple[int, _Asked]], int]:
        """Decode some records, and find their tweets and how many readers each has.

        Those that can be scored, in order and with the place of their batch, and how many were looked at.
        What is wrong is a dead letter, and what has to wait is sent back.
        """
        found: list[tuple[int, _Asked]] = []
        requests: list[tuple[int, Record, ScoreRequest]] = []
        ids: dict[str, None] = {}
        looked_at = 0
        for place, record in records:
            if len(ids) >= _WINDOW:
                break
            looked_at += 1
            if isinstance(record, _Asked):
                found.append((place, record))
                continue
            try:
                request = _decoder(record.value)
            except BadRecord as bad:
                part.letters.add(batches[place], record, bad.reason, bad.error)
                continue
            if request.shard is not None and request.shard >= self.shards:
                error = f"`shard` is not below {self.shards}"
                part.letters.add(batches[place], record, Reason.BAD_VALUE, error)
            else:
                requests.append((place, record, request))
                ids |= dict.fromkeys(request.tweet_ids)
        tweets = self._records(ids)
        sizes = self._audiences.sizes(
            [
                (tweet.author_id, request.shard)
                for _, _, request in requests
                for id_ in request.tweet_ids
                if request.shard is not None and (tweet := tweets.get(id_)) is not None
            ]
        )
        for place, record, request in requests:
            units: list[Unit] = []
            users = list(dict.fromkeys(request.user_ids or ()))
            for id_ in dict.fromkeys(request.tweet_ids):
                if (tweet := tweets.get(id_)) is not None:
                    size = len(users) if request.shard is None else sizes[tweet.author_id, request.shard]
                    now = (tweet.created_at if request.at is None else request.at) // 1000
                    units.append(Unit(id_, tweet, now, size, request.shard, users))
            large = any(unit.size > _LARGE for unit in units)
            left = (
                chain.from_iterable(map(self._pieces, units))
                if large
                else (unit for unit in units if unit.size)
            )
            found.append((place, _Asked(batches[place], record, left, large=large)))
            if unknown := [id_ for id_ in request.tweet_ids if id_ not in tweets]:
                self._wait_for(unknown, batches[place], record, request, part)
        return found, looked_at

    def _records(self, ids: Iterable[str]) -> dict[str, TweetRecord]:
        """Those of the tweets that are known."""
        keys = {id_: id_key(id_) for id_ in ids}
        known = self._at_hand.get_many(keys.values())
        missing = [key for key in keys.values() if key not in known]
        if missing:
            found = zip(missing, self.backend.stores.tweets.get_many(missing), strict=True)
            fresh = {key: record for key, record in found if record is not None}
            self._at_hand.put(fresh)
            known |= fresh
        metrics.cache_lookups.labels("score_tweets", "hit").inc(len(known))
        metrics.cache_lookups.labels("score_tweets", "miss").inc(len(keys) - len(known))
        return {id_: known[key] for id_, key in keys.items() if key in known}

    def _pieces(self, unit: Unit) -> Iterator[Unit]:
        """A unit of many readers as units of few, read from the store when their turn comes."""
        if unit.size <= _LARGE:
            yield unit
        elif unit.shard is None:
            for start in range(0, unit.size, _PIECE):
                users = unit.users[start : start + _PIECE]
                yield replace(unit, size=len(users), users=users)
        else:
            author = unit.tweet.author_id
            for edges in self.backend.stores.audiences.scan(author, unit.shard):
                users, bits = followers(author, *edges)
                yield replace(unit, size=len(users), users=users, bits=bits)

    def _wait_for(
        self, unknown: list[str], batch: Batch, record: Record, request: ScoreRequest, part: _Part
    ) -> None:
        """The request goes round until its deadline: the topic is the waiting room, nothing piles up here."""
        now = int(time.time() * 1000)
        deadline = request.deadline
        if deadline is None:
            published = record.timestamp if record.timestamp >= 0 else now
            deadline = published + int(self.settings.request_wait_s * 1000)
        if now < deadline and not can_go_back(record):
            error = "the tweets are unknown, and key and headers are too large to wait with"
            part.letters.add(batch, record, Reason.TOO_LARGE, error)
        elif now < deadline:
            part.waiting = True
            again = changed(request, tweet_ids=unknown, deadline=deadline)
            for value in encode_request(again):
                part.send_back(batch, record, value)
        else:
            named = ", ".join(unknown[:5]) + (f" and {len(unknown) - 5} more" if len(unknown) > 5 else "")
            error = f"no vector by the deadline: {named}"
            part.letters.add(batch, record, Reason.UNKNOWN_TWEET, error)

    def _scored(self, part: _Part) -> Iterator[Group | Block]:
        """The predictions of the part's units, in chunks of bounded size."""
        chunk: list[int] = []
        readers = 0
        for i, unit in enumerate(part.units):
            if chunk and readers + unit.size > MOST_USERS:
                yield from self._score(chunk, part)
                chunk, readers = [], 0
            chunk.append(i)
            readers += unit.size
        if chunk:
            yield from self._score(chunk, part)

    def _score(self, chunk: Sequence[int], part: _Part) -> Iterator[Group | Block]:
        units, matrix = [part.units[i] for i in chunk], self._matrix
        pairs = load_pairs(units, self.backend.stores, self._audiences, matrix, self.shards)
        # A tweet has a unit in every shard.
        places: dict[str, int] = {}
        place_of = np.array([places.setdefault(unit.tweet_id, len(places)) for unit in units])
        distinct = list({unit.tweet_id: unit.tweet for unit in units}.values())
        probabilities = self.backend.model.score(
            np.stack([tweet.vector for tweet in distinct]),
            np.stack([tweet.terms for tweet in distinct]),
            place_of[pairs.unit],
            matrix.rows,
            pairs.slots,
            pairs.features,
        )
        finite = np.isfinite(probabilities).all(axis=1)
        if not finite.all():
            for place in np.unique(pairs.unit[~finite]).tolist():
                error = f"the model gave no finite probability for tweet {units[place].tweet_id}"
                asked = part.asked[chunk[place]]
                part.letters.add(asked.batch, asked.record, Reason.NOT_FINITE, error)
        tweets = [ScoredTweet(unit.tweet_id, unit.tweet.author_id, unit.tweet.created_at) for unit in units]
        shards = matrix.shards[pairs.slots]
        scored_at = int(time.time() * 1000)
        prefixes = self._encoder.prefixes(tweets, scored_at)
        for shard in np.unique(shards).tolist():
            here = np.flatnonzero((shards == shard) & finite)
            here = here[self._encoder.selected(pairs.unit[here], probabilities[here])]
            slots, unit, chances = pairs.slots[here], pairs.unit[here], probabilities[here]
            if self.settings.predictions.format == "pair":
                keys, parts, limit = (
                    matrix.keys.texts,
                    matrix.parts.texts,
                    self.settings.kafka.max_send_batch_bytes,
                )
                bodies = self._encoder.pairs(prefixes, unit, chances, keys, parts, slots, limit)
                for body, count in bodies:
                    yield Block("predictions", shard, body, count, scored_at)
            else:
                ids, cold = matrix.user_ids[slots], matrix.cold[slots]
                columns = list(self._encoder.columns(tweets, unit, chances, ids, cold, scored_at))
                if columns:
                    ids_, values = zip(*columns, strict=True)
                    yield Group("predictions", ids_, values, shard, scored_at)
