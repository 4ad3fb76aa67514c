"""The record-batch transport against a stock Faust agent: agents that do nothing, on a real Kafka.

Both ack after the work (`noack`, then ack) and commit once a second; that each has committed every record is
checked before its figure counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from typing import Final

from confluent_kafka import Producer
from kafka.admin import KafkaAdminClient

from benchmarks.counting import ask
from benchmarks.options import Options
from benchmarks.result import Result, ratio
from benchmarks.systems import Peer
from models.events import MAX_TIME_MS
from streamer.client import topics
from streamer.client.connection import admin_client
from streamer.client.lag import wait_until_done
from streamer.local.kafka import LocalKafka
from streamer.settings import KafkaSettings, Settings

#: Records given to each: five seconds' worth, and three.
_STOCK, _BATCH = 20_000, 500_000
_TARGET: Final = 25
_PATIENCE_S: Final = 60.0
_LOOK_S: Final = 0.1


def run(options: Options) -> list[Result]:
    """See the module."""
    sizes = {"stock_agent": options.sized(_STOCK), "batch_agent": options.sized(_BATCH)}
    rates: dict[str, list[float]] = {module: [] for module in sizes}
    with LocalKafka(heap="1g") as kafka:
        for module, size in sizes.items():
            topics.create(settings := _settings(kafka, module, 0))
            _publish(settings, size)
        with admin_client(settings) as admin:
            for number in range(options.rounds):
                for module, size in sizes.items():
                    rates[module].append(_rate(module, size, _settings(kafka, module, number), admin))
                    options.say(f"  {module}: {rates[module][-1]:,.0f} records/s")
    ours, stock = rates["batch_agent"], rates["stock_agent"]
    name, peer = "record-batch transport, records/s", "stock Faust agent"
    return [
        Result(name=name, value=ratio(ours, stock), unit="x", target=_TARGET, peer=peer),
        Result(name=name, value=statistics.median(ours), unit="records/s"),
        Result(name=name, value=statistics.median(stock), unit="records/s", peer=peer),
    ]


def _settings(kafka: LocalKafka, module: str, number: int) -> Settings:
    prefix = f"{module}."
    return Settings(
        kafka=KafkaSettings(bootstrap=kafka.bootstrap, topic_prefix=prefix, group_prefix=f"{prefix}{number}.")
    )


def _publish(settings: Settings, count: int) -> None:
    servers = {"bootstrap.servers": settings.kafka.bootstrap}
    producer = Producer({**servers, "linger.ms": 20, "queue.buffering.max.messages": 1_000_000})
    topic = settings.kafka.topic("tweets")
    for value in _records(count):
        producer.produce(topic, value)
        producer.poll(0)
    assert not producer.flush(60)


def _records(count: int) -> Iterable[bytes]:
    """Of a tweet's size."""
    text = "some words of a tweet, as many as there are in most of them, and a #hashtag"
    for number in range(count):
        yield f'{{"tweet_id":"{number}","author_id":"1","created_at":{MAX_TIME_MS},"text":"{text}"}}'.encode()


def _rate(module: str, size: int, settings: Settings, admin: KafkaAdminClient) -> float:
    """Records a second of one run, all of which were committed."""
    with Peer(module, settings) as process:
        deadline = time.monotonic() + _PATIENCE_S
        while (count := ask(process.port)).records < size:
            process.check()
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"{module} took {count.records:,} of {size:,} records in {_PATIENCE_S:.0f} s"
                )
            time.sleep(_LOOK_S)
        wait_until_done(admin, settings, ["embed"], _PATIENCE_S, process.check)
        return count.rate
