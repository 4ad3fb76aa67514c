"""Runs one stage: its thread, the hand-over of its outputs, and the order in which batches become done.

A batch goes through `process` (in the stage's thread) and then `publish` (on the event loop). While one batch
is being sent the next is already processed, and batches become done in the order they came.
Knows nothing of Faust or consumers: it is given deliveries and marks them done.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from streamer import metrics
from streamer.freshness import Freshness
from streamer.producer import Packed, Producer
from streamer.settings import FreshnessSettings, KafkaSettings
from streamer.stage import Batch, Healthy, Interruptible, Outputs, Perishable, Record, Stage
from streamer.transport import Delivery

logger = logging.getLogger(__name__)

T = TypeVar("T")
#: A delivery, how many of its records were given to the stage, what it made of them, and that packed.
_Processed = tuple[Delivery, int, Outputs, list[Packed]]
#: Deliveries that may be begun and not finished when the next is begun. Beyond that, the next one waits.
_UNFINISHED: Final = 8


class StageRunner:
    """One stage at work: `open`, `handle` from the agent while `publish` runs, `drain`, `close`."""

    def __init__(
        self,
        stage: Stage,
        kafka: KafkaSettings,
        producer: Producer,
        freshness: FreshnessSettings | None = None,
    ) -> None:
        self.stage = stage
        perishable = freshness is not None and isinstance(stage, Perishable)
        #: What leaves out records; None where all are handled.
        self.freshness = Freshness(stage.name, freshness) if freshness and perishable else None
        self.opened = False
        #: Records done (or left out) since the start: progress is that this grows.
        self.records_done = 0
        self._producer = producer
        self._logical = {kafka.topic(topic): topic for topic in stage.topics}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=stage.name)
        # One batch may wait here: with the one in `process` and the one being sent, three are under way.
        self._processed: asyncio.Queue[_Processed | Exception] = asyncio.Queue(1)
        # A lock serves who asked first, so those who have something to process take turns.
        self._turns = asyncio.Lock()
        self._unfinished = asyncio.Semaphore(_UNFINISHED)
        self._finishing: set[asyncio.Task[None]] = set()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopping = asyncio.Event()
        self._batch_records = metrics.batch_records.labels(stage.name)
        self._stage_seconds = metrics.stage_seconds.labels(stage.name)
        self._send_seconds = metrics.send_seconds.labels(stage.name)

    @property
    def name(self) -> str:
        """The stage's name."""
        return self.stage.name

    def logical(self, topic: str) -> str:
        """A topic's name without prefix."""
        return self._logical.get(topic, topic)

    async def open(self) -> None:
        """Open the stage. Raises what the stage raises."""
        started = time.monotonic()
        await self._in_thread(self.stage.open)
        self.opened = True
        logger.info("%s: opened in %.1f s", self.name, time.monotonic() - started)

    async def handle(self, delivery: Delivery) -> None:
        """Process a delivery and queue its outputs. What of it the stage hands back takes turns with the
        deliveries that follow. Raises what the stage raises.
        """
        rest = await self._turn(delivery, delivery.records)
        if rest:
            await self._unfinished.acquire()
            self._begun()
            task = asyncio.create_task(self._finish(delivery, rest))
            self._finishing.add(task)
            task.add_done_callback(self._finishing.discard)
            # It waits for its turn before the next delivery does.
            await asyncio.sleep(0)

    async def _finish(self, delivery: Delivery, rest: Sequence[Record]) -> None:
        try:
            while rest:
                rest = await self._turn(delivery, rest)
        except Exception as error:  # `publish` raises it, and so ends the worker
            await self._processed.put(error)
        finally:
            self._unfinished.release()
            self._finished()

    async def _turn(self, delivery: Delivery, records: Sequence[Record]) -> Sequence[Record]:
        """Process some of the records; those that are left."""
        self._begun()
        try:
            async with self._turns:
                if self._stopping.is_set():
                    self._finished()
                    return ()
                worth = records if self.freshness is None else self.freshness.worth(delivery, records)
                outputs, packed = await self._in_thread(partial(self._process, delivery, worth))
                await self._processed.put((delivery, len(records), outputs, packed))
        except BaseException as error:
            self._finished()
            if self._stopping.is_set() and isinstance(error, Exception):
                logger.info("%s: gave up %s to stop; it will be done again", self.name, delivery)
                return ()
            if isinstance(error, Exception):
                logger.critical("%s: %s failed: %s: %s", self.name, delivery, type(error).__name__, error)
            raise
        return outputs.rest

    def _process(self, delivery: Delivery, records: Sequence[Record]) -> tuple[Outputs, list[Packed]]:
        if not records:
            return Outputs(), []
        batch = Batch(self.logical(delivery.topic), delivery.partition, records)
        self._batch_records.observe(len(records))
        with self._stage_seconds.time():
            outputs = self.stage.process(batch)
        return outputs, self._producer.pack(outputs.groups)

    async def publish(self) -> None:
        """Send what was processed, for ever. Raises `KafkaUnavailable`, or what the stage raised."""
        while True:
            processed = await self._processed.get()
            if isinstance(processed, Exception):
                raise processed
            delivery, given, outputs, packed = processed
            with self._send_seconds.time():
                await self._producer.send(packed)
            delivery.done = not outputs.rest
            self._finished()
            self._count(delivery, given - len(outputs.rest), outputs, packed)

    def _count(self, delivery: Delivery, records: int, outputs: Outputs, packed: list[Packed]) -> None:
        self.records_done += records
        metrics.records_in.labels(self.name, self.logical(delivery.topic)).inc(records)
        for topic, _, _, sent, size in packed:
            metrics.records_out.labels(self.name, topic).inc(sent)
            metrics.bytes_out.labels(self.name, topic).inc(size)
        now = time.time() * 1000
        for origin in outputs.origins:
            metrics.end_to_end_seconds.observe((now - origin) / 1000)

    def _begun(self) -> None:
        self._in_flight += 1
        self._idle.clear()

    def _finished(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()

    async def drain(self, seconds: float, *, stop: bool = False) -> None:
        """Wait until all that was begun is done, at most so long. With `stop`, nothing is begun any more."""
        if stop and not self._stopping.is_set():
            self._stopping.set()
            if isinstance(self.stage, Interruptible):
                self.stage.interrupt()
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            logger.warning(
                "%s: %d batches are not done after %.0f s; they will be done again",
                self.name,
                self._in_flight,
                seconds,
            )

    async def close(self) -> None:
        """Close the stage once its thread is free. Errors are logged: nothing depends on it any more."""
        self._stopping.set()
        try:
            await self._in_thread(self.stage.close)
        except Exception:
            logger.exception("%s: could not be closed cleanly", self.name)
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def ailment(self, seconds: float = 1.0) -> str | None:
        """What keeps the stage from working, asked of the stage in another thread; None when it is well."""
        if not self.opened:
            return "not open yet"
        if not isinstance(self.stage, Healthy):
            return None
        try:
            return await asyncio.wait_for(asyncio.to_thread(self.stage.healthy), seconds)
        except TimeoutError:
            return f"did not answer within {seconds:g} s"
        except Exception as error:  # whatever is wrong with it, it is not ready
            return f"{type(error).__name__}: {error}"

    async def _in_thread(self, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)
