"""Stages without Kafka: records go in as lists, outputs are carried from topic to topic by hand."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Any

import msgspec

from models.events import Prediction
from models.serving import ServingModel
from models.state.memory import MemoryAffinities, MemoryAudiences, MemoryUserVectors, memory_stores
from models.state.stores import Stores
from streamer.partitions import partition_of
from streamer.settings import Settings
from streamer.stage import Batch, Block, Outputs, Stage, StageUnavailable
from streamer.stages.embed import EmbedStage
from streamer.stages.follows import FollowsStage
from streamer.stages.score import ScoreStage
from streamer.stages.users import UsersStage
from streamer.stores import Changes
from streamer.tweets_at_hand import TweetsAtHand
from tests.streamer.blocks import read

#: A moment in the past at which the tests' events happen.
T0 = 1_700_000_000_000


class FakeRecord(msgspec.Struct):
    """A consumed record."""

    value: bytes | None
    key: bytes | None = None
    offset: int = 0
    timestamp: int = -1
    headers: Sequence[tuple[str, bytes]] = ()


class _Told:
    """Notices of stores in memory."""

    def __init__(self) -> None:
        self.changes = Changes()

    def poll(self) -> Changes | None:
        told, self.changes = self.changes, Changes()
        return told


class _ToldVectors(MemoryUserVectors):
    def __init__(self, told: _Told) -> None:
        super().__init__()
        self.told = told

    def put_many(self, vectors: Any) -> None:
        super().put_many(vectors)
        self.told.changes.users += vectors


class _ToldAudiences(MemoryAudiences):
    def __init__(self, told: _Told) -> None:
        super().__init__()
        self.told = told

    def change(self, changes: Any) -> None:
        changes = list(changes)
        super().change(changes)
        self.told.changes.audiences += [pair[:2] for pair, _, _ in changes]


class _ToldAffinities(MemoryAffinities):
    def __init__(self, told: _Told) -> None:
        super().__init__()
        self.told = told

    def put_many(self, records: Any) -> None:
        super().put_many(records)
        self.told.changes.affinities += [pair[:2] for pair in records]


class MemoryBackend:
    """Stores in memory and a model that is there already."""

    def __init__(self, model: ServingModel) -> None:
        plain, told = memory_stores(), _Told()
        self.stores = Stores(
            plain.tweets,
            plain.users,
            _ToldVectors(told),
            plain.tastes,
            _ToldAudiences(told),
            _ToldAffinities(told),
            plain.authors,
            plain.intake,
        )
        self.model = model
        self.notices = told
        #: Pauses asked for; nobody sleeps here.
        self.waited: list[float] = []
        self.interrupted = False

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def healthy(self) -> str | None:
        return None

    def interrupt(self) -> None:
        self.interrupted = True

    def wait(self, seconds: float) -> None:
        if self.interrupted:
            raise StageUnavailable("stopped while waiting")
        self.waited.append(seconds)


class Rig:
    """All four stages on one backend, and the topics between them."""

    def __init__(self, settings: Settings, backend: Any) -> None:
        self.settings, self.backend = settings, backend
        at_hand = TweetsAtHand()
        self.stages: dict[str, Stage] = {
            stage.name: stage
            for stage in (
                FollowsStage(settings, backend),
                UsersStage(settings, backend),
                EmbedStage(settings, backend, at_hand),
                ScoreStage(settings, backend, at_hand),
            )
        }
        #: Everything ever published: (topic, partition) to records.
        self.log: defaultdict[tuple[str, int], list[FakeRecord]] = defaultdict(list)
        self._queues: defaultdict[tuple[str, int], deque[FakeRecord]] = defaultdict(deque)
        self.origins: list[int] = []
        self.batch_records = 500

    def publish(
        self, topic: str, *events: msgspec.Struct | bytes | None, key: bytes | None = None, at: int = T0
    ) -> None:
        """Events onto a topic; its partition is that of the key, 0 without."""
        for event in events:
            value = msgspec.json.encode(event) if isinstance(event, msgspec.Struct) else event
            placed = self._key(event) if key is None and isinstance(event, msgspec.Struct) else key
            partition = 0 if placed is None else partition_of(placed, self.settings.kafka.partitions)
            self._append(topic, partition, FakeRecord(value, placed, timestamp=at))

    def run(self, rounds: int = 200) -> None:
        """Let every stage work until all queues are empty."""
        inputs = [(topic, stage) for stage in self.stages.values() for topic in stage.topics]
        for _ in range(rounds):
            busy = False
            for topic, stage in inputs:
                for place, queue in list(self._queues.items()):
                    if place[0] == topic and queue:
                        busy = True
                        records = [queue.popleft() for _ in range(min(len(queue), self.batch_records))]
                        self.process(stage.name, topic, place[1], records)
            if not busy:
                return
        raise AssertionError(f"still busy after {rounds} rounds")

    def process(self, stage: str, topic: str, partition: int, records: Sequence[Any]) -> list[Outputs]:
        """One delivery, as the worker would: again with what is left of it, until nothing is."""
        return self.process_all(stage, [Batch(topic, partition, records)])

    def process_all(self, stage: str, batches: Sequence[Batch]) -> list[Outputs]:
        """All that waits, as the worker would: again with what is left, until nothing is."""
        done: list[Outputs] = []
        while batches:
            outputs = self.stages[stage].process(batches)
            for group in outputs.groups:
                if isinstance(group, Block):
                    for record in read(group):
                        found = FakeRecord(record.value, record.key, 0, record.timestamp)
                        self._append(group.topic, group.partition, found)
                    continue
                assert len(group.keys) == len(group.values)
                for key, value in zip(group.keys, group.values, strict=True):
                    place = group.partition
                    if place is None:
                        place = partition_of(key or b"", self.settings.kafka.partitions)
                    at = int(time.time() * 1000) if group.timestamp is None else group.timestamp
                    self._append(group.topic, place, FakeRecord(value, key, 0, at, group.headers))
            assert all(len(rest) <= len(batches[place].records) for place, rest in outputs.rest.items())
            assert len(done) < 1_000, "no progress"
            self.origins += outputs.origins
            batches = [
                Batch(batches[place].topic, batches[place].partition, rest)
                for place, rest in outputs.rest.items()
            ]
            done.append(outputs)
            if batches and outputs.later.keys() == outputs.rest.keys():
                time.sleep(min(outputs.later.values()))  # all stay away for a while
        return done

    def records(self, topic: str) -> list[FakeRecord]:
        """What was published on a topic so far."""
        return [record for (name, _), records in self.log.items() if name == topic for record in records]

    def predictions(self) -> dict[tuple[str, str], Prediction]:
        """The last prediction of each tweet and user; all of the contract, keyed and placed by user."""
        found = {}
        for (topic, partition), records in self.log.items():
            for record in records if topic == "predictions" else ():
                assert record.value is not None
                prediction = msgspec.json.decode(record.value, type=Prediction)
                assert record.key == prediction.user_id.encode()
                assert partition == partition_of(record.key, self.settings.kafka.partitions)
                found[prediction.tweet_id, prediction.user_id] = prediction
        return found

    def dead_letters(self) -> list[tuple[str, bytes | None, dict[str, str]]]:
        """Reason, original value and all headers of each dead letter."""
        letters = []
        for record in self.records("dead-letters"):
            headers = {name: value.decode() for name, value in record.headers}
            letters.append((headers["reason"], record.value, headers))
        return letters

    def open(self) -> None:
        for stage in self.stages.values():
            stage.open()

    def close(self) -> None:
        for stage in self.stages.values():
            stage.close()

    def _append(self, topic: str, partition: int, record: FakeRecord) -> None:
        record.offset = len(self.log[topic, partition])
        self.log[topic, partition].append(record)
        self._queues[topic, partition].append(record)

    @staticmethod
    def _key(event: msgspec.Struct) -> bytes | None:
        fields = ("user_id", "author_id") if not hasattr(event, "text") else ("tweet_id",)
        found = (getattr(event, name, None) for name in fields)
        return next((value.encode() for value in found if value), None)
