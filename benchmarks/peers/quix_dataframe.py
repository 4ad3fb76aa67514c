"""Quix Streams: a dataframe for each topic; each record is expanded to its predictions."""

from __future__ import annotations

from typing import Any

from quixstreams import Application
from quixstreams.models import BytesSerializer

from benchmarks.peers.service import Service
from streamer.settings import Settings


class _Value(BytesSerializer):
    """The second of a pair."""

    def __call__(self, value: Any, ctx: Any) -> Any:
        return value[1]


def main() -> None:
    """Work until killed."""
    settings = Settings.load()
    kafka = settings.kafka
    service = Service.open(settings)
    app = Application(
        broker_address=kafka.bootstrap,
        consumer_group=kafka.group("quix"),
        auto_offset_reset="earliest",
        auto_create_topics=False,
        loglevel="WARNING",
        producer_extra_config={
            "enable.idempotence": True,
            "linger.ms": 20,
            "queue.buffering.max.messages": 1_000_000,
            "compression.type": kafka.compression,
        },
    )
    predictions = app.topic(kafka.topic("predictions"), key_serializer="bytes", value_serializer=_Value())
    for name, work in (("tweets", service.tweets), ("score-requests", service.requests)):
        topic = app.topic(kafka.topic(name), key_deserializer="bytes", value_deserializer="bytes")
        answers = app.dataframe(topic).apply(lambda value, work=work: list(work([value])), expand=True)
        answers.to_topic(predictions, key=lambda answer: answer[0])
    app.run()


if __name__ == "__main__":
    main()
