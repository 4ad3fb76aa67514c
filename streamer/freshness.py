"""Freshest first: which records of a stage are not worth handling any more, because of age or of what waits.

Only of stages that say so (`streamer.stage.Perishable`): what becomes state is handled however late. Nothing
is dropped silently: what is left out is counted, and committed like everything else.
Knows nothing of what the records mean.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from streamer import metrics
from streamer.handover import HandedOver
from streamer.ledger import Delivery
from streamer.settings import FreshnessSettings
from streamer.stage import Begun, Record

logger = logging.getLogger(__name__)


class Freshness:
    """Decides for one stage. Deterministic: the same deliveries give the same drops, on every worker."""

    def __init__(self, stage: str, settings: FreshnessSettings) -> None:
        self._stage, self._settings = stage, settings
        #: Partitions too far behind, and how many of their records were dropped since. Replaced to forget
        #: them, which another thread does: only the stage's changes what is in it.
        self._dropped: dict[tuple[str, int], int] = {}

    def forget(self) -> None:
        """The partitions may be somebody else's now, who decides afresh."""
        self._dropped = {}
        self._export()

    def worth(self, delivery: Delivery, records: Sequence[Record]) -> Sequence[Record]:
        """Those of the delivery's records that are to be handled; the others are counted.

        May be asked again about what is left of it. What a stage has begun, it ends: else a part of a tweet's
        followers would have predictions.
        """
        # Of what is handed over none waits in Kafka.
        if not isinstance(delivery, HandedOver) and self._behind(delivery, records):
            return [record for record in records if isinstance(record, Begun)]
        if not self._settings.max_age_s:
            return records
        oldest = (time.time() - self._settings.max_age_s) * 1000
        fresh = [
            record
            for record in records
            if record.timestamp >= oldest or record.timestamp < 0 or isinstance(record, Begun)
        ]
        metrics.records_skipped.labels(self._stage, "too_old").inc(len(records) - len(fresh))
        return fresh

    def _behind(self, delivery: Delivery, records: Sequence[Record]) -> bool:
        """Whether what was not begun of the records is dropped, because of what waits."""
        dropped, waiting = self._dropped, delivery.waiting
        place = delivery.topic, delivery.partition
        name = f"{self._stage}: {delivery.topic}[{delivery.partition}]"
        if place not in dropped:
            if not 0 < self._settings.drop_above < waiting:
                return False
            dropped[place] = 0
            self._export()
            logger.warning(
                "%s has %d records waiting: dropping them until %d are left", name, waiting,
                self._settings.drop_below,
            )  # fmt: skip
        elif waiting <= self._settings.drop_below:
            count = dropped.pop(place)
            self._export()
            logger.warning("%s is up to date but for %d records: %d were dropped", name, waiting, count)
            return False
        count = sum(not isinstance(record, Begun) for record in records)
        dropped[place] += count
        metrics.records_skipped.labels(self._stage, "behind").inc(count)
        return True

    def _export(self) -> None:
        metrics.dropping_partitions.labels(self._stage).set(len(self._dropped))
