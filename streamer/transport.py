"""A Faust transport that hands over whole record batches and commits only what is done.

Registered as `batch` in the entry-point group `faust.transports`, so `faust.App(broker="batch://host:9092")`
uses it. It replaces three parts of Faust's aiokafka driver and keeps the rest (rebalances, commits):

* **Reading.** A stock agent costs about 0.25 ms per event. Here a poll yields one event, its value a list of
  `Delivery`, one for each partition that had records: these as aiokafka's parser made them.
* **Committing.** Upstream commits what Faust believes acked, and that loses records: an event that is skipped
  while a rebalance or a stop suspends the flow counts as acked, and the bookkeeping of offset gaps
  takes in offsets that were read but not processed. Here a `Ledger` keeps the deliveries of each
  partition in order, and the offset committed is the one after the longest prefix that was finished.
* **Threads.** Upstream gives each consumer a thread and a loop, so that it answers the group while an agent
  computes. Here stages compute in threads of their own, and consumers share the app's loop.

Knows nothing of stages, and nothing of what the records mean.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, NamedTuple

import aiokafka
from aiokafka.consumer.fetcher import FetchResult
from aiokafka.errors import ConsumerStoppedError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, ConsumerMessage
from mode.utils.futures import maybe_async

from streamer.assignment import assignor
from streamer.ledger import Delivery, Ledger
from streamer.settings import KafkaSettings
from streamer.stage import Record

#: Between looks at whether a rebalance is over.
_PAUSE_S = 0.02


class Position(NamedTuple):
    """Where a partition is read and where it ends."""

    position: int  # of the next record to read
    end: int  # offset after the last record that can be read


def _keep_as_parsed(fetcher: Any) -> None:
    """Have what was fetched handed over as aiokafka's parser (in C) makes it.

    aiokafka would copy every record into a dataclass with three more fields: 0.65 us of 1.65 us a record.
    """
    for result in fetcher._records.values():
        if isinstance(result, FetchResult) and result.has_more():
            result._partition_records._consumer_record = _as_it_is


def _as_it_is(_: object, record: Record) -> Record:
    return record


def _note_heartbeats(coordinator: Any, note: Callable[[float], None]) -> None:
    """Have `note` called with the time (monotonic) of each heartbeat that the group answered well."""
    beat = coordinator._do_heartbeat

    async def beat_and_note() -> bool:
        begun = time.monotonic()
        known = bool(await beat())
        if known:
            note(begun)
        return known

    coordinator._do_heartbeat = beat_and_note


def _pace_fetches(fetcher: Any, pace_s: Callable[[], float]) -> None:
    """Have no fetch sent sooner than `pace_s` after one that brought records: what comes meanwhile comes with
    the next. aiokafka asks again at once, and with a hundred tweets a second got them one by one, each for a
    millisecond of processor time here and half of one in the broker.
    """
    fetch, quiet_until = fetcher._proc_fetch_request, -math.inf

    async def fetch_later(*request: Any) -> bool:
        nonlocal quiet_until
        if (early := quiet_until - time.monotonic()) > 0:
            try:
                await asyncio.sleep(early)
            except asyncio.CancelledError:  # as aiokafka's own: nobody wants the result any more
                return False
        brought = bool(await fetch(*request))
        if brought:
            quiet_until = time.monotonic() + pace_s()
        return brought

    fetcher._proc_fetch_request = fetch_later


class ConsumerOnLoop(driver.AIOKafkaConsumerThread):
    """aiokafka's consumer on the loop of the app. Upstream calls it a thread, and asks it as one.

    Each poll went from loop to loop and back, and every thread that wakes waits for the GIL: at 20,000
    predictions a second a worker with four such threads switched threads 3,400 times a second, now 1,100 to
    1,500, and took 0.79 of a core, now 0.66.
    """

    mundane_level = "debug"

    def __init__(self, consumer: Consumer, *, loop: asyncio.AbstractEventLoop, **options: Any) -> None:
        super().__init__(consumer, loop=loop, thread_loop=loop, **options)

    async def start(self) -> None:
        """Start here. Raises what aiokafka raises."""
        self._thread_started.set()
        await self._default_start()

    async def stop(self) -> None:
        """Stop here, once."""
        if self._started.is_set() and not self._stopped.is_set():
            self._stopped.set()
            await self._shutdown_thread()

    async def call_thread(self, fun: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Call it here."""
        return await maybe_async(fun(*args, **options))

    def _create_worker_consumer(self, transport: Transport) -> aiokafka.AIOKafkaConsumer:
        kafka = transport.kafka
        conf = self.app.conf
        self._assignor = transport.assignor
        return aiokafka.AIOKafkaConsumer(
            **kafka.aiokafka_config(),
            client_id=conf.broker_client_id,
            group_id=conf.id,
            partition_assignment_strategy=[self._assignor],
            enable_auto_commit=False,
            auto_offset_reset=conf.consumer_auto_offset_reset,
            isolation_level=kafka.isolation_level,
            max_poll_records=kafka.max_batch_records,
            max_partition_fetch_bytes=kafka.max_partition_fetch_bytes,
            fetch_max_wait_ms=kafka.fetch_max_wait_ms,
            max_poll_interval_ms=int(kafka.max_poll_interval_s * 1000),
            session_timeout_ms=int(kafka.session_timeout_s * 1000),
            heartbeat_interval_ms=int(kafka.session_timeout_s * 1000 / 3),
            rebalance_timeout_ms=int(kafka.max_poll_interval_s * 1000),
        )

    async def on_start(self) -> None:
        """Start the consumer, and listen to its heartbeats."""
        await super().on_start()
        consumer = self._ensure_consumer()
        _note_heartbeats(consumer._coordinator, self.consumer.note_membership)
        _pace_fetches(consumer._fetcher, lambda: getattr(self.app, "pace_s", 0.0))

    async def _fetch_records(
        self,
        consumer: Any,
        active_partitions: Any,
        timeout: float,  # noqa: ASYNC109
        max_records: int,
    ) -> Mapping[TP, list[Delivery]]:
        """Records that are there, else those that come within `timeout` seconds.

        Taking records moves the consumer's position, so what is taken must be delivered or read again. Hence
        it happens only while the flow is on, which is from the seek after a rebalance until the next begins.
        (Upstream may wait here through a rebalance, and take records before that seek or after it.)
        """
        fetcher = consumer._fetcher
        for wait in (timeout, 0):
            if consumer._closed or fetcher._closed:
                raise ConsumerStoppedError
            if not self.consumer.flow_active or fetcher._subscriptions.reassignment_in_progress:
                await asyncio.sleep(_PAUSE_S)
                break
            with fetcher._subscriptions.fetch_context():
                _keep_as_parsed(fetcher)
                # With timeout 0 and no reassignment this awaits nothing.
                records = await fetcher.fetched_records(active_partitions, timeout=0, max_records=max_records)
                if records:
                    generation = consumer._coordinator.generation
                    return {
                        TP(*tp): [
                            Delivery(tp.topic, tp.partition, batch, generation, consumer.highwater(tp) or 0)
                        ]
                        for tp, batch in records.items()
                    }
                if wait:
                    await self._new_data(fetcher, wait)
        return {}

    @staticmethod
    async def _new_data(fetcher: Any, seconds: float) -> None:
        waiter = fetcher._create_fetch_waiter()
        try:
            await asyncio.wait([waiter], timeout=seconds)
            if waiter.done():
                waiter.result()  # raises what the fetcher or the coordinator failed with
        finally:
            waiter.cancel()

    async def commit(self, offsets: Mapping[TP, int]) -> bool:
        """Whether these were committed; False when the consumer ends first, as when a stage has failed.

        Else aiokafka would ask again and again, and keep the process from ending.
        """
        if self._shutdown.is_set():
            return False
        committed = asyncio.ensure_future(super().commit(offsets))
        ended = asyncio.ensure_future(self._shutdown.wait())
        try:
            await asyncio.wait((committed, ended), return_when=asyncio.FIRST_COMPLETED)
            return bool(committed.done() and committed.result())
        finally:
            committed.cancel()
            ended.cancel()

    async def positions(self) -> dict[TP, Position]:
        """Ask the brokers where the assigned partitions end. Waits for as long as they do not answer."""
        positions: dict[TP, Position] = await self.call_thread(self._positions)
        return positions

    async def _positions(self) -> dict[TP, Position]:
        consumer = self._ensure_consumer()
        ends = await consumer.end_offsets(consumer.assignment())
        return {TP(*tp): Position(await consumer.position(tp), end) for tp, end in ends.items()}


