"""Records that cannot be handled, on their way to the topic `dead-letters`: untouched, with the reason.

Only what the topic would refuse is cut off: brokers limit batches as they come, and a compressed one of a few
kB may hold a record of many MB. The header `truncated` says so, and others where the original lies.
Knows nothing of how the reason was found, nor of how they are listed and replayed (`streamer.client`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from streamer import metrics
from streamer.decoding import BadRecord, Decoder, Reason, T
from streamer.stage import Batch, Group, Headers, Record

#: Most bytes of the header `error`: the whole must fit where the original record just did.
_ERROR_BYTES: Final = 500
#: Most bytes of key and value that leave untouched: the topic's `max.message.bytes`
#: (`streamer.client.topics`) with room for headers.
_WHOLE_BYTES: Final = 2 * 2**20 - 2**14
#: So much is left of the key, and of the value, of a record that is larger.
_CUT_BYTES: Final = 2**16


def attempts(headers: Headers) -> int:
    """How many times a record was tried, this time included: replays count up the header `attempts`."""
    for name, value in headers:
        # Kafka knows headers without a value.
        if name == "attempts" and value and value.isdigit():
            return int(value[:9])
    return 1


class DeadLetters:
    """Collects the dead letters of one call; `groups` goes among the stage's outputs."""

    def __init__(self, stage: str) -> None:
        self.groups: list[Group] = []
        self._stage = stage

    def add(self, batch: Batch, record: Record, reason: Reason, error: str) -> None:
        """This record of the batch cannot be handled. Key and value leave as they came, if they fit."""
        key, value = record.key, record.value
        headers = [
            ("reason", reason.encode()),
            ("error", error.encode("utf-8", "backslashreplace")[:_ERROR_BYTES]),
            ("topic", batch.topic.encode()),
            ("partition", b"%d" % batch.partition),
            ("offset", b"%d" % record.offset),
            ("attempts", b"%d" % attempts(record.headers)),
        ]
        size = len(key or b"") + len(value or b"")
        if size > _WHOLE_BYTES:
            headers.append(("truncated", b"%d" % size))
            key, value = key and key[:_CUT_BYTES], value and value[:_CUT_BYTES]
        self.groups.append(Group("dead-letters", [key], [value], headers=headers))
        metrics.dead_letters.labels(self._stage, reason.value).inc()

    def decode(self, batches: Sequence[Batch], decoder: Decoder[T]) -> Iterator[tuple[Batch, Record, T]]:
        """The batches' good records, each with its struct; the others become dead letters."""
        for batch in batches:
            for record in batch.records:
                try:
                    decoded = decoder(record.value)
                except BadRecord as bad:
                    self.add(batch, record, bad.reason, bad.error)
                else:
                    yield batch, record, decoded
