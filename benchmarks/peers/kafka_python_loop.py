"""A loop of kafka-python: poll, answer, `producer.send` for each prediction, flush, commit."""

from __future__ import annotations

from kafka import KafkaConsumer, KafkaProducer

from benchmarks.peers.service import BATCH, Service
from streamer.settings import Settings


def main() -> None:
    """Work until killed."""
    settings = Settings.load()
    kafka = settings.kafka
    tweets, requests, predictions = map(kafka.topic, ("tweets", "score-requests", "predictions"))
    service = Service.open(settings)
    producer = KafkaProducer(
        bootstrap_servers=kafka.bootstrap,
        acks="all",
        enable_idempotence=True,
        linger_ms=50,  # `flush` does not wait for it
        batch_size=256 * 2**10,
        compression_type=kafka.codec,
        metrics_enabled=False,
    )
    consumer = KafkaConsumer(
        tweets,
        requests,
        bootstrap_servers=kafka.bootstrap,
        group_id=kafka.group("kafka-python"),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        max_poll_records=BATCH,
        metrics_enabled=False,
    )
    while True:
        for partition, records in consumer.poll(timeout_ms=100).items():
            answer = service.tweets if partition.topic == tweets else service.requests
            for key, value in answer([record.value for record in records]):
                producer.send(predictions, key=key, value=value)
        producer.flush()
        consumer.commit()


if __name__ == "__main__":
    main()
