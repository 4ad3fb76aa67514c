"""What is measured in: a real Kafka, a real Redis, a bundle, and topics of its own for every run.

Knows how systems (our worker, or a peer) are started and fed, and what they cost while they work. Knows
nothing of what they do.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import count
from pathlib import Path
from typing import Any, Final, Self

import msgspec
import psutil
import redis
from confluent_kafka import Producer
from kafka import KafkaConsumer, TopicPartition

from benchmarks.model import TEXT, make_bundle, user_vectors
from benchmarks.systems import Ours, Peer, System
from benchmarks.workload import Workload, user_states
from models.events import Prediction, ScoreRequest, Tweet
from models.recipe import Bag, Transformer
from models.serving import ServingModel
from models.state.stores import Stores
from models.state.user import UserState
from streamer.client import topics
from streamer.client.connection import admin_client, raw_consumer
from streamer.client.subscriber import decode_pair
from streamer.local.kafka import LocalKafka
from streamer.local.process import LocalServerError
from streamer.local.redis import LocalRedis
from streamer.settings import KafkaSettings, RedisSettings, Settings
from streamer.stores import RedisConnection, redis_stores

#: Users' states are drawn from so many: what differs costs memory here and changes no time.
_DISTINCT: Final = 1_000
_PAST: Final = range(-2_000, 0)
#: Ids of 20 digits in a request, so that it stays below Kafka's limit of 1 MB.
_MOST_NAMED: Final = 20_000
#: Longest pause between looks at how many predictions there are; a look costs the broker 0.3 ms.
_LOOK_S: Final = 0.05
#: As large as predictions are. The first 100,000 cost 4.8 µs of the broker's time each, later ones 2 to 4.
_WARM_RECORDS: Final = 200_000
_WARM_VALUE: Final = bytes(330)
#: How long a system may take to answer first. kafka-python 3.0.12 goes round in `ensure_coordinator_ready`
#: for good in one start of forty (its issues 2373 and 2695); all else answers within seconds.
_WARM_S: Final = 60.0
#: Predictions of each partition that are looked at.
_SAMPLE: Final = 2_000

_encode = msgspec.json.Encoder().encode


class Silent(LocalServerError):  # noqa: N818 - it names a state
    """A system did not do in time what it was asked for."""

    def __init__(self, peer: bool, why: str) -> None:
        super().__init__(why)
        self.peer = peer


class Rig:
    """Servers with nothing in them, and the bundle. A context."""

    def __init__(self, workload: Workload, text: Transformer | Bag = TEXT) -> None:
        self.workload, self._text = workload, text
        self._stack = ExitStack()
        self._prefixes = count(1)

    def __enter__(self) -> Self:
        with self._stack:
            self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            self.bundle = make_bundle(self.folder / "bundle", self.workload.texts, self._text)
            self.kafka = self._stack.enter_context(LocalKafka(heap="1g"))
            self.redis = self._stack.enter_context(LocalRedis())
            self.client = self._stack.enter_context(redis.Redis.from_url(self.redis.url))
            self._warm_broker()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _warm_broker(self) -> None:
        """Let Java compile what every run needs: a fresh broker takes several times the processor time."""
        with self.settings() as settings:
            producer = _producer(settings)
            for number in range(_WARM_RECORDS):
                producer.produce(settings.kafka.topic("predictions"), _WARM_VALUE, b"%d" % number)
                producer.poll(0)
            producer.flush()

    @cached_property
    def model(self) -> ServingModel:
        """The bundle, loaded here."""
        return ServingModel.load(self.bundle, "cpu")

    @cached_property
    def stores(self) -> Stores:
        """The stores in Redis."""
        connection = RedisConnection(RedisSettings(url=self.redis.url, timeout_s=60))
        self._stack.callback(connection.close)
        return redis_stores(connection, self.model.fingerprint)

    @cached_property
    def states(self) -> list[UserState]:
        """What a thousand users have done."""
        return user_states(_DISTINCT, list(self.workload.tweets(_PAST)))

    @cached_property
    def vectors(self) -> list[bytes]:
        """What the model makes of them."""
        return user_vectors(self.model, self.states, list(self.workload.tweets(_PAST)))

    def use(self, workload: Workload) -> None:
        """Fill Redis with another workload."""
        self.workload = workload
        self.fill()

    def fill(self) -> None:
        """Empty Redis, and fill it with the state of the workload."""
        self.client.flushall()
        self.workload.fill(self.stores, KafkaSettings().partitions, self.states, self.vectors)

    def forget_tweets(self) -> None:
        """Remove every tweet vector, and what was counted of authors: tweets are new again."""
        for pattern in ("tweet:*", "claim:*", "author:*"):
            keys = list(self.client.scan_iter(pattern, 10_000))
            for start in range(0, len(keys), 10_000):
                self.client.unlink(*keys[start : start + 10_000])

    @contextmanager
    def settings(self, **values: Any) -> Iterator[Settings]:
        """Settings with topics of their own, which are there as long as the context."""
        prefix = f"b{next(self._prefixes)}."
        settings = Settings(
            kafka=KafkaSettings(bootstrap=self.kafka.bootstrap, topic_prefix=prefix, group_prefix=prefix),
            redis=RedisSettings(url=self.redis.url),
            bundle=self.bundle,
            device="cpu",
            **values,
        )
        topics.create(settings)
        try:
            yield settings
        finally:
            with admin_client(settings) as admin:
                admin.delete_topics([settings.kafka.topic(name) for name in topics.TOPICS])


@dataclass(frozen=True)
class Drained:
    """What it took to answer what was published: seconds on the clock, and of processors by process."""

    predictions: int
    seconds: float
    cpu: dict[str, float]

    @property
    def rate(self) -> float:
        """Predictions a second."""
        return self.predictions / self.seconds


class Stream:
    """The topics around one running system. A context."""

    def __init__(self, rig: Rig, settings: Settings, system: System) -> None:
        self.rig, self.settings, self.system = rig, settings, system
        self._stack = ExitStack()
        self._processes = {
            "system": list(map(psutil.Process, system.pids)),
            "kafka": [psutil.Process(rig.kafka.pid)],
            "redis": [psutil.Process(rig.redis.pid)],
            "bench": [psutil.Process()],
        }

    def __enter__(self) -> Self:
        with self._stack:
            self._consumer: KafkaConsumer = self._stack.enter_context(raw_consumer(self.settings))
            self._producer = _producer(self.settings)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        del self._producer  # it would go on looking for its broker

    @property
    def rss(self) -> int:
        """The system's resident bytes."""
        return sum(int(process.memory_info().rss) for process in self._processes["system"])

    def visible(self, topic: str = "predictions") -> int:
        """How many predictions there are."""
        return sum(self._consumer.end_offsets(self._parts(topic)).values())

    def _parts(self, topic: str) -> list[TopicPartition]:
        name = self.settings.kafka.topic(topic)
        return [TopicPartition(name, number) for number in range(self.settings.kafka.partitions)]

    def first_predictions(self, count: int = _SAMPLE) -> dict[tuple[str, str], Prediction]:
        """The first so many of each partition, by tweet and user. They are those of the warm-up."""
        parts = self._parts("predictions")
        ends = self._consumer.end_offsets(parts)
        found: dict[tuple[str, str], Prediction] = {}
        for part in parts:
            self._consumer.assign([part])
            self._consumer.seek_to_beginning()
            while (at := self._consumer.position(part)) < min(count, ends[part]):
                for record in self._consumer.poll(1_000, max_records=count - at).get(part, ()):
                    prediction = decode_pair(record.value)
                    found[prediction.tweet_id, prediction.user_id] = prediction
        return found

    def publish(self, events: Iterable[Tweet | ScoreRequest]) -> None:
        """Publish durably, as fast as it goes."""
        for event in events:
            self.send(event)
        self.flush()

    def send(self, event: Tweet | ScoreRequest) -> None:
        """Queue one event."""
        kind, id_ = (
            ("tweets", event.tweet_id) if isinstance(event, Tweet) else ("score-requests", event.tweet_ids[0])
        )
        self._producer.produce(self.settings.kafka.topic(kind), _encode(event), id_)
        self._producer.poll(0)

    def flush(self) -> None:
        """Return once all that was sent is durable."""
        left = self._producer.flush(30)
        assert not left, f"Kafka did not take {left} records"

    def drain(self, events: Sequence[Tweet | ScoreRequest], expected: int, within: float = 300.0) -> Drained:
        """Publish, and wait until `expected` more predictions are there: the clock runs from the first
        record published to the last prediction visible. Raises `LocalServerError` when they do not come.
        """
        before, wanted = self._cpu(), self.visible() + expected
        started = time.perf_counter()
        self.publish(events)
        self.wait(wanted, within)
        seconds = time.perf_counter() - started
        after = self._cpu()
        return Drained(expected, seconds, {name: after[name] - before[name] for name in after})

    def wait(self, wanted: int, within: float = 300.0) -> None:
        """Return once there are so many predictions, and not one more. Raises `LocalServerError`."""
        self.until(lambda: self.visible() >= wanted, f"{wanted:,} predictions", within)
        if (there := self.visible()) > wanted:
            raise LocalServerError(
                f"{self.system.name}: {there:,} predictions where {wanted:,} were asked for"
            )

    def until(self, condition: Callable[[], bool], what: str, within: float = 300.0) -> None:
        """Return once it holds. Raises `LocalServerError` when the system ends, or it does not."""
        started = time.monotonic()
        while not condition():
            self.system.check()
            if (waited := time.monotonic() - started) > within:
                log = self.system.log.read_text(errors="replace")[-2000:]
                raise Silent(
                    isinstance(self.system, Peer),
                    f"{self.system.name}: not {what} after {within:.0f} s, and "
                    f"{self.visible('dead-letters'):,} dead letters; its log ends with\n{log}",
                )
            time.sleep(min(_LOOK_S, 0.001 + waited / 50))

    def _cpu(self) -> dict[str, float]:
        return {
            name: sum(used.user + used.system for used in map(psutil.Process.cpu_times, processes))
            for name, processes in self._processes.items()
        }


