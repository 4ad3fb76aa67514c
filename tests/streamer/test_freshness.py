"""What is left out is counted, and what is left out does not depend on chance."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest
from prometheus_client import REGISTRY

from streamer.freshness import Freshness
from streamer.ledger import Delivery
from streamer.runner import StageRunner
from streamer.settings import FreshnessSettings, KafkaSettings, Settings
from streamer.stage import Batch, Begun, Outputs, Perishable
from streamer.stages import STAGES, build
from tests.streamer.at_work import at_work
from tests.streamer.processes import Topics, Worker, eventually
from tests.streamer.raw import Raw

if TYPE_CHECKING:
    from streamer.local.kafka import LocalKafka


def delivery(first: int, count: int, end: int, partition: int = 0) -> Delivery:
    return Delivery("in", partition, [Raw(first + i, timestamp=-1) for i in range(count)], end=end)


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


def test_only_stages_without_state_leave_anything_out() -> None:
    stages = [build(name, Settings()) for name in STAGES]
    assert {stage.name for stage in stages if isinstance(stage, Perishable)} == {"embed", "score"}


def test_off_by_default() -> None:
    freshness = Freshness("off", FreshnessSettings())
    old = Delivery("in", 0, [Raw(0, timestamp=1)], end=10**9)
    assert freshness.worth(old, old.records) is old.records


def test_what_is_too_old_is_left_out_and_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamer.freshness.time.time", lambda: 1_000.0)
    freshness = Freshness("aged", FreshnessSettings(max_age_s=10))
    records = [Raw(0, 989_999), Raw(1, 990_000), Raw(2, 1_005_000), Raw(3, -1), Raw(4, 5)]
    given = Delivery("in", 0, records)
    assert [record.offset for record in freshness.worth(given, records)] == [1, 2, 3]
    assert sample("streamer_records_skipped_total", stage="aged", reason="too_old") == 2


def test_dropping_begins_above_and_ends_below(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    freshness = Freshness("hurried", FreshnessSettings(drop_above=100, drop_below=50))
    kept = []
    for first in range(0, 200, 10):  # at the second delivery, 110 wait behind it: 130 in all
        given = delivery(first, 10, 130 if first < 100 else 260)
        kept.append(len(freshness.worth(given, given.records)))
        assert sample("streamer_dropping_partitions", stage="hurried") == (kept[-1] == 0)
    # Behind the deliveries wait 120, 110, ..., 60, 50 (enough), ..., 30; then 150, 140, ..., 60.
    assert kept == [0] * 7 + [10] * 3 + [0] * 10
    assert sample("streamer_records_skipped_total", stage="hurried", reason="behind") == 170
    assert [record.getMessage() for record in caplog.records] == [
        "hurried: in[0] has 120 records waiting: dropping them until 50 are left",
        "hurried: in[0] is up to date but for 50 records: 70 were dropped",
        "hurried: in[0] has 150 records waiting: dropping them until 50 are left",
    ]


def test_partitions_are_apart_and_forgotten_when_they_go() -> None:
    freshness = Freshness("apart", FreshnessSettings(drop_above=100, drop_below=50))
    slow, quick = delivery(0, 5, 200, partition=0), delivery(0, 5, 60, partition=1)
    assert (list(freshness.worth(slow, slow.records)), len(freshness.worth(quick, quick.records))) == ([], 5)
    freshness.forget()
    assert sample("streamer_dropping_partitions", stage="apart") == 0
    again = delivery(100, 5, 200)  # 95 wait: too few to begin
    assert len(freshness.worth(again, again.records)) == 5


class Half(Begun):
    """Stands for a record that is half done."""

    def __init__(self, record: Raw) -> None:
        self.offset, self.timestamp, self.key, self.value, self.headers = record


def test_what_was_begun_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """However old it is by now, and whatever waits; what was not begun is left out."""
    monkeypatch.setattr("streamer.freshness.time.time", lambda: 1_000.0)
    aged = Freshness("aging", FreshnessSettings(max_age_s=10))
    behind = Freshness("hurrying", FreshnessSettings(drop_above=100, drop_below=50))
    begun, other = Half(Raw(0, 5)), Raw(1, 5)
    for freshness in (aged, behind):
        assert list(freshness.worth(delivery(0, 2, 200), [begun, other])) == [begun]
    assert sample("streamer_records_skipped_total", stage="aging", reason="too_old") == 1
    assert sample("streamer_records_skipped_total", stage="hurrying", reason="behind") == 1


def test_partitions_may_go_at_any_moment() -> None:
    """They go on the event loop, while the stage's thread asks."""

    class Moving:
        max_age_s, drop_above = 0.0, 100

        @property
        def drop_below(self) -> int:
            freshness.forget()
            return 50

    settings: Any = Moving()
    freshness = Freshness("moving", settings)
    slow, quick = delivery(0, 5, 200), delivery(0, 5, 45)
    assert list(freshness.worth(slow, slow.records)) == []  # forgotten while it begins
    freshness._dropped = {("in", 0): 5}
    assert list(freshness.worth(slow, slow.records)) == []  # and while it goes on
    freshness._dropped = {("in", 0): 5}
    assert len(freshness.worth(quick, quick.records)) == 5  # and while it ends
    assert sample("streamer_dropping_partitions", stage="moving") == 0


