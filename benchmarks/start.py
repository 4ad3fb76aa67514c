"""From exec of a warm worker (its files are in the page cache) to ready, and to its first prediction."""

from __future__ import annotations

import statistics
import time
from typing import Final

from benchmarks.options import Options
from benchmarks.result import Result
from benchmarks.rig import Ours, Rig, Stream
from benchmarks.workload import Workload

_TARGET_S: Final = 5.0


def run(options: Options) -> list[Result]:
    """See the module."""
    ready, first = [], []
    with Rig(Workload.fanout(users=2_000, authors=100)) as rig:
        rig.fill()
        for number in range(-1, options.rounds):
            numbers = range(number, number + 1)
            with rig.settings() as settings:
                started = time.perf_counter()
                with Ours(settings) as worker, Stream(rig, settings, worker) as stream:
                    seconds = time.perf_counter() - started
                    answered = stream.drain(list(rig.workload.tweets(numbers)), rig.workload.readers(numbers))
            if number < 0:  # this one warmed the page cache
                continue
            options.say(f"  ready after {seconds:.2f} s, first tweet answered in {answered.seconds:.3f} s")
            ready.append(seconds)
            first.append(answered.seconds * 1000)
    name = "start of a warm worker: exec to ready"
    return [
        Result(name=name, value=statistics.median(ready), unit="s", target=_TARGET_S, higher_is_better=False),
        Result(
            name="first tweet after ready, all its predictions",
            value=statistics.median(first),
            unit="ms",
            higher_is_better=False,
        ),
    ]
