"""W4: publish to visible of W1's tweets: ten a second, then a quarter and half of the capacity.

Once with a worker for `embed` and one for the other stages, once with one worker for all.
"""

from __future__ import annotations

import statistics
from typing import Final

import numpy as np

from benchmarks.options import Options
from benchmarks.paced import latencies, paced
from benchmarks.result import Result
from benchmarks.rig import Rig, Stream, running
from benchmarks.systems import Ours, OursApart
from benchmarks.workload import Workload

_LOADS: Final = (0.25, 0.5)
#: Tweets a second where nothing waits for anything.
_QUIET: Final = 10.0
#: In ms, at a quarter.
_P99, _MOST = 60.0, 500.0
_CAPACITY_TWEETS: Final = 1_500
#: The rates are so long without a figure at first: caches settle, and Java compiles what the broker does for
#: many small requests. A broker that has run for 10 s at a rate takes three times the processor time of one
#: that has for 50 s.
_SETTLE_S: Final = 40.0


def run(options: Options) -> list[Result]:
    """See the module."""
    found: list[Result] = []
    with Rig(Workload.fanout(users=20_000)) as rig:
        rig.fill()
        for workers, start in (("two workers", OursApart), ("one worker", Ours)):
            rig.forget_tweets()
            with running(rig, start) as stream:
                found += _loaded(stream, workers, options)
    return found


def _loaded(stream: Stream, workers: str, options: Options) -> list[Result]:
    found: list[Result] = []
    first, drained, workload = 0, [], stream.rig.workload
    for _ in range(options.rounds):
        numbers = range(first, first := first + options.sized(_CAPACITY_TWEETS, 10))
        drained.append(stream.drain(list(workload.tweets(numbers)), workload.readers(numbers)))
    capacity = statistics.median(run.rate for run in drained)
    options.say(f"  {workers}: capacity {capacity:,.0f} predictions/s")
    mean = workload.readers(range(1_000)) / 1_000
    rates = {f"{_QUIET:.0f} tweets/s": _QUIET}
    rates |= {f"{load:.0%} load": load * capacity / mean for load in _LOADS}
    for load, rate in rates.items():
        settle, count = int(rate * _SETTLE_S * min(options.scale, 1)), int(rate * options.seconds)
        seen = paced(stream, range(first, first := first + settle + count), rate)
        watched = load == f"{_LOADS[0]:.0%} load"
        ms = latencies(seen[settle:])
        options.say(
            f"  {workers}, {load} ({rate * mean:,.0f} predictions/s): p50, p95, p99, max "
            + ", ".join(f"{np.percentile(ms, q):.0f}" for q in (50, 95, 99, 100))
        )
        found += _percentiles(f"{workers}, {load}", ms, watched=watched)
    return found


def _percentiles(
    load: str, ms: np.ndarray[tuple[int, ...], np.dtype[np.float64]], *, watched: bool
) -> list[Result]:
    figures = {
        "p50": (np.percentile(ms, 50), None),
        "p95": (np.percentile(ms, 95), None),
        "p99": (np.percentile(ms, 99), _P99 if watched else None),
        "max": (ms.max(), _MOST if watched else None),
    }
    return [
        Result(
            name=f"W4, publish to visible, {load}, {name}",
            value=float(value),
            unit="ms",
            target=target,
            higher_is_better=False,
        )
        for name, (value, target) in figures.items()
    ]
