"""What one call of `score` gathers: units of records, dead letters, and requests that have to wait.

Knows nothing of how pairs are scored.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Final

from models.events import ScoreRequest
from streamer.best import Best
from streamer.dead_letters import DeadLetters
from streamer.pairs import Unit
from streamer.stage import Batch, Begun, Group, Headers, Record
from streamer.user_matrix import MOST_USERS

#: Pairs scored in one `process` call: about 5 MB of records, and 30 ms.
PART: Final = MOST_USERS


class _Stand:
    """Stands for a record of a batch in `rest`."""

    __slots__ = ("batch", "record")

    def __init__(self, batch: Batch, record: Record) -> None:
        self.batch, self.record = batch, record

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


class Asked(_Stand, Begun):
    """A record looked up, with the units that are left to score.

    `best` are those readers of the tweet at hand that are published when it has no more, None where all
    are published at once.
    """

    __slots__ = ("best", "large", "units")

    def __init__(self, batch: Batch, record: Record, units: Iterator[Unit], *, large: bool) -> None:
        super().__init__(batch, record)
        self.units, self.large = units, large
        self.best: Best | None = None


class Waiting(_Stand):
    """A request none of whose tweets is known: it is looked at again at `until` (monotonic seconds)."""

    __slots__ = ("request", "until")

    def __init__(self, batch: Batch, record: Record, request: ScoreRequest, until: float) -> None:
        super().__init__(batch, record)
        self.request, self.until = request, until


class Part:
    """What one `process` call has gathered so far."""

    def __init__(self, letters: DeadLetters) -> None:
        self.letters = letters
        self.units: list[Unit] = []
        #: What each unit was asked for in.
        self.asked: list[Asked] = []
        self.pairs = 0
        #: Of tweets whose last piece was scored before.
        self.bests: list[Best] = []
        #: Requests that wait for their tweets, with the place of their batch, and until when by place.
        self.waiting: list[tuple[int, Waiting]] = []
        self.away: dict[int, float] = {}
        #: Whether a request was sent back that has not waited here.
        self.hurried = False
        self._complete: list[Asked] = []
        self._sent: dict[tuple[int, Headers], tuple[list[bytes], list[Record]]] = {}

    def take(self, asked: Asked) -> bool:
        """Units of a record, as far as there is room; whether any are left over."""
        for unit in asked.units:
            if self.pairs and self.pairs + unit.size > PART:
                asked.units = chain([unit], asked.units)
                return True
            self.add(unit, asked)
        return False

    def add(self, unit: Unit, asked: Asked) -> None:
        """Score this unit."""
        self.units.append(unit)
        self.asked.append(asked)
        self.pairs += unit.size

    def wait(self, place: int, waiting: Waiting) -> None:
        """Keep a request away with the others of its batch."""
        self.waiting.append((place, waiting))
        self.away[place] = waiting.until

    def publish_best(self, asked: Asked) -> None:
        """The tweet at hand has no more pieces."""
        if asked.best is not None:
            self.bests.append(asked.best)
            self._complete.append(asked)
            asked.best = None

    @property
    def origins(self) -> list[int]:
        """When those were published of whom predictions leave."""
        at_once = (asked for asked in self.asked if asked.best is None)
        return [asked.timestamp for asked in chain(at_once, self._complete) if asked.timestamp >= 0]

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
