"""The Faust side of a worker: an app per stage, and one that holds them together.

A stage's app (`StageApp`) has its own consumer group, one agent and no producer, tables or web server. The
worker's app (`WorkerApp`) reads nothing itself: it starts the shared producer, the stages' apps side by side,
the web server and the watchdog, and stops them in the order that loses and repeats least. It is also
`streamer.app:app`, for `faust -A streamer.app worker`. Knows nothing of what stages do.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from typing import Any

import faust
from faust.app.base import BootStrategy
from faust.tables.manager import TableManager
from faust.types import TP
from mode.supervisors import CrashingSupervisor

from streamer import lag, metrics
from streamer.http import HttpServer
from streamer.lag import Lag
from streamer.producer import Producer
from streamer.runner import StageRunner
from streamer.settings import Settings, SettingsError
from streamer.stage import Stage
from streamer.turns import Turns
from streamer.watchdog import Watchdog

logger = logging.getLogger(__name__)

#: How long a batch under way may hold up a rebalance, and a stop. Docker kills what has not stopped in 10 s.
_DRAIN_REBALANCE_S = 5.0
_DRAIN_STOP_S = 5.0
_STOP_S = 9.0
#: Polls whose deliveries wait in front of a stage; beyond that its partitions are no longer fetched. One more
#: is on its way there and as many deliveries as the runner allows are begun, each of one fetch of a partition
#: (`kafka.max_partition_fetch_bytes`): however slow the device or Redis, memory stays bounded in bytes too.
_WAITING_POLLS = 1


class _NoProducer(BootStrategy):
    enable_kafka_producer = False
    enable_web = False
    enable_sensors = False


class _NoKafka(_NoProducer):
    enable_kafka = False


class _NoTables(TableManager):
    mundane_level = "debug"

    async def on_start(self) -> None:
        """Upstream sleeps for a second first, lest a table be added late."""
        await self._update_channels()
        await self.recovery.start()


class _App(faust.App):
    mundane_level = "debug"

    def _create_directories(self) -> None:
        """Faust would make a folder for tables in the current one."""

    async def _producer_flush(self, _: Any) -> None:
        """Nothing to flush: Faust's own producer is not used."""


class StageApp(_App):
    """One stage's consumer group and agent. The transport looks at `kafka` and `input_topics`."""

    BootStrategy = _NoProducer

    def __init__(self, settings: Settings, stage: Stage, producer: Producer, turns: Turns) -> None:
        self.kafka = settings.kafka
        self.input_topics = len(stage.topics)
        self.runner = StageRunner(
            stage, settings.kafka, producer, settings.freshness, lambda: self.consumer.holds, turns
        )
        self.behind = Lag(stage.name, settings.kafka.topic_prefix)
        self.joined = False
        kafka = settings.kafka
        super().__init__(
            kafka.group(stage.name),
            broker=[f"batch://{server}" for server in kafka.servers],
            datadir=tempfile.gettempdir(),
            autodiscover=False,
            web_enabled=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            agent_supervisor=CrashingSupervisor,
            TableManager=_NoTables,
            stream_wait_empty=False,
            stream_recovery_delay=0.0,
            stream_buffer_maxsize=_WAITING_POLLS,
            consumer_auto_offset_reset="earliest",
            broker_client_id=f"retweet-streamer-{stage.name}",
            broker_commit_interval=kafka.commit_interval_s,
            broker_session_timeout=kafka.session_timeout_s,
            broker_request_timeout=max(40.0, kafka.session_timeout_s + 5),
        )
        topics = self.topic(
            *map(kafka.topic, stage.topics), key_serializer="raw", value_serializer="raw", internal=False
        )
        self.agent(topics, name=stage.name, concurrency=1)(self._consume)
        self.on_partitions_assigned.connect(self._on_assigned)
        self.on_partitions_revoked.connect(self._on_revoked)

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.runner.name

    @property
    def pace_s(self) -> float:
        """See `StageRunner`."""
        return self.runner.pace_s

    @property
    def lag(self) -> int:
        """See `watchdog.Watched`."""
        return self.behind.records

    @property
    def progress(self) -> int:
        """See `watchdog.Watched`."""
        return self.runner.progress

    @property
    def measured(self) -> int:
        """See `watchdog.Watched`."""
        return self.behind.measured

    async def _consume(self, stream: Any) -> None:
        async for event in stream.noack().events():
            await self.runner.take(event.value)
            # Frees Faust's message. What may be committed is decided by `Delivery.done` alone.
            event.ack()

    async def on_start(self) -> None:
        """Open the stage before its consumer joins the group, and set it to work."""
        await super().on_start()
        await self.runner.open()
        self.add_future(self.runner.process())
        self.add_future(self.runner.publish())
        self.add_future(self.runner.settle())

    async def _consumer_wait_empty(self, consumer: Any, _: Any) -> None:
        # Called when the flow has stopped and what waits for the agent was dropped, for a rebalance and for a
        # stop. Upstream waits without limit, or with stream_wait_empty off not at all.
        self.runner.assigned = frozenset()  # nothing more is handed over
        if self.should_stop:
            await self.runner.drain(_DRAIN_STOP_S, stop=True)
        elif consumer.holds:
            await self.runner.drain(_DRAIN_REBALANCE_S)
        else:
            self.runner.abandon()
        await consumer.commit()

    async def on_shutdown(self) -> None:
        """Close the stage, when nothing can reach it any more."""
        await self.runner.close()

    async def _on_assigned(self, app: object, assigned: set[TP], **_: Any) -> None:
        self.joined = True
        self.runner.assigned = frozenset((self.runner.logical(tp.topic), tp.partition) for tp in assigned)
        metrics.rebalances.labels(self.name).inc()
        metrics.assigned_partitions.labels(self.name).set(len(assigned))
        logger.info("%s: reads %s", self.name, _describe(assigned) or "nothing: no partition is left for it")

    async def _on_revoked(self, app: object, revoked: set[TP], **_: Any) -> None:
        self.joined = False
        self.runner.abandon()
        metrics.assigned_partitions.labels(self.name).set(0)
        if self.runner.freshness is not None:
            self.runner.freshness.forget()


