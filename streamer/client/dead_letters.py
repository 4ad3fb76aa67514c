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
from itertools import compress
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import (
    InvalidRecordError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RetriableError,
)
from kafka.structs import OffsetAndMetadata

from streamer.client.connection import REQUEST_TIMEOUT_MS, ClientError, raw_consumer, raw_producer
from streamer.client.reading import Ranges, Record, bounds, read
from streamer.client.replayed import MAX_METADATA, Replayed
from streamer.client.topics import TOPICS, require
from streamer.settings import Settings

_TOPIC = "dead-letters"
#: Records sent again between two commits: bounds what a crash sends twice.
_CHUNK = 500
#: A topic's answers that another attempt would not change.
_REFUSALS = (MessageSizeTooLargeError, RecordListTooLargeError, InvalidRecordError)
#: kafka-python's idempotent producer sends nothing more once a record was refused. One request at a time
#: keeps the order without it; what a lost answer sends twice, a crash does too.
_ALONE: dict[str, Any] = {"enable_idempotence": False, "max_in_flight_requests_per_connection": 1}


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
    """What a replay did, by reason: sent again, and left because of too many attempts or no way back.

    No way back has what is cut off, names no topic, or is refused by it (too large as we compress it).
    """

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
    with _reader(settings) as (consumer, ranges, done), raw_producer(settings, **_ALONE) as producer:
        chunk: list[DeadLetter] = []

        def send() -> None:
            delivered = _send(settings, consumer, producer, chunk, ranges, done)
            for letter, taken in zip(chunk, delivered, strict=True):
                (outcome.replayed if taken else outcome.impossible)[letter.reason] += 1
            chunk.clear()

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
                if len(chunk) == _CHUNK or outcome.replayed.total() + len(chunk) == limit:
                    send()
                if outcome.replayed.total() == limit:
                    break
        if chunk:
            send()
    return outcome


def _send(
    settings: Settings,
    consumer: KafkaConsumer,
    producer: KafkaProducer,
    chunk: list[DeadLetter],
    ranges: Ranges,
    done: dict[TopicPartition, Replayed],
) -> list[bool]:
    """Send these; whether its topic took each, which then is remembered.

    Raises, when that is done, what else went wrong than a refusal.
    """
    _remembered(done, chunk, ranges)  # raises before anything is sent
    errors = _deliver(settings, producer, chunk)
    for place, error in enumerate(errors):
        if error is not None and not isinstance(error, RetriableError):
            # Brokers refuse whole batches: what it shared one with may be to blame.
            [errors[place]] = _deliver(settings, producer, [chunk[place]])
    delivered = [error is None for error in errors]
    after = _remembered(done, list(compress(chunk, delivered)), ranges)
    changed = {key: state for key, state in after.items() if state is not done[key]}
    if changed:
        consumer.commit(
            {key: OffsetAndMetadata(state.position, state.metadata, -1) for key, state in changed.items()}
        )
        done.update(changed)
    for error in errors:
        if error is not None and not isinstance(error, _REFUSALS):
            raise error
    return delivered


def _deliver(
    settings: Settings, producer: KafkaProducer, letters: list[DeadLetter]
) -> list[BaseException | None]:
    """What became of each: None where it is durable."""
    futures = [
        producer.send(
            settings.kafka.topic(letter.topic),
            letter.value,
            letter.key,
            headers=[("attempts", b"%d" % (letter.attempts + 1))],
        )
        for letter in letters
    ]
    producer.flush(timeout=REQUEST_TIMEOUT_MS / 1000)
    return [future.exception for future in futures]


def _remembered(
    done: dict[TopicPartition, Replayed], letters: list[DeadLetter], ranges: Ranges
) -> dict[TopicPartition, Replayed]:
    """`done` with these as well. Raises `ClientError` where that takes more room than there is."""
    after = dict(done)
    for key in {letter.position for letter in letters}:
        offsets = (letter.position_offset for letter in letters if letter.position == key)
        after[key] = done[key].add(offsets, ranges[key][0])
        if len(after[key].metadata) > MAX_METADATA:
            raise ClientError(
                f"{key.topic}/{key.partition}: too many gaps between the letters replayed to remember them; "
                "replay without filters, or with a wider one, first"
            )
    return after


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
