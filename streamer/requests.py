"""Score requests as the stages send them. Knows nothing of how they are answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from models.events import ScoreRequest
from streamer.stage import Record

#: User ids in one request: a request is the least that a scorer takes on at once.
REQUEST_USERS: Final = 4_096
#: Most bytes of a record's value, and of its key and headers: together below 1 MB, a broker's default for a
#: batch. 1,000 tweet ids of 128 characters take 771,000 at worst, where each character is written as six.
_VALUE_BYTES: Final = 900_000
_AROUND_BYTES: Final = 100_000
#: Most bytes that a header takes besides its name and value.
_HEADER_BYTES: Final = 10

_encoder = msgspec.json.Encoder()


def encode_request(request: ScoreRequest) -> Iterator[bytes]:
    """The record's value; where the users are too many bytes for one, the values of several that share them.

    Users' ids may take 768 bytes each, and a publisher's compressed request may hold 100,000.
    """
    value = _encoder.encode(request)
    users = request.user_ids or []
    if len(value) <= _VALUE_BYTES or len(users) < 2:
        yield value
        return
    for half in (users[: len(users) // 2], users[len(users) // 2 :]):
        yield from encode_request(msgspec.structs.replace(request, user_ids=half))


def for_users(request: ScoreRequest, tweet_id: str, users: Sequence[str]) -> Iterator[bytes]:
    """`request` narrowed down to one tweet and these users, in as many records as they need."""
    for start in range(0, len(users), REQUEST_USERS):
        part = list(users[start : start + REQUEST_USERS])
        narrowed = msgspec.structs.replace(request, tweet_ids=[tweet_id], user_ids=part, shard=None)
        yield from encode_request(narrowed)


def can_go_back(record: Record) -> bool:
    """Whether its key and headers leave room for a value: a publisher may have sent them compressed."""
    around = len(record.key or b"") + sum(
        len(name.encode()) + len(value or b"") + _HEADER_BYTES for name, value in record.headers
    )
    return around <= _AROUND_BYTES
