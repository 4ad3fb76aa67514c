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
from numpy.typing import NDArray

from models.events import ScoreRequest
from models.state.keys import id_key
from models.state.tweet import TweetRecord
from streamer import metrics
from streamer.answers import Answers
from streamer.audiences import Audiences, followers
from streamer.best import Best
from streamer.dead_letters import DeadLetters
from streamer.decoding import BadRecord, Decoder, Reason
from streamer.pair_writer import warm_up
from streamer.pairs import Unit, load_pairs
from streamer.predictions import PredictionEncoder, ScoredTweet
from streamer.requests import can_go_back, encode_request
from streamer.settings import Settings
from streamer.stage import Batch, Block, Group, Outputs, Record
from streamer.stages.backend import Backend
from streamer.stages.base import BackedStage
from streamer.stages.parts import PART, Asked, Part, Waiting
from streamer.tweets_at_hand import TweetsAtHand
from streamer.user_matrix import MOST_USERS, Slots, UserMatrix

#: Tweets looked up together: one round trip, and another for their audiences.
_WINDOW: Final = 256
#: A tweet of more readers than this is scored piece by piece, one in each call, of about 12 ms: that is what
#: a tweet of 100,000 followers holds up others by.
_LARGE: Final = 4_096
_PIECE: Final = 2_048
#: So long after the last tweet of few readers, one of many has all the time.
_ALONE_S: Final = 1.0
#: Longest wait for a tweet, whatever the request's `deadline`, unless `request_wait_s` is longer.
_MOST_WAIT_S: Final = 60.0
#: A request whose tweet is unknown stays away for this share of its age, within these bounds, before it is
#: written to the topic again: 24 times in ten seconds. At each call it would be 300 times and more.
_AWAY: Final = 1 / 4
_LEAST_AWAY_S: Final = 0.03
_MOST_AWAY_S: Final = 1.0
#: Batches that such requests keep from being done: a quarter of those that the worker has under way at most.
_BATCHES_AWAY: Final = 4
#: Pause when there is nothing but requests beyond that: they come back at once.
_PAUSE_S: Final = 0.03