class Seen:
    name = "seen"
    topics = ("in",)
    perishable: Literal[True] = True

    def __init__(self) -> None:
        self.offsets: list[int] = []

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def process(self, batches: Sequence[Batch]) -> Outputs:
        # One of each at a time: the others are asked about again.
        self.offsets += [batch.records[0].offset for batch in batches]
        return Outputs(rest={place: batch.records[1:] for place, batch in enumerate(batches)})


class NoProducer:
    def pack(self, groups: object) -> list[object]:
        return []

    async def send(self, batches: object) -> None:
        """Nothing to send."""


async def test_what_is_left_out_is_done() -> None:
    stage, now = Seen(), int(time.time() * 1000)
    producer: Any = NoProducer()
    runner = StageRunner(stage, KafkaSettings(), producer, FreshnessSettings(max_age_s=60))
    mixed = Delivery("in", 0, [Raw(0, 5), Raw(1, now), Raw(2, 5), Raw(3, now)])
    stale = Delivery("in", 0, [Raw(4, 5), Raw(5, 5)])
    async with at_work(runner):
        await runner.take([stale, mixed])
        await runner.drain(5)
    assert stage.offsets == [1, 3]
    assert (mixed.done, stale.done, runner.progress) == (True, True, 2)


def test_a_backlog_on_a_real_broker(kafka: LocalKafka, topic_prefix: str, tmp_path: Path) -> None:
    """A worker that finds too much waiting goes to the end of it, and has everything committed."""
    topics = Topics(kafka.bootstrap, topic_prefix)
    values = [b"%d" % number for number in range(4_000)]
    topics.publish(values)
    limits = {
        "STREAMER_FRESHNESS__DROP_ABOVE": "300",
        "STREAMER_FRESHNESS__DROP_BELOW": "100",
        "STREAMER_KAFKA__MAX_BATCH_RECORDS": "50",
    }
    with Worker(tmp_path / "log", kafka.bootstrap, topic_prefix, **limits) as worker:
        worker.ready()
        eventually(lambda: topics.uncommitted() == 0, 20, "all committed")
        eventually(lambda: worker.metric("streamer_records_in_total") == 4_000, 10, "all counted")
        skipped = worker.metric("streamer_records_skipped_total")
        assert worker.metric("streamer_dropping_partitions") == 0
        assert skipped + topics.count() == 4_000
        assert 400 <= topics.count() <= 4 * 150  # what waited when it stopped, and the delivery before that
        assert worker.text.count("dropping them until 100 are left") == 4
        assert worker.text.count("were dropped") == 4
        topics.publish([b"fresh"])
        topics.predictions([b"fresh"])
