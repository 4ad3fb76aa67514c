"""W1: 5,000 new tweets to all followers, 1,000,000 predictions, end to end, beside every peer."""

from __future__ import annotations

from typing import Final

from benchmarks.options import Options
from benchmarks.result import Result
from benchmarks.side_by_side import side_by_side

_RATIOS: Final = {
    "idiomatic Faust": 20.0,
    "kafka-python loop": 10.0,
    "confluent-kafka loop": 3.0,
    "Quix Streams": 3.0,
}


def run(options: Options) -> list[Result]:
    """See the module."""
    return side_by_side(
        options,
        "W1",
        "new tweets to all followers",
        ratios=_RATIOS,
        prepare=lambda rig, numbers: rig.forget_tweets(),
        events=lambda rig, numbers: list(rig.workload.tweets(numbers)),
    )
