"""W2: the same tweets, whose vectors are known by now, for other users, who are named in requests."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.model import tweet_records
from benchmarks.options import Options
from benchmarks.result import Result
from benchmarks.rig import Rig
from benchmarks.side_by_side import side_by_side


def run(options: Options) -> list[Result]:
    """See the module."""
    return side_by_side(
        options,
        "W2",
        "known tweets for named users",
        target=60_000,
        prepare=_know,
        events=lambda rig, numbers: list(rig.workload.requests(numbers)),
    )


def _know(rig: Rig, numbers: Sequence[int]) -> None:
    tweets = list(rig.workload.tweets(numbers))
    for start in range(0, len(tweets), 1_000):
        rig.stores.tweets.put_new(tweet_records(rig.model, tweets[start : start + 1_000]))
