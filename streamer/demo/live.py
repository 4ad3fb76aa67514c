"""What the demo has seen so far, shared between the thread that publishes and the one that reads.

Knows nothing of Kafka or of terminals.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from models.events import Engagement, Tweet
from streamer.replay.exposures import Sink

#: Tweets shown at a time, and the likeliest readers shown for each.
_TWEETS, _READERS = 12, 3


@dataclass
class Shown:
    """A tweet on the screen: how many readers were scored, and the likeliest of them."""

    text: str
    author_id: str
    scored: int = 0
    #: User id, probability, whether he or she retweeted it by now; likeliest first.
    likeliest: list[tuple[str, float, bool]] = field(default_factory=list)


class Live:
    """`publishing` before each event is sent, `arrived` for each prediction; read at any time."""

    def __init__(self, sink: Sink, names: Mapping[str, str]) -> None:
        #: What people call themselves, by user id.
        self.names = names
        self.tweets = self.engagements = self.predictions = 0
        self._sink = sink
        self._lock = threading.Lock()
        self._sent: dict[str, float] = {}
        self._shown: OrderedDict[str, Shown] = OrderedDict()
        self._seconds = array("d")

    def publishing(self, event: object) -> None:
        """This event is about to be sent."""
        with self._lock:
            if isinstance(event, Tweet):
                self.tweets += 1
                self._sent[event.tweet_id] = time.time()
                self._shown[event.tweet_id] = Shown(event.text or "", event.author_id)
                while len(self._shown) > _TWEETS:
                    self._shown.popitem(last=False)
            elif isinstance(event, Engagement):
                self.engagements += 1
                shown = self._shown.get(event.tweet_id)
                if shown is not None and event.action == "retweet":
                    shown.likeliest = [
                        (user, p, did or user == event.user_id) for user, p, did in shown.likeliest
                    ]

    def arrived(self, tweet_id: str, user_ids: Sequence[str], retweet: Sequence[float], now: float) -> None:
        """Predictions came at `now` (seconds since the epoch)."""
        with self._lock:
            self.predictions += len(user_ids)
            self._sink.add(tweet_id, user_ids, retweet)
            if (sent := self._sent.get(tweet_id)) is not None:
                self._seconds.extend([now - sent] * len(user_ids))
            if (shown := self._shown.get(tweet_id)) is not None:
                shown.scored += len(user_ids)
                more = ((user, p, False) for user, p in zip(user_ids, retweet, strict=True))
                shown.likeliest = sorted([*shown.likeliest, *more], key=lambda row: -row[1])[:_READERS]

    def rows(self) -> list[Shown]:
        """The latest tweets, newest first."""
        with self._lock:
            return [
                Shown(row.text, row.author_id, row.scored, list(row.likeliest))
                for row in reversed(self._shown.values())
            ]

    def latency_ms(self) -> dict[str, float | None]:
        """From just before a tweet was published until each of its predictions was read: p50 and p99."""
        with self._lock:
            seconds = np.array(self._seconds)
        if not len(seconds):
            return {"p50": None, "p99": None}
        p50, p99 = np.percentile(seconds * 1000, [50, 99])
        return {"p50": round(float(p50), 1), "p99": round(float(p99), 1)}
