from __future__ import annotations

import pytest
from kafka.admin import ConfigResource, ConfigResourceType

from models.events import Engagement
from streamer.client import topics
from streamer.client.connection import ClientError, admin_client
from streamer.client.publisher import publisher
from streamer.local.mock_broker import API_VERSION, MockBroker
from streamer.settings import Settings


def test_create_makes_what_is_missing_and_leaves_the_rest(settings: Settings) -> None:
    first = topics.create(settings)
    assert set(first) == set(topics.TOPICS)
    assert all(first.values())
    assert not any(topics.create(settings).values())
    assert [len(state.partitions) for state in topics.describe(settings)] == [3] * len(topics.TOPICS)


def test_users_are_compacted_and_follows_kept(created: Settings) -> None:
    names = [created.kafka.topic(name) for name in ("users", "follows", "tweets")]
    with admin_client(created) as admin:
        answer = admin.describe_configs(
            [ConfigResource(ConfigResourceType.TOPIC, name) for name in names], config_filter="all"
        )
    configs = answer["topic"] if "topic" in answer else answer[ConfigResourceType.TOPIC]
    value = {name: {key: entry["value"] for key, entry in configs[name].items()} for name in names}
    assert value[names[0]]["cleanup.policy"] == "compact"
    assert value[names[1]]["retention.ms"] == "-1"
    assert value[names[2]]["cleanup.policy"] == "delete"


def test_requests_are_kept_as_long_as_the_oldest_tweet_there_may_be() -> None:
    """They carry its time, and Kafka drops by time: also what was written a moment ago."""
    kept = {name: int(topics.TOPICS[name].config["retention.ms"]) for name in ("tweets", "score-requests")}
    segment = 7 * 86_400_000  # `segment.ms` by default: what a broker drops, it drops by whole segments
    assert kept["score-requests"] >= kept["tweets"] + segment


def test_create_refuses_topics_of_other_partitions_before_it_makes_any(settings: Settings) -> None:
    with admin_client(settings) as admin:
        admin.create_topics(
            {settings.kafka.topic("tweets"): {"num_partitions": 2, "replication_factor": 1}},
            wait_for_metadata=True,
        )
    with pytest.raises(ClientError, match=r"= 3 in their number of partitions \(\S+tweets 2\).*runbook"):
        topics.create(settings)
    with admin_client(settings) as admin:
        assert topics.existing(admin, settings, topics.TOPICS) == {"tweets": 2}


def test_create_refuses_when_all_have_another_number(created: Settings) -> None:
    other = created.model_copy(update={"kafka": created.kafka.model_copy(update={"partitions": 4})})
    with pytest.raises(ClientError, match=r"`kafka.partitions` = 4 .*users 3\)"):
        topics.create(other)


def test_dead_letters_may_have_any_number_of_partitions(settings: Settings) -> None:
    with admin_client(settings) as admin:
        name = settings.kafka.topic("dead-letters")
        admin.create_topics({name: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True)
    assert not topics.create(settings)["dead-letters"]


def test_describe_counts_records(created: Settings) -> None:
    with publisher(created) as sender:
        for i in range(7):
            sender.send("engagements", Engagement(user_id=str(i), tweet_id="1", action="like", at=i))
    state = {state.name: state for state in topics.describe(created)}
    assert state["engagements"].records == 7
    assert state["tweets"].records == 0


def test_describe_before_anything_was_created(settings: Settings) -> None:
    assert [state.partitions for state in topics.describe(settings)] == [[]] * len(topics.TOPICS)
    with pytest.raises(ClientError, match="streamer topics create"):
        topics.require(settings, ["tweets"])


def test_the_mock_broker_makes_topics_when_asked_about_them() -> None:
    with MockBroker() as broker:
        settings = Settings.load(kafka={"bootstrap": broker.bootstrap, "api_version": API_VERSION})
        assert all(topics.create(settings).values())
        assert not any(topics.create(settings).values())
        assert {len(state.partitions) for state in topics.describe(settings)} == {4}


def test_nobody_there_is_one_line() -> None:
    settings = Settings.load(kafka={"bootstrap": "127.0.0.1:9"})
    with pytest.raises(ClientError, match=r"cannot reach Kafka at 127\.0\.0\.1:9: .*start it") as caught:
        topics.describe(settings)
    assert "\n" not in str(caught.value)
