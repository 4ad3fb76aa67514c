"""How a group's partitions are dealt to its workers.

Knows nothing of what a stage does with them, only of how many topics it reads.
"""

from __future__ import annotations

from typing import Any

from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor


def assignor(topics: int) -> Any:
    """aiokafka's strategy (a class) for one consumer of so many topics, all with as many partitions.

    One topic: sticky, so that a worker keeps the partitions whose users it has cached when others come and
    go. Several: by range, which gives a worker the same partitions of each. What they say of one key changes
    one record, and two workers would undo each other's changes; sticky parts them at two of three rebalances.
    """
    if topics > 1:
        return RangePartitionAssignor
    # aiokafka's keeps its memory on the class: consumers of one process would take each other's for theirs.
    return type("Sticky", (StickyPartitionAssignor,), {})