def _producer(settings: Settings) -> Producer:
    """librdkafka's: the least of the processors' time goes into feeding."""
    return Producer(
        {
            "bootstrap.servers": settings.kafka.bootstrap,
            "partitioner": "murmur2",
            "linger.ms": 0,
            "queue.buffering.max.messages": 1_000_000,
        }
    )


@contextmanager
def running(
    rig: Rig, start: Callable[[Settings], System] = Ours, *, warm_up: int = 64, **values: Any
) -> Iterator[Stream]:
    """A system that has answered `warm_up` tweets, numbered from -2 * `warm_up` on, and requests for those
    whose readers fit a record of Kafka's by name.

    A peer that does not is started once more.
    """
    with ExitStack() as stack:
        try:
            stream = stack.enter_context(_warm(rig, start, warm_up, values))
        except Silent as silent:
            if not silent.peer:
                raise
            stream = stack.enter_context(_warm(rig, start, warm_up, values))
        yield stream


@contextmanager
def _warm(
    rig: Rig, start: Callable[[Settings], System], warm_up: int, values: Mapping[str, Any]
) -> Iterator[Stream]:
    with (
        rig.settings(**values) as settings,
        start(settings) as system,
        Stream(rig, settings, system) as stream,
    ):
        numbers = range(-2 * warm_up, -warm_up)
        expected = rig.workload.readers(numbers)
        stream.drain(list(rig.workload.tweets(numbers)), expected, _WARM_S)
        few = [number for number in numbers if rig.workload.readers([number]) <= _MOST_NAMED]
        stream.drain(list(rig.workload.requests(few)), rig.workload.readers(few))
        yield stream
