"""Requests for tweets that are unknown wait for them, and cost little meanwhile."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from models.events import MAX_TIME_MS, ScoreRequest
from streamer.stage import Batch, Group
from streamer.stages import score
from tests.streamer.stages.rig import FakeRecord, MemoryBackend, Rig
from tests.streamer.stages.test_score import ask, put_tweet


class Clock:
    """Time that a test tells."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_700_000_000.0 + self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The stage's."""
    clock = Clock()
    monkeypatch.setattr(score, "time", clock)
    return clock


def request(tweet_ids: list[str], at: int, **fields: Any) -> FakeRecord:
    """A record that asks for user u."""
    asked = ScoreRequest(tweet_ids=tweet_ids, user_ids=["u"], **fields)
    return FakeRecord(msgspec.json.encode(asked), timestamp=at)


def test_they_wait_in_the_topic_until_they_come(rig: Rig, backend: MemoryBackend) -> None:
    put_tweet(backend, 1)
    now = int(time.time() * 1000)
    ask(rig, tweet_ids=["1", "2"], user_ids=["u"], at=now)
    (record,) = rig.log["score-requests", 0]
    record.headers = [("attempts", b"2")]
    rig.process("score", "score-requests", 0, [record])
    assert rig.predictions().keys() == {("1", "u")}
    back = rig.log["score-requests", 0][-1]
    assert back is not record
    assert (back.key, back.timestamp, list(back.headers)) == (record.key, now, list(record.headers))
    asked = msgspec.json.decode(back.value or b"", type=ScoreRequest)
    assert (asked.tweet_ids, asked.user_ids) == (["2"], ["u"])
    assert asked.deadline == now + 10_000  # as the record's time says, however often it goes round

    (away, sent) = rig.process("score", "score-requests", 0, [back])
    assert not away.groups
    assert away.later.keys() == {0}
    assert [group.topic for group in sent.groups] == ["score-requests"]
    assert backend.waited == []
    put_tweet(backend, 2)
    rig.run()
    assert rig.predictions().keys() == {("1", "u"), ("2", "u")}
    assert rig.dead_letters() == []


def test_they_stay_away_for_a_share_of_their_age(rig: Rig, backend: MemoryBackend, clock: Clock) -> None:
    """Nothing is written meanwhile, and what else is in their batch does not wait."""
    put_tweet(backend, 1)
    for age, away in ((0, 0.03), (2_000, 0.5), (8_000, 1.0)):
        stage, now = rig.stages["score"], int(clock.time() * 1000)
        batch = Batch("score-requests", 0, [request(["7"], now - age), request(["1"], now)])
        outputs = stage.process([batch])
        assert [group.topic for group in outputs.groups] == ["predictions"]
        assert outputs.later == {0: pytest.approx(away)}
        assert list(outputs.rest) == [0]
        # Not alone, it comes back too early.
        clock.now += away / 2
        more = Batch("score-requests", 0, [*outputs.rest[0], request(["1"], now)])
        outputs = stage.process([more])
        assert [group.topic for group in outputs.groups] == ["predictions"]
        assert outputs.later == {0: pytest.approx(away / 2)}
        clock.now += away / 2 + 0.001
        outputs = stage.process([Batch("score-requests", 0, outputs.rest[0])])
        assert [group.topic for group in outputs.groups] == ["score-requests"]
        assert not outputs.rest


def test_they_are_answered_when_they_come_meanwhile(rig: Rig, backend: MemoryBackend, clock: Clock) -> None:
    stage = rig.stages["score"]
    outputs = stage.process([Batch("score-requests", 0, [request(["1"], int(clock.time() * 1000))])])
    put_tweet(backend, 1)
    clock.now += 0.1
    outputs = stage.process([Batch("score-requests", 0, outputs.rest[0])])
    assert [group.topic for group in outputs.groups] == ["predictions"]


