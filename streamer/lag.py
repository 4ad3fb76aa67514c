"""How far each stage is behind, in records and in seconds.

Records come from the brokers' own end offsets, asked for on purpose: the consumer's idea of the end stands
still when its fetcher hangs, which is when the lag matters most. Knows nothing of what is done about it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from faust.types import TP

from streamer import metrics
from streamer.ledger import Ledger, age_s
from streamer.settings import KafkaSettings
from streamer.transport import Position

logger = logging.getLogger(__name__)

#: How often the brokers are asked.
INTERVAL_S = 2.0
#: An answer takes 10 ms; brokers that keep every stage waiting for so long are away.
SILENT_S = 3.0


class Consumer(Protocol):
    """What is measured: `streamer.transport.Consumer`."""

    ledger: Ledger

    async def positions(self) -> dict[TP, Position]:
        """Where each assigned partition is read, and where it ends."""


class Lag:
    """One stage's lag. `measure` it now and then."""

    def __init__(self, stage: str, topic_prefix: str = "") -> None:
        self.stage = stage
        self._prefix = topic_prefix
        self._exported: set[TP] = set()
        self._behind_since: dict[TP, float] = {}
        #: Records not done, over all assigned partitions, when last measured.
        self.records = 0
        #: Age of the oldest of them, in seconds.
        self.seconds = 0.0
        #: How often the brokers have answered.
        self.measured = 0

    async def measure(self, consumer: Consumer) -> None:
        """Ask, and export. Waits for as long as Kafka does not answer."""
        self.update(await consumer.positions(), consumer.ledger)
        self.measured += 1

    def update(self, positions: Mapping[TP, Position], ledger: Ledger) -> None:
        """Take in fresh positions, and what of the records read is not done."""
        now = time.monotonic()
        self.records, self.seconds = 0, 0.0
        for tp in self._exported - positions.keys():
            metrics.lag_records.remove(self.stage, tp.topic.removeprefix(self._prefix), str(tp.partition))
            self._behind_since.pop(tp, None)
        self._exported = set(positions)
        for tp, (position, end) in positions.items():
            oldest = ledger.oldest(tp)
            lag = max(0, end - (position if oldest is None else oldest.first))
            if not lag:
                self._behind_since.pop(tp, None)
            # What is not read yet has no timestamp here; it has waited at least since we saw it wait.
            unread = now - self._behind_since.setdefault(tp, now) if lag else 0.0
            self.records += lag
            self.seconds = max(self.seconds, age_s(oldest), unread)
            metrics.lag_records.labels(
                self.stage, tp.topic.removeprefix(self._prefix), str(tp.partition)
            ).set(lag)
        metrics.lag_seconds.labels(self.stage).set(self.seconds)
        metrics.underway_records.labels(self.stage).set(ledger.underway())


class Outage:
    """Says in one line that Kafka went away, and in one that it is back: aiokafka says neither.

    It is away when none of `asking` who ask gets an answer.
    """

    def __init__(self, asking: int, bootstrap: str, patience_s: float) -> None:
        self._asking, self._bootstrap, self._patience_s = asking, bootstrap, patience_s
        self._silent: set[str] = set()
        self._since: float | None = None

    def silent(self, stage: str) -> None:
        """The stage has waited for `SILENT_S`."""
        self._silent.add(stage)
        if self._since is None and len(self._silent) == self._asking:
            self._since = time.monotonic() - SILENT_S
            logger.warning(
                "Kafka at %s does not answer; waiting up to %g s for it", self._bootstrap, self._patience_s
            )

    def answered(self, stage: str) -> None:
        """The stage has its answer."""
        self._silent.discard(stage)
        if self._since is not None:
            away = time.monotonic() - self._since
            logger.info("Kafka at %s answers again after %.1f s", self._bootstrap, away)
            self._since = None


async def monitor(lags: Sequence[tuple[Lag, Consumer]], kafka: KafkaSettings) -> None:
    """Measure for ever, every stage on its own: one that does not answer does not hide the others."""
    outage = Outage(len(lags), kafka.bootstrap, kafka.outage_s)
    loop = asyncio.get_running_loop()

    async def one(lag: Lag, consumer: Consumer) -> None:
        while True:
            silence = loop.call_later(SILENT_S, outage.silent, lag.stage)
            try:
                await lag.measure(consumer)
                outage.answered(lag.stage)
            except Exception as error:  # the watchdog acts when measurements stay away
                logger.warning("%s: lag not measured: %s: %s", lag.stage, type(error).__name__, error)
            finally:
                silence.cancel()
            await asyncio.sleep(INTERVAL_S)

    await asyncio.gather(*(one(lag, consumer) for lag, consumer in lags))
