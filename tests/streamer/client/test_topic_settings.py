from __future__ import annotations

from kafka.admin import ConfigResource, ConfigResourceType

from streamer.client import topics
from streamer.client.connection import admin_client
from streamer.client.topic_settings import configs, losses
from streamer.client.topics import TOPICS
from streamer.settings import Settings
from tests.streamer.processes import eventually


def test_our_own_topics_keep_what_is_needed(created: Settings) -> None:
    with admin_client(created) as admin:
        found = configs(admin, created.kafka, TOPICS)
    assert set(found) == set(TOPICS)
    assert losses(created.kafka, found) == {}


def test_what_others_set_is_found_and_mended_by_what_is_said(settings: Settings) -> None:
    """Each topic with the setting that loses something."""
    kafka = settings.kafka
    worse = {
        "users": {"cleanup.policy": "delete"},
        "follows": {"retention.ms": "604800000"},
        "score-requests": {"retention.ms": "172800000"},
        "dead-letters": {"max.message.bytes": "1048588"},
        "predictions": {"retention.ms": "1000"},  # whatever people like
    }

    with admin_client(settings) as admin:
        admin.create_topics(
            {
                kafka.topic(name): {"num_partitions": 3, "replication_factor": 1, "configs": config}
                for name, config in worse.items()
            },
            wait_for_metadata=True,
        )
        topics.create(settings)
        found = losses(kafka, configs(admin, kafka, TOPICS))
        assert set(found) == {kafka.topic(name) for name in worse if name != "predictions"}
        assert found[kafka.topic("follows")][0].startswith("kept 7 days: ")
        assert found[kafka.topic("score-requests")][0].startswith("kept 2 days, tweets 7 days ")
        admin.alter_configs(
            [
                ConfigResource(ConfigResourceType.TOPIC, topic, dict([setting.split("=")]))
                for topic, (_, setting) in found.items()
            ]
        )
        # What is altered is there a moment later: a broker learns of it from the controller.
        eventually(lambda: losses(kafka, configs(admin, kafka, TOPICS)) == {}, 30, "the settings")


def test_topics_that_are_not_there_lose_nothing(settings: Settings) -> None:
    assert losses(settings.kafka, {}) == {}
    assert losses(settings.kafka, {"score-requests": {"retention.ms": "172800000"}}) == {}


def test_tweets_that_are_kept_forever_ask_for_requests_that_are(settings: Settings) -> None:
    found = {
        "tweets": {"retention.ms": "-1", "segment.ms": "604800000"},
        "score-requests": {"retention.ms": "172800000"},
    }
    [(problem, setting)] = losses(settings.kafka, found).values()
    assert problem.startswith("kept 2 days, tweets forever ")
    assert setting == "retention.ms=-1"
    assert losses(settings.kafka, found | {"score-requests": {"retention.ms": "-1"}}) == {}
