"""Whatever arrives, the stream goes on: each bad record leaves with its reason, and nothing else is lost."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.events import Engagement, Follow, ScoreRequest, Tweet, User
from models.serving import ServingModel
from streamer.settings import Settings
from tests.streamer.stages.rig import T0, FakeRecord, MemoryBackend, Rig

TWEET = '{"tweet_id":"1","author_id":"2","created_at":%s,%s}'
ENGAGEMENT = '{"user_id":"1","tweet_id":"2","action":"%s","at":%s}'
NEXT_YEAR = 4_000_000_000_000

TOPICS = (Tweet, Engagement, Follow, User, ScoreRequest)

#: Topic, value, reason.
BAD: list[tuple[str, bytes | None, str]] = [
    ("tweets", b"\xff\xfe{}", "not_utf8"),
    ("tweets", TWEET.encode() % (b"1", b'"text":"\xc3("'), "not_utf8"),
    ("tweets", TWEET.encode() % (b"1", b'"text":"x","unknown":"\xff"'), "not_utf8"),
    ("tweets", b"", "not_json"),
    ("tweets", b"hello", "not_json"),
    ("tweets", b'{"tweet_id":"1"', "not_json"),
    ("tweets", TWEET.encode() % (b"1", b'"text":"\\ud800"'), "not_json"),
    ("tweets", TWEET.encode() % (b"1", b'"text":"x","unknown":' + b"[" * 100_000), "not_json"),
    ("tweets", b"[]", "wrong_shape"),
    ("tweets", b"null", "wrong_shape"),
    ("tweets", b'{"tweet_id":1,"author_id":"2","created_at":1,"text":"x"}', "wrong_shape"),
    ("tweets", TWEET.encode() % (b"1", b'"text":["x"]'), "wrong_shape"),
    ("tweets", TWEET.encode() % (b"1.5", b'"text":"x"'), "wrong_shape"),
    ("tweets", b'{"author_id":"2","created_at":1,"text":"x"}', "missing_field"),
    ("tweets", b'{"tweet_id":"","author_id":"2","created_at":1,"text":"x"}', "bad_value"),
    ("tweets", TWEET.encode() % (b"1", b'"text":"x","kind":"shout"'), "bad_value"),
    ("tweets", TWEET.encode() % (b"1", b'"text":"x","text_tokens":[1]'), "text_or_tokens"),
    ("tweets", TWEET.encode() % (b"1", b'"language":"en"'), "text_or_tokens"),
    ("tweets", TWEET.encode() % (b"1", b'"text":" \\n "'), "empty_text"),
    ("tweets", TWEET.encode() % (b"1", b'"text":""'), "empty_text"),
    ("tweets", TWEET.encode() % (b"1", b'"text_tokens":[]'), "empty_text"),
    ("tweets", TWEET.encode() % (b"1", b'"text_tokens":[5,999999]'), "unknown_token"),
    ("tweets", TWEET.encode() % (b"1", b'"text_tokens":[-5]'), "bad_value"),
    ("tweets", TWEET.encode() % (b"1", b'"text":"%s"' % (b"x" * 1_000_000)), "too_large"),
    ("tweets", TWEET.encode() % (b"1", b'"text_tokens":[%s]' % b",".join([b"1"] * 5000)), "too_large"),
    ("tweets", TWEET.encode() % (b"NaN", b'"text":"x"'), "not_json"),
    ("tweets", TWEET.encode() % (b"Infinity", b'"text":"x"'), "not_json"),
    ("tweets", TWEET.encode() % (b"-1", b'"text":"x"'), "bad_time"),
    ("tweets", TWEET.encode() % (b"1e300", b'"text":"x"'), "wrong_shape"),
    ("tweets", TWEET.encode() % (b"9" * 400, b'"text":"x"'), "bad_time"),
    ("tweets", TWEET.encode() % (b"%d" % NEXT_YEAR, b'"text":"x"'), "bad_time"),
    ("tweets", None, "tombstone"),
    ("engagements", ENGAGEMENT.encode() % (b"shout", b"1"), "unknown_action"),
    ("engagements", ENGAGEMENT.encode() % (b"like", b"1" * 30), "bad_time"),
    ("engagements", ENGAGEMENT.encode() % (b"like", b"%d" % NEXT_YEAR), "bad_time"),
    ("engagements", None, "tombstone"),
    ("follows", b'{"follower_id":"1","author_id":"2","action":"block","at":1}', "unknown_action"),
    ("follows", b'{"follower_id":"1","author_id":"2","action":"follow","at":%d}' % NEXT_YEAR, "bad_time"),
    ("follows", None, "tombstone"),
    ("users", b'{"followers":1}', "missing_field"),
    ("users", b'{"user_id":"1","followers":-1}', "bad_value"),
    ("users", b'{"user_id":"1","description":"%s"}' % (b"x" * 30_000), "too_large"),
    ("score-requests", b'{"tweet_ids":[],"shard":0}', "bad_value"),
    ("score-requests", b'{"tweet_ids":["1"]}', "wrong_shape"),
    ("score-requests", b'{"tweet_ids":["1"],"shard":0,"user_ids":["1"]}', "wrong_shape"),
    ("score-requests", b'{"tweet_ids":["1"],"shard":70000}', "bad_value"),
    ("score-requests", b'{"tweet_ids":["404"],"shard":0,"deadline":1}', "unknown_tweet"),
    ("score-requests", None, "tombstone"),
]
FIELDS = sorted({name for struct in TOPICS for name in struct.__struct_fields__})


def good(rig: Rig, topic: str) -> bool:
    """Publish a good record, and see that it does its work."""
    backend, before = rig.backend, len(rig.records("predictions"))
    rig.publish("tweets", Tweet(tweet_id="g", author_id="a", created_at=T0, text="good", audience=["u"]))
    rig.publish("follows", Follow(follower_id="u", author_id="a", action="follow", at=T0))
    rig.publish("users", User(user_id="u", followers=3))
    rig.publish("engagements", Engagement(user_id="u", tweet_id="g", action="like", at=T0))
    rig.run()
    state = backend.stores.users.get_many(["u"])[0]
    assert state is not None
    return (
        len(rig.records("predictions")) > before
        and state.profile() is not None
        and len(state.items) == 1
        and sum(backend.stores.audiences.sizes([("a", shard) for shard in range(4)]).tolist()) == 1
    )


@pytest.mark.parametrize(
    ("topic", "value", "reason"),
    BAD,
    ids=[f"{topic}-{reason}-{i}" for i, (topic, _, reason) in enumerate(BAD)],
)
def test_bad_record(rig: Rig, topic: str, value: bytes | None, reason: str) -> None:
    stage = next(stage.name for stage in rig.stages.values() if topic in stage.topics)
    key = None if topic == "users" else b"\xffkey"
    rig.process(stage, topic, 3, [FakeRecord(value, key, 41, T0, [("attempts", b"2"), ("other", b"x")])])
    (letter,) = rig.records("dead-letters")
    assert letter.value == value
    assert letter.key == key
    headers = dict(letter.headers)
    assert headers.pop("error")
    assert headers == {
        "reason": reason.encode(),
        "topic": topic.encode(),
        "partition": b"3",
        "offset": b"41",
        "attempts": b"2",
    }
    assert sum(len(name) + len(value) for name, value in letter.headers) < 1_000
    assert good(rig, topic)
    assert len(rig.records("dead-letters")) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    topic=st.sampled_from(["tweets", "engagements", "follows", "users", "score-requests"]),
    value=st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(
                    st.sampled_from(FIELDS),
                    inner,
                    max_size=8,
                )
            ),
            max_leaves=12,
        ).map(msgspec.json.encode),
    ),
    key=st.none() | st.binary(max_size=5),
)
def test_no_bytes_stop_a_stage(model: ServingModel, topic: str, value: bytes, key: bytes | None) -> None:
    rig = Rig(Settings(request_wait_s=0), MemoryBackend(model))
    rig.open()
    rig._append(topic, 0, FakeRecord(value, key, 0, T0))
    rig.run()


def test_duplicates_and_disorder_are_no_errors(rig: Rig) -> None:
    tweet = Tweet(tweet_id="1", author_id="a", created_at=T0, text="x", audience=["u"])
    rig.publish("engagements", Engagement(user_id="u", tweet_id="1", action="like", at=T0 + 5))
    rig.publish("tweets", tweet, tweet)
    rig.publish("engagements", Engagement(user_id="u", tweet_id="1", action="like", at=T0 + 5))
    rig.publish("follows", Follow(follower_id="u", author_id="a", action="unfollow", at=T0))
    rig.run()
    assert rig.dead_letters() == []
    assert rig.predictions().keys() == {("1", "u")}
