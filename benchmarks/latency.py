"""W4: publish to visible, with W1's tweets at a quarter and at half of the capacity measured just before."""

from __future__ import annotations

import statistics
from typing import Final

import numpy as np

from benchmarks.options import Options
from benchmarks.paced import latencies, paced
from benchmarks.result import Result
from benchmarks.rig import Rig, running
from benchmarks.workload import Workload

_LOADS: Final = (0.25, 0.5)
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
        with running(rig) as stream:
            first = 0
            drained = []
            for _ in range(options.rounds):
                numbers = range(first, first := first + options.sized(_CAPACITY_TWEETS, 10))
                drained.append(
                    stream.drain(list(rig.workload.tweets(numbers)), rig.workload.readers(numbers))
                )
            capacity = statistics.median(run.rate for run in drained)
            options.say(f"  capacity {capacity:,.0f} predictions/s")
            mean = rig.workload.readers(range(1_000)) / 1_000
            for load in _LOADS:
                rate = load * capacity / mean
                settle, count = int(rate * _SETTLE_S), int(rate * options.seconds)
                seen = paced(stream, range(first, first := first + settle + count), rate)
                found += _percentiles(load, latencies(seen[settle:]))
    return found


def _percentiles(load: float, ms: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[Result]:
    watched = load == _LOADS[0]
    figures = {
        "p50": (np.percentile(ms, 50), None),
        "p95": (np.percentile(ms, 95), None),
        "p99": (np.percentile(ms, 99), _P99 if watched else None),
        "max": (ms.max(), _MOST if watched else None),
    }
    return [
        Result(
            name=f"W4, publish to visible at {load:.0%} load, {name}",
            value=float(value),
            unit="ms",
            target=target,
            higher_is_better=False,
        )
        for name, (value, target) in figures.items()
    ]
