"""Real servers for tests, and the order of the tests: quick ones first, the ones that kill processes last."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import redis

from streamer.local.redis import LocalRedis

if TYPE_CHECKING:
    from streamer.local.kafka import LocalKafka

#: Markers from cheap to dear. A test that uses one of the fixtures carries the marker without saying so.
_ORDER = {"redis": {"redis_server", "redis_url"}, "kafka": {"kafka"}, "fault": set[str]()}


def pytest_configure(config: pytest.Config) -> None:
    # kafka-python 3.0 reads its schemas with functions deprecated in Python 3.11 and 3.12 (not in 3.13).
    # Imported only after this: conftest files are imported under the bare "error" of pyproject.
    config.addinivalue_line("filterwarnings", "ignore:(read|open)_text is deprecated:DeprecationWarning")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for marker, fixtures in _ORDER.items():
            if fixtures & set(getattr(item, "fixturenames", ())):
                item.add_marker(marker)

    def rank(item: pytest.Item) -> int:
        return max(
            (place for place, marker in enumerate(_ORDER, 1) if item.get_closest_marker(marker)), default=0
        )

    items.sort(key=rank)


@pytest.fixture(scope="session")
def kafka() -> Iterator[LocalKafka]:
    """A real Kafka that all tests share: use `topic_prefix`; to kill one, start a LocalKafka of your own."""
    missing = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if missing and not os.environ.get("CI"):
        pytest.skip(f"no {' and no '.join(missing)} on PATH")
    from streamer.local.kafka import LocalKafka

    with LocalKafka() as server:
        yield server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[LocalRedis]:
    """A real Redis that all tests share; to kill one, start a LocalRedis of your own."""
    with LocalRedis() as server:
        yield server


@pytest.fixture
def redis_url(redis_server: LocalRedis) -> str:
    """The shared Redis, emptied."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def topic_prefix() -> str:
    """A prefix that makes this test's topics and groups its own."""
    return f"t{uuid.uuid4().hex[:8]}."
