from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamer.settings import Settings

if TYPE_CHECKING:
    from streamer.local.kafka import LocalKafka


@pytest.fixture
def settings(kafka: LocalKafka, topic_prefix: str) -> Settings:
    """Settings of a real Kafka, with topics and groups of this test's own, not created yet."""
    return Settings.load(
        kafka={
            "bootstrap": kafka.bootstrap,
            "topic_prefix": topic_prefix,
            "group_prefix": topic_prefix,
            "partitions": 3,
        }
    )


@pytest.fixture
def created(settings: Settings) -> Settings:
    """The same, with the topics there."""
    from streamer.client import topics

    topics.create(settings)
    return settings
