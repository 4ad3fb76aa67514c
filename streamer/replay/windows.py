"""Publishes a log window by window of event time, and waits for the workers in between.

Within a window tweets go first, and are done when the rest follows: a score sees no event of its own window
or later, and what it does not see yet is at most a window old. Knows nothing of predictions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
from kafka.admin import KafkaAdminClient

from models.events import Engagement, Follow, Tweet, User
from models.log import EventLog
from models.log_columns import Event
from models.progress import Phase
from streamer.client.lag import wait_until_done
from streamer.client.publisher import Publisher
from streamer.settings import Settings

#: A stage that does nothing for so long will not go on.
PATIENCE_S = 120.0
#: The topic of each kind of event of a log.
TOPIC_OF: dict[type[msgspec.Struct], str] = {
    User: "users",
    Follow: "follows",
    Tweet: "tweets",
    Engagement: "engagements",
}
_REST = ("users", "follows", "engagements")


class Windows:
    """Plays parts of one log. `alive` raises when the workers are gone."""

    def __init__(
        self,
        log: EventLog,
        settings: Settings,
        admin: KafkaAdminClient,
        publisher: Publisher,
        alive: Callable[[], None],
    ) -> None:
        #: Events published, by topic.
        self.sent: Counter[str] = Counter()
        self._log = log
        self._settings = settings
        self._admin = admin
        self._publisher = publisher
        self._alive = alive

    def load(self, start_ms: int | None, end_ms: int, window_ms: int, phase: Phase) -> None:
        """Play what happened before `end_ms` without having it scored: its tweets have no audience.

        Tweets and engagements from before `start_ms` are left out; profiles and follows never are.
        """
        rest = self._log.events(None, end_ms, tables=_REST)
        since = start_ms or 0
        recent = ((at, event) for at, event in rest if at >= since or not isinstance(event, Engagement))
        self._play(start_ms, end_ms, window_ms, phase, recent, scored=False)

    def play(self, start_ms: int, end_ms: int, window_ms: int, phase: Phase, *, frozen: bool = False) -> None:
        """Play start <= time < end, scored. `frozen` leaves the engagements out."""
        names = [name for name in _REST if not (frozen and name == "engagements")]
        rest = self._log.events(start_ms, end_ms, tables=names)
        self._play(start_ms, end_ms, window_ms, phase, rest, scored=True)

    def _play(
        self,
        start_ms: int | None,
        end_ms: int,
        window_ms: int,
        phase: Phase,
        others: Iterator[tuple[int, Event]],
        *,
        scored: bool,
    ) -> None:
        tweets = _Cut(self._log.events(start_ms, end_ms, tables=("tweets",)))
        rest = _Cut(others)
        # Profiles and follows from before there were tweets, and all that has no time of its own.
        first = tweets.next_ms if tweets.next_ms is not None else end_ms
        self._publish(rest.before(first), phase)
        self._wait("follows", "users")
        while tweets.next_ms is not None:
            end = tweets.next_ms + window_ms
            self._publish(tweets.before(end), phase, lambda t: t if scored else _silent(t))
            self._wait("embed", "score") if scored else self._wait("embed")
            # Only tweets are sensitive to what came before: what precedes the next one need not be parted.
            if self._publish(rest.before(max(end, tweets.next_ms or end_ms)), phase):
                self._wait("follows", "users")

    def _publish(
        self, events: Iterator[Event], phase: Phase, change: Callable[[Any], Any] = lambda event: event
    ) -> int:
        count = 0
        for count, event in enumerate(events, 1):
            topic = TOPIC_OF[type(event)]
            self._publisher.send(topic, change(event))
            self.sent[topic] += 1
            if not count % 256:
                self._alive()
                phase.to(phase.done + 256)
        phase.to(phase.done + count % 256)
        return count

    def _wait(self, *stages: str) -> None:
        self._publisher.flush()
        wait_until_done(self._admin, self._settings, stages, PATIENCE_S, self._alive)


def _silent(tweet: Tweet) -> Tweet:
    """The tweet for nobody: it is embedded, since histories refer to it, but not scored."""
    return msgspec.structs.replace(tweet, audience=[])


class _Cut:
    """Takes from a stream of (time, event) what comes before a time."""

    def __init__(self, events: Iterator[tuple[int, Event]]) -> None:
        self._events = events
        self._next = next(events, None)

    @property
    def next_ms(self) -> int | None:
        """When the next event happened; None at the end."""
        return None if self._next is None else self._next[0]

    def before(self, end_ms: int) -> Iterator[Event]:
        """Yield and take the events with time < `end_ms`."""
        while self._next is not None and self._next[0] < end_ms:
            yield self._next[1]
            self._next = next(self._events, None)
