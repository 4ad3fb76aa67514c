"""What a stage is: synchronous code that turns batches of records into outputs.

The worker (`streamer.worker`) polls Kafka, calls `process` in a thread with whatever waits, of all partitions
together, makes the outputs durable, and only then commits. A stage knows nothing of Faust, event loops,
commits or topic prefixes: topic names here are the logical ones of the contracts (`tweets`, `predictions`);
the worker adds `kafka.topic_prefix`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol, runtime_checkable

import msgspec

from streamer.errors import StreamerError

Headers = Sequence[tuple[str, bytes]]


class Record(Protocol):
    """One consumed record. aiokafka's own objects satisfy this, so nothing is copied."""

    @property
    def offset(self) -> int:
        """Position in the partition."""

    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch; -1 when the broker gave none."""

    @property
    def key(self) -> bytes | None:
        """The bytes it was placed by."""

    @property
    def value(self) -> bytes | None:
        """None is a tombstone."""

    @property
    def headers(self) -> Headers:
        """Pairs of name and value."""


class Begun:
    """Base of what stands for a half done record in `Outputs.rest`: `freshness` does not leave it out."""

    __slots__ = ()


class Batch(msgspec.Struct, frozen=True, gc=False):
    """One topic partition's records of one poll, in offset order, never empty. Offsets may have gaps.

    Or what another stage of this worker has `handed` over: that should not stay long, as the other's input is
    under way meanwhile. Its offsets are -1.
    """

    topic: str
    partition: int
    records: Sequence[Record]
    handed: bool = False


class Group(msgspec.Struct):
    """Records for one topic, as equally long columns: the cheapest shape to build and to append from.

    `partition=None` places each record by murmur2 of its key, as the Java client does. That costs a hash per
    record, so a stage that knows the partition (the scorer serves one shard) should name it.
    `timestamp` (ms) and `headers` hold for every record of the group; None is the time of sending.
    """

    topic: str
    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    partition: int | None = None
    timestamp: int | None = None
    headers: Headers = ()


#: Bytes that a `Block` leaves free at its start: the header of a record batch in Kafka's format v2.
HEADER_ROOM: Final = 61


class Block(msgspec.Struct):
    """Records for one partition, written by the stage in Kafka's record format (v2), as one batch's body.

    For outputs by the hundred thousand. `buffer` is writable and belongs to whoever is given the block; its
    first `HEADER_ROOM` bytes are free. Offsets count from 0 to `count` - 1, times are all `timestamp` (ms).
    """

    topic: str
    partition: int
    buffer: memoryview
    count: int
    timestamp: int


class Outputs(msgspec.Struct):
    """What must be durable in Kafka before the batch is committed; `Outputs()` when there is nothing.

    What a stage writes elsewhere (Redis) it finishes before it returns. `origins` are the times (ms) at which
    the tweets answered here were published, one per tweet and batch: `streamer_end_to_end_seconds` observes
    them once the outputs are durable.

    A stage whose outputs may be many times its input handles as many records as fit in bounded memory and
    little time, and names the others in `rest`, by the place of their batch among those given, or whatever
    stands for what is left to do of them. `process` is called again with them, after what came meanwhile has
    had its turn. So it must not mind the order. `later` is how many seconds the rest of a batch stays away
    first, by the same places: a stage that is always at work keeps the interpreter from the others.
    """

    groups: Sequence[Group | Block] = ()
    origins: Sequence[int] = ()
    rest: Mapping[int, Sequence[Record]] = {}
    later: Mapping[int, float] = {}


class Stage(Protocol):
    """One step of the stream, with its own consumer group `{group_prefix}{name}`.

    All methods run in the stage's single worker thread, never on the event loop and never two at a time.
    A batch may be given again after a crash or a rebalance, so `process` must be idempotent. What a call
    costs in any case (round trips, model calls) is shared by all that waits: one partition at a time, a tweet
    cost 20 ms of processor time, and 50 tweets/s filled a worker.
    """

    @property
    def name(self) -> str:
        """What the command line, metrics and logs call it."""

    @property
    def topics(self) -> tuple[str, ...]:
        """Input topics, by logical name."""

    def open(self) -> None:
        """Load, connect, warm up; called once before any partition is taken. Raising ends the process."""

    def process(self, batches: Sequence[Batch]) -> Outputs:
        """Handle batches, of which several may be of one partition, then in the order in which they were read
        unless some are rests. Bad records become dead letters among the outputs; raising ends the process.

        Raise `StageUnavailable` when something the stage needs (Redis) is away longer than its retry window.
        """

    def close(self) -> None:
        """Release what `open` took. Called after the last batch, also when `open` failed half-way."""


@runtime_checkable
class Healthy(Protocol):
    """Optional on a stage: asked by `/readyz`, in another thread than its own, with a second to answer."""

    def healthy(self) -> str | None:
        """None when all is well, else one line that says what is wrong."""


@runtime_checkable
class Interruptible(Protocol):
    """Optional on a stage whose `process` may wait (for a tweet, for Redis) longer than a stop may take."""

    def interrupt(self) -> None:
        """The worker stops: make a waiting `process` return soon, or raise. Called in another thread."""


@runtime_checkable
class Perishable(Protocol):
    """Optional on a stage whose records lose their worth with age: `freshness` may leave them out.

    Not on one that keeps state: a lost record would be missed for ever.
    """

    perishable: Literal[True]


@runtime_checkable
class Paced(Protocol):
    """Optional on a stage whose calls cost much however little they are given, as do those that follow from
    what it puts out: what comes within `pace_s` after a call began, or a few times what calls take, waits for
    the rest of that time, and shares the next one. After a longer pause nothing waits.
    """

    @property
    def pace_s(self) -> float:
        """Seconds from the beginning of a call to that of the next, at the least; at most five times that."""


class StageUnavailable(StreamerError):  # noqa: N818 - it names a state, and reads so in the log line
    """Something the stage needs stays away: the process ends non-zero with this message, nothing acked."""
