"""Runs one stage: its thread, the hand-over of its outputs, and the order in which batches become done.

Deliveries wait until the stage's thread is free; then all that wait go through `Stage.process` together.
Their outputs are sent by `publish` (on the event loop) while the next are already processed, and `settle`
marks them done once what was handed over to other stages is so too.
Knows nothing of Faust or consumers: it is given deliveries and marks them done.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import chain
from typing import Final, NamedTuple, TypeVar

from streamer import metrics
from streamer.errors import StreamerError
from streamer.freshness import Freshness
from streamer.handover import HandedOver, Onward, Reader, split
from streamer.ledger import Delivery
from streamer.producer import Packed, Producer
from streamer.settings import FreshnessSettings, KafkaSettings
from streamer.stage import Batch, Healthy, Interruptible, Outputs, Paced, Perishable, Record, Stage
from streamer.turns import Turns

logger = logging.getLogger(__name__)

T = TypeVar("T")
#: Deliveries that may be begun and not finished. Beyond that, the next ones wait, and so does the consumer.
_UNFINISHED: Final = 16
#: A paced stage's calls begin as far apart as so many of them take, within so many times the least pace: on a
#: machine that is slow, or has much to do, more is shared. What they take is a running mean with this weight:
#: by the last one alone, a call that happened to wait made the next come late and large: most of p99.
_CALLS: Final = 2
_LONGEST: Final = 5
_WEIGHT: Final = 1 / 16
#: Between looks at whether what was taken is still ours to do.
_PAUSE_S: Final = 0.05


class _Work(NamedTuple):
    """A delivery and those of its records that the stage has still to handle."""

    delivery: Delivery
    records: Sequence[Record]


class _Made(NamedTuple):
    """What came of a call: packed for Kafka, or to be handed over."""

    outputs: Outputs
    packed: list[Packed]
    onward: list[Onward]


class _Processed(NamedTuple):
    """What was given to the stage in one call, how much of each is left, and what came of it."""

    works: list[_Work]
    left: list[int]
    made: _Made

    @property
    def done(self) -> list[Delivery]:
        """The deliveries of which nothing is left."""
        return [work.delivery for work, rest in zip(self.works, self.left, strict=True) if not rest]


class StageRunner:
    """A stage at work: `open`, `take` while `process`, `publish` and `settle` run, `drain`, `close`."""

    def __init__(
        self,
        stage: Stage,
        kafka: KafkaSettings,
        producer: Producer,
        freshness: FreshnessSettings | None = None,
        holds: Callable[[], bool] = lambda: True,
        turns: Turns | None = None,
    ) -> None:
        """`holds` says whether what was taken can't be somebody else's work by now. `turns` are those of all
        stages of the worker.
        """
        self.stage = stage
        self._holds = holds
        self._turns = turns or Turns()
        perishable = freshness is not None and isinstance(stage, Perishable)
        #: What leaves out records; None where all are handled.
        self.freshness = Freshness(stage.name, freshness) if freshness and perishable else None
        self.opened = False
        #: Calls whose outputs are durable, and which had some or finished records: it grows with progress.
        self.progress = 0
        #: Seconds from a call's beginning to that of the next: see `Paced`.
        self.pace_s = stage.pace_s if isinstance(stage, Paced) else 0.0
        #: Other stages of this worker, which read what this one puts out.
        self.readers: Sequence[Reader] = ()
        #: What is its work now, by topic and partition. Replaced, as others look at it from their threads.
        self.assigned: frozenset[tuple[str, int]] = frozenset()
        self._producer = producer
        self._logical = {kafka.topic(topic): topic for topic in stage.topics}
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=stage.name)
        self._most_records = kafka.max_batch_records
        # In the order in which they are given to the stage.
        self._waiting: list[_Work] = []
        self._work_waits = asyncio.Event()
        # One call's outputs may wait here: with those in `process` and being sent, three are under way.
        self._processed: asyncio.Queue[_Processed] = asyncio.Queue(1)
        # In the order of the calls: of a delivery that took several, the last one's end is not the first.
        self._sent: asyncio.Queue[tuple[_Processed, list[HandedOver]]] = asyncio.Queue(_UNFINISHED)
        self._room = asyncio.Semaphore(_UNFINISHED)
        self._unfinished: set[Delivery] = set()
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

    def reads(self, topic: str, partition: int) -> bool:
        """See `handover.Reader`."""
        return (topic, partition) in self.assigned

    async def open(self) -> None:
        """Open the stage. Raises what the stage raises, unless it was stopped meanwhile."""
        started = time.monotonic()
        try:
            await self._in_thread(self.stage.open)
        except StreamerError:
            if not self._stopping.is_set():
                raise
            return
        self.opened = True
        logger.info("%s: opened in %.1f s", self.name, time.monotonic() - started)

    async def take(self, deliveries: Iterable[Delivery]) -> None:
        """Have these processed; returns when all are begun, which waits for room."""
        for delivery in deliveries:
            await self._room.acquire()
            if self._stopping.is_set():
                self._room.release()
                if isinstance(delivery, HandedOver):
                    delivery.ended.set()
                continue
            self._unfinished.add(delivery)
            self._idle.clear()
            self._add([_Work(delivery, delivery.records)])

    async def process(self) -> None:
        """Process what was taken, for ever. Raises what the stage raises."""
        least, begun, took = self.pace_s, -math.inf, 0.0
        while True:
            await self._work_waits.wait()
            if (early := begun + self.pace_s - time.monotonic()) > 0:
                await asyncio.sleep(early)
            while not self._holds() and not self._stopping.is_set():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), _PAUSE_S)
            begun = time.monotonic()
            works = self._next()
            if self._stopping.is_set():
                self._end(work.delivery for work in works)
            if self._stopping.is_set() or not works:  # they may have been abandoned meanwhile
                continue
            try:
                made = await self._in_thread(partial(self._process, works))
            except Exception as error:
                given_up, self._waiting = [*works, *self._waiting], []
                self._end(work.delivery for work in given_up)
                named = ", ".join(repr(work.delivery) for work in works)
                if not self._stopping.is_set():
                    logger.critical("%s: %s failed: %s: %s", self.name, named, type(error).__name__, error)
                    raise
                logger.info("%s: gave up %s to stop; it will be done again", self.name, named)
                continue
            took += (time.monotonic() - begun - took) * _WEIGHT
            self.pace_s = min(max(least, _CALLS * took), _LONGEST * least)
            rests = [made.outputs.rest.get(place, ()) for place in range(len(works))]
            if any(rests):
                begun = -math.inf  # enough waits for the next call
            self._wait_again(works, rests, made.outputs.later)
            await self._processed.put(_Processed(works, list(map(len, rests)), made))

    def _next(self) -> list[_Work]:
        """What the stage is given next: as much of what waits as one poll may bring."""
        count = records = 0
        for work in self._waiting:
            records += len(work.records)
            if count and records > self._most_records:
                break
            count += 1
        works, self._waiting = self._waiting[:count], self._waiting[count:]
        if not self._waiting:
            self._work_waits.clear()
        return works

    def _wait_again(
        self, works: list[_Work], rests: Sequence[Sequence[Record]], later: Mapping[int, float]
    ) -> None:
        """Rests take turns: who was not served goes before what has come meanwhile, who was goes behind."""
        untouched: list[_Work] = []
        served: list[_Work] = []
        for place, (work, rest) in enumerate(zip(works, rests, strict=True)):
            if rest and place in later:
                asyncio.get_running_loop().call_later(later[place], self._add, [_Work(work.delivery, rest)])
            elif rest:
                (untouched if len(rest) == len(work.records) else served).append(_Work(work.delivery, rest))
        if untouched or served:
            behind, self._waiting = self._waiting, []
            self._add(chain(untouched, behind, served))

    def _add(self, works: Iterable[_Work]) -> None:
        self._waiting += (work for work in works if not work.delivery.lost)
        self._work_waits.set()

    def _process(self, works: list[_Work]) -> _Made:
        batches, places = [], []
        for place, (delivery, records) in enumerate(works):
            worth = records if self.freshness is None else self.freshness.worth(delivery, records)
            if worth:
                handed = isinstance(delivery, HandedOver)
                batches.append(Batch(self.logical(delivery.topic), delivery.partition, worth, handed))
                places.append(place)
        if not batches:
            return _Made(Outputs(), [], [])
        self._batch_records.observe(sum(len(batch.records) for batch in batches))
        with self._turns.taken(), self._stage_seconds.time():
            outputs = self.stage.process(batches)
        outputs.rest = {places[place]: rest for place, rest in outputs.rest.items() if rest}
        outputs.later = {places[place]: seconds for place, seconds in outputs.later.items()}
        through, onward = split(outputs.groups, self.readers)
        return _Made(outputs, self._producer.pack(through), onward)

    async def publish(self) -> None:
        """Send what was processed, or hand it over, for ever. Raises `KafkaUnavailable`."""
        while True:
            processed = await self._processed.get()
            with self._send_seconds.time():
                await self._producer.send(processed.made.packed)
            handed = [await onward.begin() for onward in processed.made.onward]
            await self._sent.put((processed, handed))

    async def settle(self) -> None:
        """Finish what was sent, once the others are done with what they were handed, for ever.

        Raises `KafkaUnavailable`.
        """
        while True:
            processed, handed = await self._sent.get()
            for one in handed:
                await one.ended.wait()
            again = [one.group for one in handed if not one.done]
            packed: list[Packed] = []
            if again and not all(work.delivery.lost for work in processed.works):
                packed = await self._in_thread(partial(self._producer.pack, again))
                await self._producer.send(packed)
            for delivery in processed.done:
                if not delivery.lost:
                    delivery.finish()
            self._end(processed.done)
            self._count(processed, [*processed.made.packed, *packed], [one for one in handed if one.done])

    def _count(self, processed: _Processed, packed: Sequence[Packed], handed: Sequence[HandedOver]) -> None:
        records = 0
        for (delivery, given), rest in zip(processed.works, processed.left, strict=True):
            records += len(given) - rest
            metrics.records_in.labels(self.name, self.logical(delivery.topic)).inc(len(given) - rest)
        for topic, _, _, sent, size in packed:
            metrics.records_out.labels(self.name, topic).inc(sent)
            metrics.bytes_out.labels(self.name, topic).inc(size)
        for one in handed:
            metrics.records_handed_over.labels(self.name, one.topic).inc(len(one.group.keys))
        self.progress += bool(records or packed or handed)
        now = time.time() * 1000
        for origin in processed.made.outputs.origins:
            metrics.end_to_end_seconds.observe((now - origin) / 1000)

    def _end(self, deliveries: Iterable[Delivery]) -> None:
        """Nothing more will be done with these."""
        for delivery in self._unfinished.intersection(deliveries):
            self._unfinished.remove(delivery)
            self._room.release()
            if isinstance(delivery, HandedOver):
                delivery.ended.set()
        if not self._unfinished:
            self._idle.set()

    def abandon(self) -> None:
        """Begin nothing more of what was taken: others have it, or it will be read again.

        A call under way goes on to its end; what it leaves over is dropped.
        """
        for delivery in self._unfinished:
            delivery.lost = True
        self._waiting = []
        self._work_waits.clear()
        self._end(self._unfinished)

    def stop(self) -> None:
        """Begin nothing any more, and let no call last."""
        if not self._stopping.is_set():
            self._stopping.set()
            if isinstance(self.stage, Interruptible):
                self.stage.interrupt()

    async def drain(self, seconds: float, *, stop: bool = False) -> None:
        """Wait until all that was begun is done, at most so long. With `stop`, nothing is begun any more."""
        if stop:
            self.stop()
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            logger.warning(
                "%s: %d batches are not done after %.0f s; they will be done again",
                self.name,
                len(self._unfinished),
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