def test_they_do_not_hold_up_too_many_batches(rig: Rig, backend: MemoryBackend, clock: Clock) -> None:
    """The worker has room for few that are not done."""
    stage, now = rig.stages["score"], int(clock.time() * 1000)
    batches = [Batch("score-requests", place, [request(["7"], now)] * 2) for place in range(6)]
    outputs = stage.process(batches)
    assert {place: len(rest) for place, rest in outputs.rest.items()} == dict.fromkeys(range(4), 2)
    assert outputs.later.keys() == {0, 1, 2, 3}
    assert [(g.partition, len(g.values)) for g in outputs.groups if isinstance(g, Group)] == [
        (4, 2),
        (5, 2),
    ]
    assert backend.waited == [0.03]  # they come back at once: no spinning
    clock.now += 0.1
    outputs = stage.process(batches)
    assert len(outputs.rest) == 4


def test_those_that_never_come_are_written_seldom_and_not_for_ever(rig: Rig, clock: Clock) -> None:
    """Whatever the deadline."""
    begun, written = int(clock.time() * 1000), 0
    records: Sequence[Any] = [request(["7"], begun, deadline=MAX_TIME_MS)]
    while True:
        outputs = rig.stages["score"].process([Batch("score-requests", 0, records)])
        groups = [group for group in outputs.groups if isinstance(group, Group)]
        clock.now += 0.001 + max(outputs.later.values(), default=0)
        if [group.topic for group in groups] == ["dead-letters"]:
            break
        if groups:
            assert groups[0].timestamp == begun
            written += 1
        records = outputs.rest.get(0) or [FakeRecord(v, timestamp=begun) for v in groups[0].values]
        assert clock.time() * 1000 < begun + 100_000
    assert 59_000 < clock.time() * 1000 - begun < 62_000
    assert written < 80


def test_they_are_dead_letters_after_the_deadline(rig: Rig, backend: MemoryBackend) -> None:
    now = int(time.time() * 1000)
    ask(rig, tweet_ids=["7"], user_ids=["u"], at=now, deadline=now - 1)
    ask(rig, tweet_ids=["8"], shard=0, at=now - 11_000)
    rig.run()
    assert [(reason, headers["topic"], headers["attempts"]) for reason, _, headers in rig.dead_letters()] == [
        ("unknown_tweet", "score-requests", "1")
    ] * 2
    assert "7" in rig.dead_letters()[0][2]["error"]
    assert backend.waited == []


def test_they_wait_in_several_requests_where_one_would_be_too_large(rig: Rig, clock: Clock) -> None:
    """The broker took it compressed; what goes back is not."""
    users = [f"{i:0128}" for i in range(20_000)]
    asked = msgspec.json.encode(ScoreRequest(tweet_ids=["1"], user_ids=users))
    records: Sequence[Any] = [FakeRecord(asked, timestamp=int(clock.time() * 1000))]
    outputs = rig.stages["score"].process([Batch("score-requests", 0, records)])
    clock.now += 1.0
    outputs = rig.stages["score"].process([Batch("score-requests", 0, outputs.rest[0])])
    back = [value or b"" for group in outputs.groups if isinstance(group, Group) for value in group.values]
    assert max(map(len, back)) < 1_000_000
    requests = [msgspec.json.decode(value, type=ScoreRequest) for value in back]
    assert [user for request in requests for user in request.user_ids or []] == users


def test_they_do_not_wait_with_a_key_that_is_too_large(rig: Rig) -> None:
    ask(rig, tweet_ids=["1"], shard=0, at=int(time.time() * 1000))
    (record,) = rig.log["score-requests", 0]
    record.key = b"k" * 3_000_000
    rig.process("score", "score-requests", 0, [record])
    assert [reason for reason, _, _ in rig.dead_letters()] == ["too_large"]
    assert len(rig.log["score-requests", 0]) == 1


def test_what_was_handed_over_goes_to_the_topic_at_once(rig: Rig, backend: MemoryBackend) -> None:
    put_tweet(backend, 1)
    now = int(time.time() * 1000)
    batch = Batch("score-requests", 0, [request(["1", "2"], now), request(["3"], now)], handed=True)
    outputs = rig.stages["score"].process([batch])
    assert outputs.rest == {}
    back = [msgspec.json.decode(v or b"") for g in outputs.groups if isinstance(g, Group) for v in g.values]
    assert [asked["tweet_ids"] for asked in back] == [["2"], ["3"]]
