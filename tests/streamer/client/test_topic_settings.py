from __future__ import annotations

from kafka.admin import ConfigResource, ConfigResourceType

from streamer.client.connection import admin_client
from streamer.client.topic_settings import configs, losses
from streamer.client.topics import TOPICS
from streamer.settings import Settings


def test_our_own_topics_keep_what_is_needed(created: Settings) -> None:
    with admin_client(created) as admin:
        found = configs(admin, created.kafka, TOPICS)
    assert set(found) == set(TOPICS)
    assert losses(created.kafka, found) == {}


def test_what_others_set_is_found_and_mended_by_what_is_said(created: Settings) -> None:
    """Each topic with the setting that loses something."""
    kafka = created.kafka
    worse = {
        "users": {"cleanup.policy": "delete"},
        "follows": {"retention.ms": "604800000"},
        "score-requests": {"retention.ms": "172800000"},
        "dead-letters": {"max.message.bytes": "1048588"},
        "predictions": {"retention.ms": "1000"},  # whatever people like
    }

    def alter(settings: dict[str, dict[str, str]]) -> None:
        admin.alter_configs(
            [ConfigResource(ConfigResourceType.TOPIC, topic, config) for topic, config in settings.items()]
        )

    with admin_client(created) as admin:
        alter({kafka.topic(name): config for name, config in worse.items()})
        found = losses(kafka, configs(admin, kafka, TOPICS))
        assert set(found) == {kafka.topic(name) for name in worse if name != "predictions"}
        assert found[kafka.topic("follows")][0].startswith("kept 7 days: ")
        assert found[kafka.topic("score-requests")][0].startswith("kept 2 days, tweets 7 days ")
        alter({topic: dict([setting.split("=")]) for topic, (_, setting) in found.items()})
        assert losses(kafka, configs(admin, kafka, TOPICS)) == {}


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