_decoder = Decoder(ScoreRequest)


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
        #: When each of the batches that hold requests for unknown tweets will be looked at again.
        self._away: list[float] = []

    def open(self) -> None:
        """Load the model and make room for users. Raises `StreamerError`."""
        super().open()
        backend, model, memory = self.backend, self.backend.model, self.settings.cache_mb * 2**20
        self._retweet = model.heads.index("retweet")
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
        self._away = [until for until in self._away if until > started]
        part = Part(DeadLetters(self.name))
        rest: dict[int, list[Record]] = {}
        large: list[tuple[int, Asked]] = []
        given = [(place, record) for place, batch in enumerate(batches) for record in batch.records]
        done = 0
        while done < len(given) and part.pairs < PART:
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
            if self._take_piece(first, part):
                large.append((place, first))
        for place, left in chain(large, part.waiting):
            rest.setdefault(place, []).append(left)
        groups = [*self._scored(part), *chain.from_iterable(map(self._published, part.bests))]
        if part.hurried and not part.units:
            self.backend.wait(_PAUSE_S)
        return Outputs(
            [*part.letters.groups, *part.requests, *groups],
            origins=part.origins,
            rest=rest,
            later=self._later(rest, started),
        )

    def _later(self, rest: Mapping[int, Sequence[Record]], started: float) -> dict[int, float]:
        """Requests that wait stay away until their time, unless there is more to do of their batch.

        Large audiences have half of the time where there are others, and all of it where there are none.
        With all of it, ordinary tweets' p99 beside one of 100,000 followers was 426 ms; with half, 264
        (medians of three pairs of runs on 2 cores).
        """
        now = time.monotonic()
        alone = now - self._ordinary_at > _ALONE_S
        later: dict[int, float] = {}
        for place, records in rest.items():
            if not all(isinstance(r, Waiting) or (isinstance(r, Asked) and r.large) for r in records):
                continue
            untils = [record.until for record in records if isinstance(record, Waiting)]
            if len(untils) == len(records):
                later[place] = max(min(untils) - now, 0.0)
            elif not alone:
                later[place] = now - started
        return later

    def _look_up(
        self, records: Sequence[tuple[int, Record]], batches: Sequence[Batch], part: Part
    ) -> tuple[list[tuple[int, Asked]], int]:
        """Decode some records, and find their tweets and how many readers each has.

        Those that can be scored, in order and with the place of their batch, and how many were looked at.
        What is wrong is a dead letter, and what has to wait is sent back.
        """
        found: list[tuple[int, Asked]] = []
        requests: list[tuple[int, Record, ScoreRequest]] = []
        ids: dict[str, None] = {}
        looked_at, now = 0, time.monotonic()
        for place, record in records:
            if len(ids) >= _WINDOW:
                break
            looked_at += 1
            if isinstance(record, Asked):
                found.append((place, record))
                continue
            if isinstance(record, Waiting):
                if record.until > now:
                    part.wait(place, record)
                else:
                    requests.append((place, record, record.request))
                    ids |= dict.fromkeys(record.request.tweet_ids)
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
                    at = (tweet.created_at if request.at is None else request.at) // 1000
                    units.append(Unit(id_, tweet, at, size, request.shard, users))
            large = any(unit.size > _LARGE for unit in units)
            if large and batches[place].handed:
                for unit in (unit for unit in units if unit.size > _LARGE):
                    for value in encode_request(changed(request, tweet_ids=[unit.tweet_id])):
                        part.send_back(batches[place], record, value)
                units, large = [unit for unit in units if unit.size <= _LARGE], False
            left = (
                chain.from_iterable(map(self._pieces, units))
                if large
                else (unit for unit in units if unit.size)
            )
            found.append((place, Asked(batches[place], record, left, large=large)))
            if unknown := [id_ for id_ in request.tweet_ids if id_ not in tweets]:
                asked = changed(request, tweet_ids=unknown)
                self._wait_for(asked, place, batches[place], record, part, alone=not units)
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

    def _take_piece(self, asked: Asked, part: Part) -> bool:
        """The next piece of a record; whether there was one.

        Of a tweet in pieces, the likeliest readers are known when it has no more.
        """
        piece = next((unit for unit in asked.units if unit.size), None)
        if asked.best is not None and (piece is None or piece.tweet_id != asked.best.tweet.tweet_id):
            part.publish_best(asked)
        if piece is None:
            return False
        if asked.best is None and (k := self.settings.predictions.top_k):
            asked.best = Best(_scored_tweet(piece), k, self._retweet)
        part.add(piece, asked)
        return True

    def _wait_for(
        self, request: ScoreRequest, place: int, batch: Batch, record: Record, part: Part, *, alone: bool
    ) -> None:
        """A request for unknown tweets goes round until its deadline: the topic is the waiting room.

        On each round it stays away for a while first, if it is `alone` left of its record and few batches
        have to wait for such: else too much would be under way. What was handed over goes at once.
        """
        now = int(time.time() * 1000)
        published = record.timestamp if 0 <= record.timestamp < now else now
        wait_ms, most_ms = int(self.settings.request_wait_s * 1000), int(_MOST_WAIT_S * 1000)
        deadline = published + wait_ms if request.deadline is None else request.deadline
        deadline = min(deadline, now + max(wait_ms, most_ms))
        if now >= deadline:
            ids = request.tweet_ids
            named = ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")
            error = f"no vector by the deadline: {named}"
            part.letters.add(batch, record, Reason.UNKNOWN_TWEET, error)
            return
        if not can_go_back(record):
            error = "the tweets are unknown, and key and headers are too large to wait with"
            part.letters.add(batch, record, Reason.TOO_LARGE, error)
            return
        request = changed(request, deadline=deadline)
        if alone and not batch.handed and not isinstance(record, Waiting):
            until = self._time_away(place, part, (now - published) / 1000)
            if until is not None:
                part.wait(place, Waiting(batch, record, request, until))
                return
            part.hurried = True
        for value in encode_request(request):
            part.send_back(batch, record, value)

    def _time_away(self, place: int, part: Part, age: float) -> float | None:
        """Until when a request of this age (seconds) stays away, with the others of its batch.

        None when enough batches have such requests.
        """
        if place in part.away:
            return part.away[place]
        if len(self._away) >= _BATCHES_AWAY:
            return None
        until = time.monotonic() + min(max(age * _AWAY, _LEAST_AWAY_S), _MOST_AWAY_S)
        self._away.append(until)
        return until

    def _scored(self, part: Part) -> Iterator[Group | Block]:
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

    def _score(self, chunk: Sequence[int], part: Part) -> Iterator[Group | Block]:
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
            probabilities[~finite] = np.nan  # no filter lets it pass
        shards = matrix.shards[pairs.slots]
        # `top_k` counts the readers of each unit in each shard.
        here = self._encoder.selected(pairs.unit * self.shards + shards, probabilities)
        here = here[np.argsort(shards[here], kind="stable")]
        if (best := part.asked[chunk[-1]].best) is not None:
            # A piece of a large audience is the last unit of its part.
            later = pairs.unit[here] == len(units) - 1
            self._keep(best, shards[here[later]], pairs.slots[here[later]], probabilities[here[later]])
            here = here[~later]
        answers = self._answers(list(map(_scored_tweet, units)))
        yield from answers.of(
            shards[here], matrix.readers, pairs.unit[here], pairs.slots[here], probabilities[here]
        )

    def _keep(self, best: Best, shards: Slots, slots: Slots, chances: NDArray[np.float32]) -> None:
        """Readers of a piece of a tweet, of whom `best` keeps the likeliest."""
        for shard in np.unique(shards).tolist():
            here = shards == shard
            users, cold = self._matrix.user_ids[slots[here]], self._matrix.cold[slots[here]]
            best.add(shard, users, cold, chances[here])

    def _published(self, best: Best) -> Iterator[Group | Block]:
        """The predictions of a tweet whose last piece has been scored."""
        answers = self._answers([best.tweet])
        for shard, user_ids, cold, chances in best.shards():
            readers, n = self._encoder.readers(user_ids, cold), len(user_ids)
            yield from answers.of(np.full(n, shard), readers, np.zeros(n, np.intp), np.arange(n), chances)

    def _answers(self, tweets: Sequence[ScoredTweet]) -> Answers:
        return Answers(self._encoder, self.settings, tweets, int(time.time() * 1000))


def _scored_tweet(unit: Unit) -> ScoredTweet:
    return ScoredTweet(unit.tweet_id, unit.tweet.author_id, unit.tweet.created_at)
