"""Dead letters: reading them, and publishing the originals again.

A replay sends the original bytes under the original key to the original topic, with the header `attempts`
one higher, and remembers in its own consumer group's offsets what it sent. It commits after the records are
durable, so a crash in between sends the last few again: consumers are idempotent. One replay at a time.

Knows nothing of why a record became one: that is in its headers, written by `streamer.dead_letters`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from kafka import KafkaConsumer, TopicPartition
from kafka.structs import OffsetAndMetadata

from streamer.client.connection import ClientError, raw_consumer
from streamer.client.publisher import Publisher, publisher
from streamer.client.reading import Ranges, Record, bounds, read
from streamer.client.replayed import MAX_METADATA, Replayed
from streamer.client.topics import TOPICS, require
from streamer.settings import Settings

_TOPIC = "dead-letters"
#: Records sent again between two commits: bounds what a crash sends twice.
_CHUNK = 500


@dataclass(frozen=True)
class DeadLetter:
    """One dead letter: the original record, and what its headers say. `topic` is the logical name.

    `truncated` is None, or how many bytes the original's key and value had, of which only the beginnings
    are here.
    """

    reason: str
    error: str
    topic: str
    partition: int
    offset: int
    attempts: int
    truncated: int | None
    at: int
    key: bytes | None
    value: bytes | None
    position: TopicPartition
    position_offset: int
    replayed: bool

    @property
    def replayable(self) -> bool:
        """Whether the original is here, and says where it belongs."""
        whole = self.truncated is None and (self.key is not None or self.value is not None)
        return whole and self.topic in TOPICS

    def preview(self, length: int = 120) -> str:
        """The beginning of the value, printable whatever the bytes are."""
        if self.value is None:
            return "(tombstone)"
        text = self.value[: 4 * length].decode("utf-8", "backslashreplace")
        text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
        return text if len(text) <= length else text[: length - 1] + "…"


@dataclass(frozen=True)
class Filter:
    """Which dead letters are meant: all of these reasons and original topics; an empty set is every one."""

    reasons: frozenset[str] = frozenset()
    topics: frozenset[str] = frozenset()

    def __call__(self, letter: DeadLetter) -> bool:
        """Whether this one is meant."""
        return (not self.reasons or letter.reason in self.reasons) and (
            not self.topics or letter.topic in self.topics
        )


@dataclass
class Outcome:
    """What a replay did, by reason: sent again, and left because of too many attempts or no way back."""

    replayed: Counter[str] = field(default_factory=Counter)
    exhausted: Counter[str] = field(default_factory=Counter)
    impossible: Counter[str] = field(default_factory=Counter)


def list_letters(settings: Settings, wanted: Filter, *, replayed_too: bool = False) -> Iterator[DeadLetter]:
    """Yield the wanted dead letters that are there now. Raises `ClientError`."""
    with _reader(settings) as (consumer, ranges, done):
        for record in read(consumer, ranges):
            letter = _letter(record, settings, done)
            if wanted(letter) and (replayed_too or not letter.replayed):
                yield letter


def replay(settings: Settings, wanted: Filter, *, max_attempts: int, limit: int | None = None) -> Outcome:
    """Send the wanted dead letters again that were not before; at most `limit` of them.

    Those that failed `max_attempts` times stay. Raises `ClientError`.
    """
    outcome = Outcome()
    with _reader(settings) as (consumer, ranges, done), publisher(settings) as sender:
        chunk: list[DeadLetter] = []
        for record in read(consumer, ranges):
            letter = _letter(record, settings, done)
            if letter.replayed or not wanted(letter):
                continue
            if letter.attempts >= max_attempts:
                outcome.exhausted[letter.reason] += 1
            elif not letter.replayable:
                outcome.impossible[letter.reason] += 1
            else:
                chunk.append(letter)
                outcome.replayed[letter.reason] += 1
                if len(chunk) == _CHUNK:
                    _send(settings, consumer, sender, chunk, ranges, done)
                    chunk = []
                if limit is not None and outcome.replayed.total() == limit:
                    break
        if chunk:
            _send(settings, consumer, sender, chunk, ranges, done)
    return outcome


def _send(
    settings: Settings,
    consumer: KafkaConsumer,
    sender: Publisher,
    chunk: list[DeadLetter],
    ranges: Ranges,
    done: dict[TopicPartition, Replayed],
) -> None:
    after = dict(done)
    for key in {letter.position for letter in chunk}:
        offsets = (letter.position_offset for letter in chunk if letter.position == key)
        after[key] = done[key].add(offsets, ranges[key][0])
        if len(after[key].metadata) > MAX_METADATA:
            raise ClientError(
                f"{key.topic}/{key.partition}: too many gaps between the letters replayed to remember them; "
                "replay without filters, or with a wider one, first"
            )
    for letter in chunk:
        headers = [("attempts", str(letter.attempts + 1).encode())]
        sender.send_raw(settings.kafka.topic(letter.topic), letter.key, letter.value, headers)
    sender.flush()
    consumer.commit(
        {
            key: OffsetAndMetadata(state.position, state.metadata, -1)
            for key, state in after.items()
            if state is not done[key]
        }
    )
    done.update(after)


@contextmanager
def _reader(settings: Settings) -> Iterator[tuple[KafkaConsumer, Ranges, dict[TopicPartition, Replayed]]]:
    """The consumer of the replay's group, what the topic holds, and what was replayed of it."""
    count = require(settings, [_TOPIC])[_TOPIC]
    with raw_consumer(settings, settings.kafka.group("dead-letters-replay")) as consumer:
        ranges = bounds(consumer, settings.kafka.topic(_TOPIC), count)
        done = {}
        for key in ranges:
            committed = consumer.committed(key, metadata=True)
            done[key] = Replayed.read(committed.offset, committed.metadata or "") if committed else Replayed()
        yield consumer, ranges, done


def _letter(record: Record, settings: Settings, done: dict[TopicPartition, Replayed]) -> DeadLetter:
    headers = {name: value.decode("utf-8", "replace") for name, value in record.headers}
    position = TopicPartition(record.topic, record.partition)

    def number(name: str, default: int) -> int:
        text = headers.get(name, "")
        return int(text) if text.lstrip("-").isdigit() else default

    return DeadLetter(
        reason=headers.get("reason", "unknown"),
        error=headers.get("error", ""),
        topic=headers.get("topic", "").removeprefix(settings.kafka.topic_prefix),
        partition=number("partition", -1),
        offset=number("offset", -1),
        attempts=number("attempts", 1),
        truncated=number("truncated", 0) or None,
        at=record.timestamp,
        key=record.key,
        value=record.value,
        position=position,
        position_offset=record.offset,
        replayed=record.offset in done[position],
    )