class WorkerApp(_App):
    """The worker: stages, producer, web server, watchdog."""

    BootStrategy = _NoKafka

    def __init__(self, settings: Settings, stages: Sequence[Stage]) -> None:
        self.settings = settings
        self.producer_shared = Producer(settings.kafka)
        super().__init__(
            f"{settings.kafka.group_prefix}worker",
            broker=[f"batch://{server}" for server in settings.kafka.servers],
            datadir=tempfile.gettempdir(),
            autodiscover=False,
            web_enabled=False,
            topic_disable_leader=True,
        )
        turns = Turns()
        self.stages = [StageApp(settings, stage, self.producer_shared, turns) for stage in stages]
        for app in self.stages:
            app.runner.readers = [other.runner for other in self.stages if other is not app]
        self.http = HttpServer(settings.http, self._stalled, self._unready)
        self.watchdog = Watchdog(self.stages, settings.watchdog.seconds, settings.kafka.outage_s)

    async def on_start(self) -> None:
        """Nothing to read here, so no consumer."""
        self.finalize()

    async def on_started(self) -> None:
        """Start everything; a stage that cannot open ends the worker."""
        await self.http.start()
        logger.info(
            "metrics, liveness and readiness on http://%s:%d", self.settings.http.host, self.http.port
        )
        await self.producer_shared.start()
        await self.producer_shared.require(
            {topic for app in self.stages for topic in app.runner.stage.topics}
        )
        for app in self.stages:
            self.add_dependency(app)  # so that a crash of the one is a crash of all
        await asyncio.gather(*(app.maybe_start() for app in self.stages))
        _relax_garbage_collection()
        self.add_future(lag.monitor([(app.behind, app.consumer) for app in self.stages], self.settings.kafka))
        self.watchdog.start()
        if self.on_startup_finished:
            await self.on_startup_finished()

    async def on_stop(self) -> None:
        """Stages first, side by side; then what they send with."""
        self.watchdog.stop()
        overdue = threading.Timer(_STOP_S, _give_up)
        overdue.daemon = True
        overdue.start()
        for app in self.stages:
            app.runner.stop()
        await asyncio.gather(*(app.stop() for app in self.stages))
        await self.producer_shared.stop()
        await self.http.stop()

    async def _stalled(self) -> Mapping[str, str]:
        limit = self.settings.watchdog.seconds / 2
        return {
            name: f"records wait and none was done for {seconds:.0f} s"
            for name, seconds in self.watchdog.idle().items()
            if 0 < limit < seconds
        }

    async def _unready(self) -> Mapping[str, str]:
        ailments = await asyncio.gather(*(app.runner.ailment() for app in self.stages))
        wrong = {app.name: ailment for app, ailment in zip(self.stages, ailments, strict=True) if ailment}
        return {app.name: "not a member of its group yet" for app in self.stages if not app.joined} | wrong


def _relax_garbage_collection() -> None:
    """Keep Python's cycle collector from walking models and imports over and over.

    Batches are many short-lived objects without cycles: with the default thresholds (700, 10, 10) collecting
    took 40 % of the transport's time per record (2.6 us with, 1.65 us without what is frozen here).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _give_up() -> None:
    logger.critical(
        "not stopped after %.0f s: ending at once; what was not committed will be done again", _STOP_S
    )
    logging.shutdown()
    os._exit(1)


def _describe(partitions: Iterable[TP]) -> str:
    topics: dict[str, list[int]] = {}
    for topic, partition in sorted(partitions):
        topics.setdefault(topic, []).append(partition)
    return ", ".join(f"{topic} {numbers}" for topic, numbers in topics.items())


def create_app(settings: Settings, stages: Sequence[Stage] | None = None) -> WorkerApp:
    """A worker of these stages; by default of those named by `settings.stages`, or all there are.

    Raises `SettingsError` when a name is unknown.
    """
    if stages is None:
        registry = import_module("streamer.stages")
        names = settings.stages or registry.STAGES
        unknown = sorted(set(names) - set(registry.STAGES))
        if unknown:
            raise SettingsError(f"no stage {', '.join(unknown)}; there are {', '.join(registry.STAGES)}")
        stages = registry.build_all(names, settings)
    return WorkerApp(settings, stages)


def __getattr__(name: str) -> Any:
    # Built when `faust -A streamer.app` asks for it, not when somebody imports this module.
    if name == "app":
        globals()["app"] = create_app(Settings.load())
        return globals()["app"]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
