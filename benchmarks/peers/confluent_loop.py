"""A loop of confluent-kafka (librdkafka): consume, answer, `produce` each prediction, flush, commit."""

from __future__ import annotations

from confluent_kafka import Consumer, Producer

from benchmarks.peers.service import BATCH, Service
from streamer.settings import Settings


def main() -> None:
    """Work until killed."""
    settings = Settings.load()
    kafka = settings.kafka
    tweets, requests, predictions = map(kafka.topic, ("tweets", "score-requests", "predictions"))
    service = Service.open(settings)
    producer = Producer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "enable.idempotence": True,
            "linger.ms": 50,  # `flush` does not wait for it
            "batch.size": 512 * 2**10,
            "queue.buffering.max.messages": 1_000_000,
            "compression.type": kafka.compression,
            "partitioner": "murmur2_random",
        }
    )
    consumer = Consumer(
        {
            "bootstrap.servers": kafka.bootstrap,
            "group.id": kafka.group("confluent"),
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 100,
        }
    )
    consumer.subscribe([tweets, requests])
    while True:
        messages = consumer.consume(BATCH, timeout=0.05)
        for topic, answer in ((tweets, service.tweets), (requests, service.requests)):
            values = [message.value() for message in messages if message.topic() == topic]
            if not values:
                continue
            for key, value in answer(values):
                while True:
                    try:
                        producer.produce(predictions, value, key)
                    except BufferError:
                        producer.poll(0.1)
                    else:
                        break
            producer.poll(0)
        if messages:
            producer.flush()
            consumer.commit(asynchronous=False)


if __name__ == "__main__":
    main()
