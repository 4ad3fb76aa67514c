from __future__ import annotations

import msgspec
import pytest

from models.events import ScoreRequest
from streamer.requests import can_go_back, encode_request, for_users
from tests.streamer.stages.rig import FakeRecord

#: Broker's `message.max.bytes`, by default.
LIMIT = 1_048_588


def decoded(values: list[bytes]) -> list[ScoreRequest]:
    assert max(map(len, values)) < LIMIT - 100_000
    return [msgspec.json.decode(value, type=ScoreRequest) for value in values]


@pytest.mark.parametrize("character", ["a", "😀", "\x01"])
def test_a_request_stays_below_the_brokers_limit_whatever_its_users_are_called(character: str) -> None:
    users = [f"{i:04}" + character * 124 for i in range(4_096)]
    requests = decoded(list(for_users(ScoreRequest(tweet_ids=["?"], shard=1), "1", users)))
    assert [user for request in requests for user in request.user_ids or []] == users
    assert all((request.tweet_ids, request.shard) == (["1"], None) for request in requests)
    assert len(requests) == (1 if character == "a" else 4)


def test_the_users_of_a_large_request_are_shared_out() -> None:
    users = [f"{i:0128}" for i in range(20_000)]
    tweet_ids = ["\x01" * 124 + f"{i:04}" for i in range(1_000)]
    request = ScoreRequest(tweet_ids=tweet_ids, user_ids=users, deadline=5)
    parts = decoded(list(encode_request(request)))
    assert [user for part in parts for user in part.user_ids or []] == users
    assert all(msgspec.structs.replace(part, user_ids=users) == request for part in parts)


def test_an_ordinary_request_is_one_record() -> None:
    for request in (ScoreRequest(tweet_ids=["1"], shard=0), ScoreRequest(tweet_ids=["1"], user_ids=[])):
        assert decoded(list(encode_request(request))) == [request]


def test_what_is_around_the_value_counts_too() -> None:
    assert can_go_back(FakeRecord(b"v", b"k" * 1_000, headers=[("attempts", b"1")]))
    assert not can_go_back(FakeRecord(b"v", b"k" * 200_000))
    assert not can_go_back(FakeRecord(b"v", None, headers=[("h", b"v" * 200_000)]))
    assert not can_go_back(FakeRecord(b"v", None, headers=[("", b"")] * 20_000))
