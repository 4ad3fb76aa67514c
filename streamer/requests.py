"""Score requests as the stages send them. Knows nothing of how they are answered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from models.events import ScoreRequest

#: User ids in one request: at 128 characters each, still far below a Kafka record's 1 MB.
REQUEST_USERS: Final = 4_096

_encoder = msgspec.json.Encoder()


def encode_request(request: ScoreRequest) -> bytes:
    """The record's value."""
    return _encoder.encode(request)


def for_users(request: ScoreRequest, tweet_id: str, users: Sequence[str]) -> Iterator[bytes]:
    """`request` narrowed down to one tweet and these users, in as many records as they need."""
    for start in range(0, len(users), REQUEST_USERS):
        part = list(users[start : start + REQUEST_USERS])
        yield encode_request(
            msgspec.structs.replace(request, tweet_ids=[tweet_id], user_ids=part, shard=None)
        )
