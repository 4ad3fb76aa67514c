"""A stock Faust agent that does nothing: each event acked after it, nothing acked before."""

from __future__ import annotations

import time
from typing import Any, Final

import faust
from mode.supervisors import CrashingSupervisor

from benchmarks.counting import Counting
from streamer.settings import Settings

_POLL: Final = 5_000


def main() -> None:
    """Work until killed."""
    kafka = (settings := Settings.load()).kafka
    counting = Counting(settings)
    app = faust.App(
        kafka.group("embed"),
        broker=f"kafka://{kafka.bootstrap}",
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=kafka.commit_interval_s,
        broker_max_poll_records=_POLL,
        datadir="/tmp",
    )
    topic = app.topic(kafka.topic("tweets"), key_serializer="raw", value_serializer="raw")

    @app.agent(topic, supervisor_strategy=CrashingSupervisor)
    async def tweets(stream: Any) -> None:
        async for event in stream.noack().events():
            counting.took(1, time.perf_counter())
            event.ack()

    faust.Worker(app, loglevel="WARN", redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    main()
