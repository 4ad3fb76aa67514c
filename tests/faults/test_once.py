"""Every tweet is answered, whatever happens to the workers; what is repeated is equal; little is repeated."""

from __future__ import annotations

import os
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import redis

from streamer.local.redis import LocalRedis
from streamer.local.worker import LocalWorker
from tests.faults.stream import Stream, all_alive, settings_for
from tests.models.tiny import tiny_bundle
from tests.streamer.processes import eventually

if TYPE_CHECKING:
    from streamer.local.kafka import LocalKafka

pytestmark = pytest.mark.fault

#: Tweets published at a time: more than both workers have in their hands at any moment (`max_batch_records`).
SLICE = 100
#: What of a slice is seen before the kill: claims (embedding is under way), then predictions.
CLAIMED = 20
PREDICTED = (100, 1_500)


class Claims:
    """How often a worker set out to compute a tweet, killed workers included.

    Redis tells of each key that was really set: a claim that was refused is not told.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._told = client.pubsub()  # type: ignore[no-untyped-call]
        self._told.subscribe("__keyevent@0__:set")
        self.count: Counter[str] = Counter()

    def read(self) -> Counter[str]:
        """The claims until now, by tweet id."""
        while (message := self._told.get_message(timeout=0.01)) is not None:
            key = message["data"]
            if isinstance(key, bytes) and key.startswith(b"claim:"):
                self.count[key.decode().rpartition(":")[2].strip("{}")] += 1
        return self.count


@contextmanager
def counted_claims(url: str) -> Iterator[Claims]:
    with redis.Redis.from_url(url) as client:
        client.config_set("notify-keyspace-events", "E$")
        try:
            yield Claims(client)
        finally:
            client.config_set("notify-keyspace-events", "")


@pytest.fixture(scope="module")
def crew(
    kafka: LocalKafka, redis_server: LocalRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Stream, list[LocalWorker]]]:
    """Two workers of all stages, and a stream they share."""
    folder: Path = tmp_path_factory.mktemp("once")
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    tiny_bundle(folder / "bundle")
    settings = settings_for(kafka.bootstrap, redis_server.url, folder / "bundle", f"once{os.getpid()}.")
    with Stream(settings) as flow, ExitStack() as stack:
        workers = [LocalWorker(settings, folder / f"worker{number}") for number in range(2)]
        for worker in workers:
            stack.callback(worker.close)
        with ThreadPoolExecutor() as side_by_side:
            list(side_by_side.map(LocalWorker.start, workers))
        flow.follow(all_alive(workers))
        yield flow, workers


def test_all_that_changes_a_user_is_read_by_one_worker(crew: tuple[Stream, list[LocalWorker]]) -> None:
    """Profiles and engagements change the same record: read by two workers, one would undo the other's."""
    read = []
    for worker in crew[1]:
        lines = [line for line in worker.log.read_text().splitlines() if " users: reads " in line]
        topics = dict(re.findall(r"(engagements|users) (\[[\d, ]+\])", lines[-1]))
        assert topics["users"] == topics["engagements"]
        read += re.findall(r"\d", topics["users"])
    assert sorted(read) == ["0", "1", "2", "3"]


def test_a_worker_killed_three_times(
    crew: tuple[Stream, list[LocalWorker]],
    redis_server: LocalRedis,
    record_property: Callable[[str, object], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    flow, (victim, survivor) = crew
    with counted_claims(redis_server.url) as claims:
        for predicted in (0, *PREDICTED):
            before = len(flow.found)
            flow.publish(SLICE, flush=bool(predicted))
            if predicted:
                flow.await_pairs(before + predicted)
            else:
                eventually(lambda: claims.read().total() >= CLAIMED, 30, "claims")
            assert not flow.expected <= flow.found.keys(), "killed when all was done"
            victim.kill()
            flow.publish(SLICE)  # goes on without it
            victim.start()
        flow.await_all()
        flow.done("embed", "score", alive=all_alive((victim, survivor)))
        started = claims.read()
    distinct = len(flow.published)
    assert set(started) == {tweet.tweet_id for tweet in flow.published}
    extra = started.total() - distinct
    # At each kill at most what the victim's embed stage had in its hands: one poll's records.
    assert extra <= 3 * flow.settings.kafka.max_batch_records
    survivors = survivor.metrics()
    assert survivors["streamer_duplicate_computations_total"] == 0
    # Of its own partitions; those of the other went through Kafka.
    assert survivors["streamer_records_handed_over_total"] > 0
    assert flow.records("score-requests") > 0
    assert flow.records("dead-letters") == 0
    flow.check_values()
    figures = {
        "distinct_tweets": distinct,
        "embeddings_minus_distinct_tweets": extra,
        "predictions": len(flow.found),
        "repeated_predictions": flow.repeated,
        "repeated_in_other_digits": flow.unequal,
    }
    for name, figure in figures.items():
        record_property(name, figure)
    with capsys.disabled():
        print(f"\nkilled three times: {figures}")


def test_a_worker_stopped_in_the_middle_repeats_nothing(crew: tuple[Stream, list[LocalWorker]]) -> None:
    flow, (stopped, other) = crew
    repeated, before = flow.repeated, len(flow.found)
    flow.publish(SLICE)
    flow.await_pairs(before + 1)
    assert not flow.expected <= flow.found.keys(), "stopped when all was done"
    started = time.monotonic()
    os.kill(stopped.pid, signal.SIGTERM)
    assert stopped.wait() == 0
    assert time.monotonic() - started < 10
    flow.await_all()
    flow.done("embed", "score", alive=other.check)
    flow.check_values()
    assert flow.repeated == repeated