class Consumer(driver.Consumer):
    """Faust's consumer, with the ledger in place of its acks and gaps."""

    mundane_level = "debug"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.ledger = Ledger()
        self._member_at = -math.inf
        super().__init__(*args, **kwargs)

    def note_membership(self, at: float) -> None:
        """The group knew this member at this time (monotonic)."""
        self._member_at = max(self._member_at, at)

    @property
    def holds(self) -> bool:
        """Whether partitions that were assigned can't have been given to somebody else yet.

        That needs a heartbeat within the session's time: a process that was frozen (a paused machine, swap)
        finds its partitions gone, and hears of it only when it sends the next one.
        """
        return bool(time.monotonic() - self._member_at < self.app.conf.broker_session_timeout)

    def _new_consumer_thread(self) -> ConsumerOnLoop:
        return ConsumerOnLoop(self, loop=self.loop, beacon=self.beacon)

    async def positions(self) -> dict[TP, Position]:
        """See `ConsumerOnLoop.positions`."""
        positions: dict[TP, Position] = await self._thread.positions()
        return positions

    # Reading

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109
        """Poll once: one message, in the name of the first partition, of all that had records."""
        records, _ = await self._wait_next_records(timeout)
        deliveries = {tp: delivery for tp, (delivery,) in (records or {}).items()}
        # A rebalance may have begun since, perhaps even ended: its seek takes back what is dropped here.
        current = all(
            delivery.generation == self.app.consumer_generation_id for delivery in deliveries.values()
        )
        if not deliveries or self.should_stop or not self.flow_active or not current:
            return
        for tp, delivery in deliveries.items():
            self.ledger.add(tp, delivery)
        tp = next(iter(deliveries))
        yield tp, self._to_message(tp, list(deliveries.values()))

    def _to_message(self, tp: TP, deliveries: list[Delivery]) -> ConsumerMessage:
        last = deliveries[0].records[-1]
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            last.offset,
            last.timestamp / 1000.0,
            0,
            [],
            None,
            deliveries,
            None,
            tp=tp,
            generation_id=deliveries[0].generation,
        )

    async def _drain_messages(self, fetcher: Any) -> None:
        # Upstream's loop compares each offset with the last one read to find gaps; the ledger does without.
        try:
            while not (self.should_stop or fetcher.should_stop):
                async for _, message in self.getmany(timeout=1.0):
                    await self.wait_first(self.callback(message), self.suspend_flow.wait())
                await asyncio.sleep(0)
        except self.consumer_stopped_errors:
            if not self.app.should_stop:
                raise
        except asyncio.CancelledError:
            if not self.app.should_stop:
                raise

    # Committing

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterable[TP]:
        return [tp for tp in self.ledger.partitions() if topics is None or tp in topics or tp.topic in topics]

    def _new_offset(self, tp: TP) -> int | None:
        return self.ledger.committable(tp)

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Called with all partitions: the group rebalances eagerly."""
        self.stop_flow()  # upstream forgets to when none was assigned
        await super().on_partitions_revoked(revoked)
        self.ledger.clear()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Called before the flow resumes. What is still in progress belongs to the former assignment."""
        self.ledger.clear()
        self.note_membership(time.monotonic())
        await super().on_partitions_assigned(assigned, generation_id)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing: upstream's check only logs, and takes an idle partition for a stuck one."""


class Transport(driver.Transport):
    """`batch://`. Takes its settings from the app's `kafka` attribute, else from the URL and defaults."""

    Consumer = Consumer

    @property
    def kafka(self) -> KafkaSettings:
        """How to connect and to fetch."""
        kafka = getattr(self.app, "kafka", None)
        if isinstance(kafka, KafkaSettings):
            return kafka
        return KafkaSettings(bootstrap=",".join(driver.server_list(self.url, self.default_port)))

    @property
    def assignor(self) -> Any:
        """How partitions are dealt: as the app's `input_topics`, a number, asks for; unknown is many."""
        return assignor(getattr(self.app, "input_topics", 2))
