"""Whether the topics have as many partitions as there are audience shards (`kafka.partitions`).

With more, predictions would go to the first few partitions only, and workers of different settings would put
different shards into one Redis; with less, there is no partition to send to. Knows nothing of brokers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from streamer.settings import KafkaSettings

#: Topics of which any number will do: nothing is looked up by their partition.
_ANY: Final = frozenset({"dead-letters"})


def uneven(kafka: KafkaSettings, counts: Mapping[str, int]) -> str | None:
    """One line on what is wrong with these numbers of partitions, by logical topic; None if nothing is."""
    odd = {name: count for name, count in counts.items() if count != kafka.partitions and name not in _ANY}
    if not odd:
        return None
    told = ", ".join(f"{kafka.topic(name)} {count}" for name, count in sorted(odd.items()))
    return (
        f"topics differ from `kafka.partitions` = {kafka.partitions} in their number of partitions ({told}):"
        " audiences are sharded by partition, so all must be equal"
    )


#: What to do about it.
MEND: Final = 'set `kafka.partitions` to what the topics have, or see "More partitions" in ops/runbook.md'
