"""Idiomatic Faust: agents that `take` batches, answer them in a thread, and `send` each prediction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import faust

from benchmarks.peers.service import BATCH, Service
from streamer.settings import Settings

Work = Callable[[Sequence[bytes]], Iterator[tuple[bytes, bytes]]]


def main() -> None:
    """Work until killed."""
    settings = Settings.load()
    kafka = settings.kafka
    service = Service.open(settings)
    app = faust.App(
        kafka.group("faust"),
        broker=f"kafka://{kafka.bootstrap}",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
        producer_linger=0.02,
        producer_max_batch_size=256 * 2**10,
        producer_compression_type=kafka.codec,
        datadir="/tmp",
    )
    raw = {"key_serializer": "raw", "value_serializer": "raw"}
    predictions = app.topic(kafka.topic("predictions"), **raw)

    async def answer(stream: Any, work: Work) -> None:
        async for values in stream.take(BATCH, within=0.02):
            for key, value in await asyncio.to_thread(_all, work, values):
                await predictions.send(key=key, value=value)

    @app.agent(app.topic(kafka.topic("tweets"), **raw))
    async def tweets(stream: Any) -> None:
        await answer(stream, service.tweets)

    @app.agent(app.topic(kafka.topic("score-requests"), **raw))
    async def requests(stream: Any) -> None:
        await answer(stream, service.requests)

    faust.Worker(app, loglevel="WARN", redirect_stdouts=False).execute_from_commandline()


def _all(work: Work, values: Sequence[bytes]) -> list[tuple[bytes, bytes]]:
    return list(work(values))


if __name__ == "__main__":
    main()
