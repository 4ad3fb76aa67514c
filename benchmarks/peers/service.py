"""What every peer does between taking records and sending predictions, with our model library and stores.

Tweets of a batch are encoded together, a batch's users are read with one MGET, and each tweet is scored for
all its readers at once. Knows nothing of Kafka.
"""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Self

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.model import score, tweet_records, user_rows
from models.events import Prediction, ScoreRequest, Tweet
from models.features import pair_features
from models.serving import ServingModel
from models.state.affinity import AFFINITY
from models.state.authors import increment
from models.state.keys import id_key, short_key
from models.state.stores import AUTHOR_FIELDS, FOLLOWS, Pair, Stores
from models.state.tweet import TweetRecord
from streamer.local.process import HOST
from streamer.settings import Settings
from streamer.sharding import shards_of
from streamer.stores import RedisConnection, redis_stores

#: Tweets, or requests, taken at once.
BATCH = 64

_TWEETS = AUTHOR_FIELDS.index("tweets")
_tweet = msgspec.json.Decoder(Tweet).decode
_request = msgspec.json.Decoder(ScoreRequest).decode
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class _Unit:
    """A tweet and its readers, with audience bits [n] and affinities [n]."""

    tweet_id: str
    tweet: TweetRecord
    readers: list[str]
    bits: NDArray[np.uint8]
    affinity: NDArray[np.void]


class Service:
    """Answers tweets and requests, given a model, stores, and how many shards audiences have."""

    def __init__(self, model: ServingModel, stores: Stores, shards: int) -> None:
        self.model, self.stores, self.shards = model, stores, shards
        self.port: socket.socket | None = None

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Load and warm the model, then open the port that tells the rig so."""
        assert settings.bundle is not None
        model = ServingModel.load(settings.bundle, settings.device)
        model.warm_up()
        stores = redis_stores(RedisConnection(settings.redis), model.fingerprint)
        service = cls(model, stores, settings.kafka.partitions)
        service.port = socket.create_server((HOST, settings.http.port))
        return service

    def tweets(self, values: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values of the predictions for all followers of these tweets' authors."""
        tweets = [_tweet(value) for value in values]
        records = self._embedded(tweets)
        authors = [(tweet.author_id, shard) for tweet in tweets for shard in range(self.shards)]
        audiences, affinities = self.stores.audiences.get(authors), self.stores.affinities.get(authors)
        units = []
        for i, tweet in enumerate(tweets):
            here = slice(i * self.shards, (i + 1) * self.shards)
            users = list(chain.from_iterable(users for users, _ in audiences[here]))
            bits = np.concatenate([bits for _, bits in audiences[here]])
            known: dict[str, NDArray[np.void]] = {}
            for names, found in affinities[here]:
                known.update(zip(names, found, strict=True))
            wanted = np.flatnonzero((bits & FOLLOWS) != 0).tolist()
            readers = [users[place] for place in wanted if users[place] != tweet.author_id]
            affinity = np.zeros(len(readers), AFFINITY)
            for place, reader in enumerate(readers):
                if reader in known:
                    affinity[place] = known[reader]
            bits = bits[[place for place in wanted if users[place] != tweet.author_id]]
            units.append(_Unit(tweet.tweet_id, records[id_key(tweet.tweet_id)], readers, bits, affinity))
        return self._predictions(units)

    def requests(self, values: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values of the predictions for the users these requests name."""
        asked = [(id_, r.user_ids or []) for r in map(_request, values) for id_ in r.tweet_ids]
        records = self.stores.tweets.get_many([id_key(id_) for id_, _ in asked])
        found = [(id_, record, users) for (id_, users), record in zip(asked, records, strict=True) if record]
        shards = shards_of([user for _, _, users in found for user in users], self.shards).tolist()
        readers = ((record.author_id, user) for _, record, users in found for user in users)
        pairs = [Pair(author, shard, user) for (author, user), shard in zip(readers, shards, strict=True)]
        bits, affinity = self.stores.audiences.bits(pairs), self.stores.affinities.get_many(pairs)
        bounds = np.cumsum([0, *(len(users) for _, _, users in found)]).tolist()
        return self._predictions(
            [
                _Unit(id_, record, users, bits[low:high], affinity[low:high])
                for (id_, record, users), low, high in zip(found, bounds, bounds[1:], strict=False)
            ]
        )

    def _embedded(self, tweets: Sequence[Tweet]) -> dict[int, TweetRecord]:
        """The tweets' records, from Redis or computed together and stored."""
        keys = [id_key(tweet.tweet_id) for tweet in tweets]
        stored = zip(keys, self.stores.tweets.get_many(keys), strict=True)
        records = {key: record for key, record in stored if record is not None}
        authors = list(dict.fromkeys(tweet.author_id for tweet in tweets))
        sums = dict(zip(authors, self.stores.authors.get_many(authors), strict=True))
        new, before = [], []
        for key, tweet in zip(keys, tweets, strict=True):
            if key not in records:
                new.append(tweet)
                before.append(sums[tweet.author_id].copy())
                sums[tweet.author_id][_TWEETS] += increment(tweet.created_at // 1000)
        if new:
            computed = tweet_records(self.model, new, np.array(before))
            self.stores.tweets.put_new(computed)
            self.stores.authors.add(
                (tweet.author_id, "tweets", increment(tweet.created_at // 1000)) for tweet in new
            )
            records |= computed
        return records

    def _predictions(self, units: Sequence[_Unit]) -> Iterator[tuple[bytes, bytes]]:
        users = list(dict.fromkeys(chain.from_iterable(unit.readers for unit in units)))
        place = {user: slot for slot, user in enumerate(users)}
        vectors = self.stores.vectors.get_many(users)
        rows = user_rows(self.model, users, vectors)
        authors = list(dict.fromkeys(unit.tweet.author_id for unit in units))
        states = dict(zip(authors, self.stores.users.get_many(authors), strict=True))
        for unit in units:
            slots = np.fromiter(map(place.__getitem__, unit.readers), np.intp, len(unit.readers))
            state = states[unit.tweet.author_id]
            engaged = Counter(state.items["author"].tolist() if state is not None else ())
            mentions = set(unit.tweet.mentions)
            features = pair_features(
                unit.tweet.created_at // 1000,
                unit.bits,
                unit.affinity,
                rows.habits[slots],
                np.fromiter((user in mentions for user in unit.readers), np.bool_, len(slots)),
                np.full(len(slots), unit.tweet.retweet),
                np.fromiter((engaged[short_key(user)] for user in unit.readers), np.float32, len(slots)),
            )
            probabilities = score(
                self.model,
                unit.tweet.vector[None],
                unit.tweet.terms[None],
                np.zeros(len(slots), np.intp),
                rows,
                slots,
                features,
            ).tolist()
            scored_at, model = int(time.time() * 1000), self.model.fingerprint
            for user, slot, chances in zip(unit.readers, slots.tolist(), probabilities, strict=True):
                heads = dict(zip(self.model.heads, chances, strict=True))
                yield (
                    user.encode(),
                    _encode(
                        Prediction(
                            id=f"{unit.tweet_id}:{user}:{model[:8]}",
                            tweet_id=unit.tweet_id,
                            user_id=user,
                            author_id=unit.tweet.author_id,
                            model=model,
                            cold=vectors[slot] is None,
                            created_at=unit.tweet.created_at,
                            scored_at=scored_at,
                            **heads,
                        )
                    ),
                )
